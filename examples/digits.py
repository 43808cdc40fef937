"""Trains a small convolutional network on scikit-learn's 1797 handwritten digits.

    python examples/digits.py                        seconds, on a CPU or a GPU
    python examples/digits.py --resume --epochs 60   goes on where that run stopped, the same to the bit

Leaves in --out: digits.safetensors (network, optimizer, loss curve) and digits.png (loss curve, misread digits).
"""

import argparse
import math
import time
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from sklearn.datasets import load_digits
from torch import Tensor

import tritonnet
import tritonnet.nn as nn
from tritonnet.optim import Adam


class Digits(nn.Module):
    """Two convolutions, two linear layers: from 8 by 8 grey levels to the scores of ten digits."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 32, 3, stride=2, padding=1)
        self.linear1 = nn.Linear(32 * 4 * 4, 64)
        self.linear2 = nn.Linear(64, 10)
        self.relu = nn.ReLU()
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # (B, 1, 8, 8)
        x = self.relu(self.conv1(x))  # (B, 32, 8, 8)
        x = self.relu(self.conv2(x))  # (B, 32, 4, 4)
        x = self.flatten(x)  # (B, 512)
        x = self.relu(self.linear1(x))  # (B, 64)
        return self.linear2(self.dropout(x))  # (B, 10)


def digits(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and labels to train on (1437) and to test on (360): always the same split."""
    found = load_digits()
    images = torch.tensor(found.images).unsqueeze(1) / 8 - 1  # (1797, 1, 8, 8), from -1 to 1
    labels = torch.tensor(found.target)  # (1797,)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images, labels = images[order].to(device, dtype), labels[order].to(device)
    return images[:1437], labels[:1437], images[1437:], labels[1437:]


@torch.no_grad()
def read(net: nn.Module, images: Tensor) -> Tensor:
    """The digit that the network reads in each image."""
    net.eval()
    return net(images).argmax(dim=1)  # (B,)


def draw(losses: list[float], accuracies: list[float], images: Tensor, labels: Tensor, said: Tensor) -> Figure:
    """The loss of every step and the test accuracy after every epoch, above the first ten misread digits."""
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    curve, wrong = figure.subfigures(2, 1, height_ratios=[3, 1.3])
    loss_axis = curve.subplots()
    accuracy_axis = loss_axis.twinx()
    steps_per_epoch = len(losses) / len(accuracies)
    loss_axis.semilogy([step / steps_per_epoch for step in range(len(losses))], losses, "#4878a8", linewidth=0.9)
    accuracy_axis.plot(range(1, len(accuracies) + 1), accuracies, "#c8553d", linewidth=1.8)
    loss_axis.set_xlabel("epoch")
    loss_axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    loss_axis.set_ylabel("loss", color="#4878a8")
    accuracy_axis.set_ylabel("test accuracy (%)", color="#c8553d")
    loss_axis.grid(color="#e8e8e8")
    for axis in (loss_axis, accuracy_axis):
        axis.spines["top"].set_visible(False)

    misread = (said != labels).nonzero().flatten().tolist()
    wrong.suptitle(f"{len(misread)} of {len(labels)} test digits misread", fontsize=10)
    places = wrong.subplots(1, 10)
    for place in places:
        place.axis("off")
    for place, index in zip(places, misread, strict=False):
        place.imshow(images[index, 0].float().cpu().numpy(), cmap="gray_r")
        place.set_title(f"{labels[index]} read as {said[index]}", fontsize=8)
    return figure


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16", "float64"])
    parser.add_argument("--backend", default="triton", choices=["triton", "reference"])
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--out", type=Path, default=Path("runs/digits"), help="folder of checkpoint and picture")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = args.out / "digits.safetensors"
    tritonnet.kernels.use(args.backend)

    dtype = getattr(torch, args.dtype)
    images, labels, test_images, test_labels = digits(args.device, dtype)
    torch.manual_seed(args.seed)
    net = Digits().to(args.device, dtype)
    optimizer = Adam(net.parameters(), lr=2e-3)
    cross_entropy = nn.CrossEntropyLoss()
    done, seconds, losses, accuracies = 0, 0.0, [], []
    if args.resume:
        state = tritonnet.load(checkpoint, net, optimizer)  # and the random numbers go on where they were
        done, seconds, losses, accuracies = (state[key] for key in ("epochs", "seconds", "losses", "accuracies"))

    columns = (
        "loss {task.fields[loss]:.4f}",
        "test accuracy {task.fields[accuracy]:.1f} %",
        "{task.fields[speed]:.0f} images/s",
    )
    began = time.perf_counter()
    with Progress("training", BarColumn(), *map(TextColumn, columns), TimeRemainingColumn()) as progress:
        shown = {"loss": math.nan, "accuracy": math.nan, "speed": math.nan}
        bar = progress.add_task("", total=args.epochs * len(labels), completed=done * len(labels), **shown)
        for epoch in range(done, args.epochs):
            net.train()
            steps = []
            for batch in torch.randperm(len(labels)).to(args.device).split(args.batch_size):  # (B,)
                loss = cross_entropy(net(images[batch]), labels[batch])  # ()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                steps.append(loss.detach())
                progress.advance(bar, len(batch))
            losses += [loss.item() for loss in steps]
            accuracies.append(100 * (read(net, test_images) == test_labels).double().mean().item())
            speed = len(labels) / (time.perf_counter() - began)
            progress.update(bar, loss=losses[-1], accuracy=accuracies[-1], speed=speed)
            now = time.perf_counter()
            seconds, began = seconds + now - began, now
            tritonnet.save(
                checkpoint, net, optimizer, epochs=epoch + 1, seconds=seconds, losses=losses, accuracies=accuracies
            )

    # What is tested is what the file holds.
    saved = Digits().to(args.device, dtype)
    tritonnet.load(checkpoint, saved)
    said = read(saved, test_images)
    accuracy = 100 * (said == test_labels).double().mean().item()
    draw(losses, accuracies, test_images, test_labels, said).savefig(args.out / "digits.png", dpi=150)
    print(f"{checkpoint} and {args.out / 'digits.png'} written")
    path, _ = tritonnet.kernels.path(args.device)
    print(f"test accuracy: {accuracy:.1f} % ({len(accuracies)} epochs, {seconds:.1f} s, {path})")


if __name__ == "__main__":
    main()
