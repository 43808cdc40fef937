"""Offsets past 2^31 elements: every kernel, of memory of which only a few pages exist.

Every tensor of the examples, spread by its strides; and dense tensors that are as large, for the kernels that take no
others.
"""

import math
import mmap
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from triton import JITFunction

from tests.kernels.examples import DEVICE, Call, Example, call, examples, kernels, tensors
from tests.targets.recording import Launch, Pointer, recording
from tests.wide import BEYOND, COUNT, TAIL, WHY_NOT, WideMemory
from tritonnet.kernels import OPS, _tune
from tritonnet.kernels.dropout import _keep_reference

MAP_NORESERVE = 0x4000
DTYPE = torch.bfloat16
TARGET = _tune.Target("cpu", "no such processor", 1, 512 << 10)

NEVER_LARGE = {
    "_class_losses._sum_kernel": "takes a number or two of each program before it",
    "adam._advance_kernel": "takes a number of each parameter",
    "clip._root_kernel": "takes a number of each program before it",
    "loss.kernels._sum_parts_kernel": "takes a number or two of each program before it",
}
"""The kernels none of whose tensors can have 2^31 elements where others fit into memory, and why."""


def lazily(extent: int, dtype: torch.dtype) -> Tensor:
    """Memory of which a CPU makes only the pages that are touched."""
    if DEVICE.type != "cpu":
        return torch.empty(extent, dtype=dtype, device=DEVICE)
    memory = mmap.mmap(-1, extent * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype, count=extent)


def spread(values: Tensor, far: int | None = None) -> Tensor:
    """The values in a tensor of strides of 3 and more; the last index of dimension `far` past 2^31 elements."""
    strides, step = [0] * values.dim(), 3
    for dim in sorted(range(values.dim()), key=lambda dim: (dim == far, values.stride(dim))):
        if dim == far:
            step = math.ceil((BEYOND + 1) / (values.shape[dim] - 1))
        strides[dim], step = step, step * max(values.shape[dim], 1)
    extent = 1 + sum((size - 1) * stride for size, stride in zip(values.shape, strides, strict=True))
    if values.device.type == "meta":
        return torch.empty_strided(values.shape, strides, dtype=values.dtype, device="meta")
    return lazily(extent, values.dtype).as_strided(values.shape, strides).copy_(values)


def reaching(example: Example) -> list[tuple[str, int]]:
    """The tensors of an example, and their dimensions of more than one index."""
    found: list[tuple[str, int]] = []

    def note(label: str, tensor: Tensor) -> Tensor:
        found.extend((label, dim) for dim in range(tensor.dim()) if tensor.shape[dim] > 1)
        return tensor

    example.changed(example.make(DTYPE, 1, "meta"), note)
    return found


def telling() -> Iterator[Example]:
    """The examples that, so spread, show what none before them does: of a kernel, or of several that are launched
    together, a tensor's dimension; of each a variant. Another formula (`FORMULA`, `ACT`...) finds no other offsets."""
    seen: set[tuple[object, ...]] = set()
    with recording(TARGET) as record:
        for example in filter(reaching, examples()):
            launches = record(example, DTYPE, 1, lambda _, tensor: spread(tensor))
            together = tuple(dict.fromkeys(launch.kernel.fn for launch in launches))
            shown: set[tuple[object, ...]] = {(together, *each) for each in reaching(example)}
            shown |= {
                (launch.kernel.fn, name, str(value))
                for launch in launches
                for name, value in [*launch.constexprs.items(), ("missing", [arg is None for arg in launch.args])]
                if not isinstance(value, JITFunction) and type(value) is not int
            }
            if not shown <= seen:
                seen |= shown
                yield example


def spreading(far: str, dim: int) -> Callable[[str, Tensor], Tensor]:
    """Spreads tensors, dimension `dim` of that called `far` past 2^31 elements."""
    return lambda label, tensor: spread(tensor, dim if label == far else None)


def outcome(example: Example, call: Call) -> list[Tensor]:
    return [tensor.contiguous() for tensor in tensors(call.of(example.op), call.args, call.kwargs)]


TELLING = list(telling())


@pytest.mark.parametrize("example", TELLING, ids=str)
def test_an_argument_that_reaches_past_32_bits(example):
    """Each of its tensors in turn, each of its dimensions."""
    expected = outcome(example, example.make(DTYPE, 1))
    for far, dim in reaching(example):
        found = outcome(example, example.changed(example.make(DTYPE, 1), spreading(far, dim)))
        torch.testing.assert_close(found, expected, equal_nan=True, msg=f"{far}, dimension {dim}: {{}}".format)


# Calls of n elements, n being COUNT or, for what is expected of the last of them, TAIL. Their values are filled in.


