"""A convolution with given filters beside a buffer and a cached state: what trains, what moves, what is saved.

python examples/fixed_filters.py
"""

import tempfile
from pathlib import Path

import torch
from torch import Tensor

import tritonnet
import tritonnet.nn as nn
from tritonnet.optim import Adam

FILTERS = torch.tensor(
    [
        [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],  # edges from left to right (Sobel)
        [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],  # edges from top to bottom
        [[0, 1, 0], [1, -4, 1], [0, 1, 0]],  # spots (Laplace)
        [[1, 2, 1], [2, 4, 2], [1, 2, 1]],  # brightness, blurred
    ],
    dtype=torch.float32,
)


class Edges(nn.Module):
    """Given filters, a linear layer on what they find, and a memory of the last batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        # Assigned to the name of a parameter, a Parameter takes its place. Without requires_grad no step changes it.
        self.conv.weight = nn.Parameter(FILTERS.unsqueeze(1) / 8, requires_grad=False)  # (4, 1, 3, 3)
        self.linear = nn.Linear(4 * 8 * 8, 10)
        self.mean = nn.Buffer(torch.tensor(0.5))
        self.hidden: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:  # (B, 1, 8, 8)
        edges = self.conv(x - self.mean)  # (B, 4, 8, 8)
        self.hidden = edges.detach()
        return self.linear(edges.flatten(1))  # (B, 10)


def main() -> None:
    torch.manual_seed(0)
    net = Edges()
    images, labels = torch.rand(16, 1, 8, 8), torch.arange(16) % 10
    optimizer = Adam(net.parameters(), lr=1e-3)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for _ in range(3):
        optimizer.zero_grad()
        nn.CrossEntropyLoss()(net(images), labels).backward()
        optimizer.step()
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "edges.safetensors"
        tritonnet.save(path, net)
        fresh = Edges()
        for value in fresh.state_dict().values():
            value.zero_()
        tritonnet.load(path, fresh)
    saved = {name for name, value in fresh.state_dict().items() if torch.equal(value, net.state_dict()[name])}

    net.to(torch.float64)
    parameters = dict(net.named_parameters())
    rows = {"conv.weight": net.conv.weight, "linear.weight": net.linear.weight, "mean": net.mean, "hidden": net.hidden}
    print(f"{'':<15}{'in parameters()':<18}{'trained':<10}{'moved by .to()':<17}saved")
    for name, value in rows.items():
        answers = name in parameters, name in changed, value.dtype == torch.float64, name in saved
        words = ["yes" if answer else "no" for answer in answers]
        print(f"{name:<15}{words[0]:<18}{words[1]:<10}{words[2]:<17}{words[3]}")

    try:
        Adam(net.parameters(), learning_rate=1e-3)
    except TypeError as error:
        print(f"\nAdam(net.parameters(), learning_rate=1e-3)\n  {error}")


if __name__ == "__main__":
    main()
