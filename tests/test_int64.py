"""Offsets past 2^31 elements: every tensor of the examples, spread over memory of which only a few pages exist.

What is not tested on a CPU: dense results of more than 2^31 elements, whose every page would be written.
"""

import math
import mmap
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from triton import JITFunction

from tests.kernels.examples import DEVICE, Call, Example, examples, tensors
from tests.targets.recording import recording
from tritonnet.kernels import OPS, _tune

BEYOND = 1 << 31
MAP_NORESERVE = 0x4000
DTYPE = torch.bfloat16


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
    with recording(_tune.Target("cpu", "no such processor", 1, 512 << 10)) as record:
        for example in examples():
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


def spread_call(example: Example, far: str, dim: int) -> Call:
    """The call with dimension `dim` of the tensor `far` past 2^31 elements."""
    return example.changed(example.make(DTYPE, 1), lambda label, tensor: spread(tensor, dim if label == far else None))


def outcome(example: Example, call: Call) -> list[Tensor]:
    return [tensor.contiguous() for tensor in tensors(call.of(example.op), call.args, call.kwargs)]


@pytest.mark.parametrize("example", list(telling()), ids=str)
def test_an_argument_that_reaches_past_32_bits(example):
    """Each of its tensors in turn, each of its dimensions."""
    expected = outcome(example, example.make(DTYPE, 1))
    for far, dim in reaching(example):
        found = outcome(example, spread_call(example, far, dim))
        torch.testing.assert_close(found, expected, equal_nan=True, msg=f"{far}, dimension {dim}: {{}}".format)


@pytest.mark.skipif(DEVICE.type == "cpu", reason="needs a GPU: every page of the tensors is written")
def test_a_dense_result_of_more_than_31_bits():
    x = torch.randn(BEYOND + 8, dtype=DTYPE, device=DEVICE)
    for y, expected in ((OPS["relu"](x), torch.relu(x)), (OPS["dropout"](x, 0.0, torch.tensor([5], device=DEVICE)), x)):
        assert torch.equal(y, expected)
