"""Teaches a multilayer perceptron eight of ten handwritten digits, then the other two with its hidden layers frozen.

    python examples/mlp.py

Bias and GELU are computed with the product, in one kernel. A step sums the gradients of several small batches and
clips their norm; torch's scheduler raises and lowers the learning rate. What is frozen stays the same to the bit.
"""

import argparse

import torch
from rich.progress import track
from sklearn.datasets import load_digits
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

import tritonnet.functional as F
import tritonnet.nn as nn
from tritonnet.nn.utils import clip_grad_norm_
from tritonnet.optim import SGD


class Perceptron(nn.Module):
    """64 grey levels, two hidden layers of `width`, ten scores."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.hidden = nn.ModuleList([nn.Linear(64, width), nn.Linear(width, width)])
        self.scores = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:  # (B, 64)
        for layer in self.hidden:
            x = F.linear(x, layer.weight, layer.bias, activation="gelu")  # (B, width)
        return self.scores(x)  # (B, 10)


def digits(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and labels to train on (1437) and to test on (360): always the same split."""
    found = load_digits()
    images = torch.tensor(found.data, dtype=torch.float32, device=device) / 8 - 1  # (1797, 64), from -1 to 1
    labels = torch.tensor(found.target, device=device)  # (1797,)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return images[:1437], labels[:1437], images[1437:], labels[1437:]


def train(net: nn.Module, images: Tensor, labels: Tensor, epochs: int, batch_size: int, parts: int, name: str) -> None:
    """Stochastic gradient descent on whatever of the network is not frozen."""
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    cross_entropy = nn.CrossEntropyLoss(reduction="sum")
    optimizer = SGD(learning, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    steps = -(-len(images) // batch_size)
    schedule = OneCycleLR(optimizer, max_lr=0.1, epochs=epochs, steps_per_epoch=steps)
    for _ in track(range(epochs), name):
        for batch in torch.randperm(len(images)).split(batch_size):  # (B,)
            optimizer.zero_grad()
            for part in batch.chunk(parts):
                loss = cross_entropy(net(images[part]), labels[part]) / len(batch)  # ()
                loss.backward()  # adds to the gradients of the parts before
            clip_grad_norm_(learning, max_norm=1.0)
            optimizer.step()
            schedule.step()


@torch.no_grad()
def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Per cent."""
    return 100 * (net(images).argmax(1) == labels).double().mean().item()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64, help="images to a step")
    parser.add_argument("--parts", type=int, default=2, help="a step's gradients are summed over so many batches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(arguments)
    torch.manual_seed(args.seed)
    images, labels, test_images, test_labels = digits(args.device)
    net = Perceptron().to(args.device)

    few = labels < 8
    train(net, images[few], labels[few], args.epochs, args.batch_size, args.parts, "digits 0 to 7")
    test_few = test_labels < 8
    print(f"0 to 7: {accuracy(net, test_images[test_few], test_labels[test_few]):.1f} % of the test images")

    net.hidden.requires_grad_(False)
    before = [parameter.clone() for parameter in net.hidden.parameters()]
    train(net, images, labels, args.epochs, args.batch_size, args.parts, "all ten, hidden layers frozen")
    assert all(map(torch.equal, before, net.hidden.parameters()))
    print(
        f"test accuracy: {accuracy(net, test_images, test_labels):.1f} % of all ten, two learnt by the last layer alone"
    )


if __name__ == "__main__":
    main()
