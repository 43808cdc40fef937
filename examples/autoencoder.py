"""Squeezes scikit-learn's handwritten digits, 64 grey levels each, through eight numbers and draws what comes back.

    python examples/autoencoder.py                 under a minute on a CPU
    python examples/autoencoder.py --epochs 100    sharper

First encoder and decoder learn together; a step sums the gradients of several small batches, and torch's scheduler
lowers the learning rate along a cosine. Then the encoder is frozen, and a linear layer learns to tell the digit from
the eight numbers alone. Leaves in --out: autoencoder.safetensors and autoencoder.png.
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from sklearn.datasets import load_digits
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

import tritonnet
import tritonnet.nn as nn
from tritonnet.optim import AdamW

CODE = 8


class Autoencoder(nn.Module):
    """From images to codes of eight numbers, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(  # (B, 1, 8, 8)
            nn.Conv2d(1, 32, 3, padding=1),
            nn.GELU(),
            nn.MaxPool2d(2),  # (B, 32, 4, 4)
            nn.Conv2d(32, 32, 3, padding=1),
            nn.GELU(),
            nn.Flatten(),  # (B, 512)
            nn.Linear(512, CODE),
        )
        self.decoder = nn.Sequential(  # (B, 8)
            nn.Linear(CODE, 512),
            nn.GELU(),
            nn.Unflatten(1, (32, 4, 4)),
            nn.Upsample(scale_factor=2, mode="bilinear"),  # (B, 32, 8, 8)
            nn.Conv2d(32, 32, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(32, 1, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, 1, 8, 8)
        return self.decoder(self.encoder(x))


def digits(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and labels to train on (1437) and to test on (360): always the same split."""
    found = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32, device=device).unsqueeze(1) / 16  # (1797, 1, 8, 8)
    labels = torch.tensor(found.target, device=device)  # (1797,)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return images[:1437], labels[:1437], images[1437:], labels[1437:]


def batches(count: int, size: int, parts: int) -> list[list[Tensor]]:
    """Numbers of images in random order: steps of `size`, each in `parts` of about the same size."""
    return [list(step.chunk(parts)) for step in torch.randperm(count).split(size)]


def draw(images: Tensor, again: Tensor, losses: list[float]) -> Figure:
    """Images above their reconstructions, and the loss of every step below."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    pictures, curve = figure.subfigures(2, 1, height_ratios=[1, 1.3])
    places = pictures.subplots(2, len(images))
    for column, pair in enumerate(zip(images, again, strict=True)):
        for place, image in zip(places[:, column], pair, strict=True):
            place.imshow(image[0].cpu().numpy(), cmap="gray_r", vmin=0, vmax=1)
            place.axis("off")
    pictures.suptitle(f"test images, and what the decoder makes of {CODE} numbers each", fontsize=10)
    axis = curve.subplots()
    axis.semilogy(losses, color="#4878a8", linewidth=0.9)
    axis.set_xlabel("step")
    axis.set_ylabel("mean squared error")
    axis.grid(color="#e8e8e8")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=128, help="images to a step")
    parser.add_argument("--parts", type=int, default=2, help="a step's gradients are summed over so many batches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/autoencoder"), help="folder of network and picture")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    images, labels, test_images, test_labels = digits(args.device)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
    )

    # Encoder and decoder learn to give back what they see.
    net = Autoencoder().to(args.device)
    mean_squared_error = nn.MSELoss(reduction="sum")
    optimizer = AdamW(net.parameters(), lr=4e-3)
    schedule = CosineAnnealingLR(optimizer, args.epochs)
    losses: list[float] = []
    with Progress(*columns) as progress:
        bar = progress.add_task("autoencoder, mean squared error", total=args.epochs, loss=float("nan"))
        for _ in range(args.epochs):
            steps = []
            for parts in batches(len(images), args.batch_size, args.parts):
                pixels = 64 * sum(map(len, parts))
                optimizer.zero_grad()
                errors = []
                for part in parts:
                    batch = images[part]  # (B / parts, 1, 8, 8)
                    loss = mean_squared_error(net(batch), batch) / pixels  # ()
                    loss.backward()  # adds to the gradients of the parts before
                    errors.append(loss.detach())
                optimizer.step()
                steps.append(sum(errors))
            schedule.step()
            losses += [step.item() for step in steps]
            progress.update(bar, advance=1, loss=losses[-1])

    # The encoder is frozen: it gets no gradients, and nothing is computed for them.
    net.encoder.requires_grad_(False)
    classifier = nn.Linear(CODE, 10).to(args.device)
    cross_entropy = nn.CrossEntropyLoss()
    optimizer = AdamW(classifier.parameters(), lr=2e-2)
    schedule = CosineAnnealingLR(optimizer, args.epochs)
    with Progress(*columns) as progress:
        bar = progress.add_task("linear layer on the codes, cross entropy", total=args.epochs, loss=float("nan"))
        for _ in range(args.epochs):
            for (batch,) in batches(len(images), args.batch_size, 1):
                optimizer.zero_grad()
                loss = cross_entropy(classifier(net.encoder(images[batch])), labels[batch])  # ()
                loss.backward()
                optimizer.step()
            schedule.step()
            progress.update(bar, advance=1, loss=loss.item())

    with torch.no_grad():
        again = net(test_images)  # (360, 1, 8, 8)
        error = (again - test_images).square().mean().item()
        said = classifier(net.encoder(test_images)).argmax(1)  # (360,)
    accuracy = 100 * (said == test_labels).double().mean().item()
    tritonnet.save(args.out / "autoencoder.safetensors", net)
    draw(test_images[:12], again[:12], losses).savefig(args.out / "autoencoder.png", dpi=150)
    print(f"{args.out / 'autoencoder.safetensors'} and {args.out / 'autoencoder.png'} written")
    print(f"test images: mean squared error {error:.4f}; digit told from {CODE} numbers: {accuracy:.1f} %")


if __name__ == "__main__":
    main()