def unary(dtype, n):
    return (torch.empty(n, dtype=dtype),)


def ternary(dtype, n):
    return tuple(torch.empty(n, dtype=dtype) for _ in range(3))


def fill(dtype, n):
    return torch.rand(1, 7000).to(dtype), (1000, 1, n // TAIL - 2, 1), "constant", 2.5


def summed(dtype, n):
    return "mse_loss", *ternary(dtype, n)[:2], None, 1.0, None, "sum", torch.float32


def terms(dtype, n):
    dloss, x, target = ternary(dtype, n)
    return "mse_loss.x", "x", dloss, x, target, torch.empty(n, dtype=dtype), 1.0, None, "none"


def dropped(dtype, n):
    return torch.empty(n, dtype=dtype), 0.3, torch.tensor([5]), 7


def dropped_channels(dtype, n):
    return torch.empty(1, n, dtype=dtype), 0.3, torch.tensor([5]), 7


def adam(dtype, n):
    columns = [[torch.empty(n, dtype=dtype)] for _ in range(5)]
    return *columns, [torch.zeros(())], torch.tensor([[0.1, 0.9, 0.99, 1e-3, 0.1]], dtype=torch.float64)


def sgd(dtype, n):
    columns = [[torch.empty(n, dtype=dtype)] for _ in range(3)]
    return *columns, torch.tensor([[0.1, 0.9, 0.5, 0.1]], dtype=torch.float64)


def norm(dtype, n):
    return call([torch.empty(n, dtype=dtype)], dtype=torch.float32)


def clipped_by_norm(dtype, n):
    return [torch.empty(n, dtype=dtype)], torch.full((), 40.0), 3.0


def clipped_by_value(dtype, n):
    return [torch.empty(n, dtype=dtype)], 0.5


LARGE = [
    Example(OPS[name], factory)
    for name, factory in {
        "relu": unary,
        "sigmoid_double_backward": ternary,
        "pad": fill,
        "loss": summed,
        "loss_gradient": terms,
        "dropout_": dropped,
        "channel_dropout_": dropped_channels,
        "adam": adam,
        "sgd": sgd,
        "total_norm": norm,
        "clip_norm_": clipped_by_norm,
        "clip_value_": clipped_by_value,
    }.items()
]


def expected_of(example: Example, small: Call) -> list[Tensor]:
    """What becomes of the last elements, which are those of `small`."""
    if "dropout" not in example.op.name:
        return outcome_of(example.op.reference, small)

    def dropout(x: Tensor, p: float, seed: Tensor, slot: int) -> Tensor:
        kept = _keep_reference(torch.arange(COUNT - TAIL, COUNT, device=x.device), p, seed, slot)
        return x.copy_(torch.where(kept, x / (1 - p), 0))

    return outcome_of(dropout, small)


def outcome_of(function: Callable[..., object], made: Call) -> list[Tensor]:
    """What it returns and what it was given, in one dimension, the last elements of each."""
    return [tensor.flatten()[-TAIL:] for tensor in tensors(made.of(function), made.args, made.kwargs)]


@pytest.fixture(scope="module")
def mapped() -> list[Tensor]:
    return []


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
@pytest.mark.parametrize("example", LARGE, ids=str)
def test_dense_tensors_of_more_than_31_bits(example, mapped):
    small = example.make(DTYPE, TAIL)
    with WideMemory(mapped):
        large = example.make(DTYPE, COUNT)
        for ours, theirs in zip(*(tensors(each.args, each.kwargs) for each in (large, small)), strict=True):
            if ours.numel() == COUNT:
                ours[..., -TAIL:] = theirs.copy_(torch.rand_like(theirs))
        found = outcome_of(example.op, large)
    torch.testing.assert_close(found, expected_of(example, small))


def reached(launches: list[Launch], tabled: bool = False) -> set[Callable[..., object]]:
    """The kernels of launches that take more than 2^31 elements of memory, or chunks of them if those are tabled."""
    return {
        launch.kernel.fn
        for launch in launches
        if any(isinstance(arg, Pointer) and arg.extent > BEYOND for arg in launch.args)
        or (tabled and "chunks_ptr" in launch.kernel.arg_names)
    }


def test_every_kernel_is_reached():
    """By a size or by a stride; what is reached by neither cannot be."""
    found = set()
    with recording(TARGET) as record:
        for example in LARGE:
            found |= reached(record(example, DTYPE, COUNT), bool(example.op.tables))
        for example in TELLING:
            for far, dim in reaching(example):
                found |= reached(record(example, DTYPE, 1, spreading(far, dim)))
    left = {f"{kernel.__module__}.{kernel.__name__}".removeprefix("tritonnet.kernels.") for kernel in kernels() - found}
    assert left == NEVER_LARGE.keys()
