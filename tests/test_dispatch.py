"""A training step computes in tritonnet's kernels alone: a dispatch mode lists all that torch does beside them."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import tritonnet
import tritonnet.nn as nn
from tritonnet.optim import Adam

VIEWS = {
    "view",
    "_unsafe_view",
    "detach",
    "alias",
    "expand",
    "t",
    "transpose",
    "permute",
    "as_strided",
    "select",
    "unsqueeze",
}
ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
# The gradient that backward starts from, and the seed of dropout.
BEGINNINGS = {"ones_like", "randint"}
INTEGERS = {"copy_", "_to_copy", "zeros", "zero_", "fill_", "add_", "lift_fresh"}


class Listing(TorchDispatchMode):
    """Counts the aten operations by name and by whether a floating-point tensor is among results or arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.floats: Counter[str] = Counter()
        self.integers: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        seen = torch.utils._pytree.tree_leaves((args, kwargs, out))
        floating = any(isinstance(one, Tensor) and one.is_floating_point() for one in seen)
        (self.floats if floating else self.integers)[func.overloadpacket.__name__] += 1
        return out


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(64, 10),
    )


def step_of(dtype: torch.dtype, device: str) -> Callable[[], None]:
    net = network().to(device, dtype)
    optimizer = Adam(net.parameters(), lr=1e-3)
    cross_entropy = nn.CrossEntropyLoss()
    images, labels = torch.randn(16, 1, 8, 8).to(device, dtype), torch.randint(10, (16,)).to(device)

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(net(images), labels).backward()
        optimizer.step()

    return step


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_no_floating_point_arithmetic_of_a_step_is_torchs(dtype):
    if tritonnet.kernels.path(torch.device("cpu"))[0] != "Triton on the CPU":
        pytest.skip("no C compiler: the references are torch's own operations")
    step = step_of(dtype, "cpu")
    for _ in range(3):
        with Listing() as listing:
            step()
        assert set(listing.floats) <= VIEWS | ALLOCATIONS | BEGINNINGS, listing.floats
        assert listing.floats["ones_like"] == 1
        assert set(listing.integers) <= VIEWS | ALLOCATIONS | BEGINNINGS | INTEGERS, listing.integers


def test_the_listing_sees_the_references():
    """The same step on the references: the mode would have told."""
    step = step_of(torch.float32, "cpu")
    with tritonnet.kernels.use("reference"), Listing() as listing:
        step()
    assert {"convolution", "mul"} & set(listing.floats), listing.floats
