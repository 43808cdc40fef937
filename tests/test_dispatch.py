"""A training step computes in tritonnet's kernels alone: a dispatch mode lists all that torch does beside them."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import tritonnet
import tritonnet.nn as nn
from perf.networks import digits
from tritonnet.optim import SGD, Adam

VIEWS = {"as_strided", "detach", "expand", "permute", "select", "slice", "transpose", "unbind", "view"}
ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty"}
# The gradient that backward starts from.
BEGINNING = {"ones_like"}
# Once, in the first step: the optimizer's zeros, and the numbers of its parameter groups copied to the device.
ONCE = {"zeros", "zeros_like", "lift_fresh", "copy_"}
# Dropout's seed; torch.optim's name for the profiler.
INTEGERS = {"randint", "_record_function_enter_new", "_record_function_exit"}


class Listing(TorchDispatchMode):
    """Counts aten operations: those with a floating-point tensor among arguments or results, and the others."""

    def __init__(self) -> None:
        super().__init__()
        self.floats: Counter[str] = Counter()
        self.others: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, result))
        floating = any(isinstance(leaf, Tensor) and leaf.is_floating_point() for leaf in leaves)
        (self.floats if floating else self.others)[func.overloadpacket.__name__] += 1
        return result


def step_of(dtype: torch.dtype) -> Callable[[], None]:
    """A whole step of the digits network."""
    net = digits(nn).to(dtype)
    optimizer = Adam(net.parameters(), lr=1e-3)
    cross_entropy = nn.CrossEntropyLoss()
    images, labels = torch.randn(16, 1, 8, 8).to(dtype), torch.randint(10, (16,))

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(net(images), labels).backward()
        optimizer.step()

    return step


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_no_floating_point_arithmetic_of_a_step_is_torchs(dtype):
    if tritonnet.kernels.path(torch.device("cpu"))[0] != "Triton on the CPU":
        pytest.skip("no C compiler: the references are torch's own operations")
    step = step_of(dtype)
    with Listing() as first:
        step()
    assert set(first.floats) <= VIEWS | ALLOCATIONS | BEGINNING | ONCE, first.floats
    for _ in range(2):
        with Listing() as later:
            step()
        assert set(later.floats) <= VIEWS | ALLOCATIONS | BEGINNING, later.floats
        assert later.floats["ones_like"] == 1
        assert set(later.others) <= INTEGERS | VIEWS, later.others


def test_nor_is_any_that_clips_gradients_and_steps_with_momentum():
    if tritonnet.kernels.path(torch.device("cpu"))[0] != "Triton on the CPU":
        pytest.skip("no C compiler: the references are torch's own operations")
    net = nn.Linear(5, 3)
    optimizer = SGD(net.parameters(), lr=1e-2, momentum=0.9, nesterov=True, weight_decay=0.1)
    for p in net.parameters():
        p.grad = torch.randn(p.shape)

    def step() -> None:
        nn.utils.clip_grad_norm_(net.parameters(), 0.1, 1.0)
        nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        nn.utils.clip_grad_value_(net.parameters(), 0.01)
        optimizer.step()

    with Listing() as first:
        step()
    assert set(first.floats) <= ALLOCATIONS | VIEWS | ONCE, first.floats
    with Listing() as later:
        step()
    assert set(later.floats) <= ALLOCATIONS | VIEWS, later.floats


def test_the_listing_sees_torchs_arithmetic():
    """The same step on the references, so that the test above can fail."""
    step = step_of(torch.float32)
    with tritonnet.kernels.use("reference"), Listing() as listing:
        step()
    assert {"convolution", "mul"} & set(listing.floats), listing.floats
