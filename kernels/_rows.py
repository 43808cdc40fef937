"""Rows along one dimension of a tensor of any rank and strides: how the programs of a kernel walk them.

A program has a block of rows whose starts lie one stride apart, the rest of the rows is counted over two more sizes:
    kernel(*pointers, *integers, ..., **constexprs)    with the integers
    R, C, n2, (along a row, from row to row, over n2, beyond it: the strides of each tensor with rows),
    (from row to row, over n2, beyond it: those of each tensor with one element a row)
As the offsets in a program are affine, whole tiles are moved.
"""

import functools
import itertools
from dataclasses import asdict, dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._strides import merge
from ._tile import block_offsets, fitting, needs_int64
from ._tune import Target, target

_FEW = 16


@dataclass(frozen=True)
class Tile:
    """WHOLE: whether a row fits into BLOCK_C, so that its elements are loaded once.

    AXIS: of the sums: 1 where neighbours in memory are neighbours in a row, else 0.
    """

    BLOCK_R: int
    BLOCK_C: int
    WHOLE: bool
    AXIS: int
    num_warps: int


# Of a tile along rows, where one row is longer, and across rows; and how many rows that is.
_BYTES = 4 << 10
_LONGEST_BYTES = {"cpu": 8 << 10, "gpu": 4 << 10}
_STRIDED_BYTES = {"cpu": 16 << 10, "gpu": 4 << 10}
_STRIDED_ROWS = {"cpu": 128, "gpu": 32}


@functools.cache
def pick_tile(R: int, C: int, axis: int, accumulator: torch.dtype, target: Target) -> Tile:
    """A tile along what lies side by side: of whole rows, a part of a long one by twice the warps, or across rows.

    Not in float64, where a thread would be left with two elements, and with so few registers that some are spilled.
    """
    if axis:
        elements = _BYTES // accumulator.itemsize
        block_c = fitting(C, _LONGEST_BYTES[target.kind] // accumulator.itemsize, target.kind)
        block_r = fitting(R, max(1, elements // block_c), target.kind)
    else:
        elements = _STRIDED_BYTES[target.kind] // accumulator.itemsize
        block_r = fitting(R, _STRIDED_ROWS[target.kind], target.kind)
        block_c = fitting(C, elements // block_r, target.kind)
    return Tile(block_r, block_c, C <= block_c, axis, 4 if C <= block_c or accumulator.itemsize == 8 else 8)


@dataclass(frozen=True)
class Launch:
    """One launch over rows.

    starts: the element of each tensor that the first row begins with.
    programs: over the rows; where they part the rows too, by column_blocks of them.
    """

    starts: tuple[int, ...]
    programs: int
    column_blocks: int
    integers: tuple[int, ...]
    constexprs: dict[str, Any]

    def tensors(self, *tensors: Tensor) -> list[Tensor]:
        """The tensors as the kernel sees them: from their starts on."""
        return [
            tensor if start == 0 else tensor.as_strided((1,), (1,), tensor.storage_offset() + start)
            for tensor, start in zip(tensors, self.starts, strict=True)
        ]


@functools.lru_cache(4096)
def launches(
    shape: tuple[int, ...],
    dim: int,
    strides: tuple[tuple[int, ...], ...],
    row_strides: tuple[tuple[int, ...], ...],
    accumulator: torch.dtype,
    device: torch.device,
) -> tuple[Launch, ...]:
    """How to launch over all rows along `dim` of tensors of `shape`; not at all without elements.

    Args:
        strides: of each tensor of this shape, the one first that decides what lies side by side in memory.
        row_strides: of each tensor of this shape without `dim`; the first of them decides where there are no others.
    """
    if 0 in shape:
        return ()
    C, along = (shape[dim], [stride[dim] for stride in strides]) if shape else (1, [1 for _ in strides])
    rows = *(stride[:dim] + stride[dim + 1 :] for stride in strides), *row_strides
    found = []
    for walk in walks(shape[:dim] + shape[dim + 1 :], *rows):
        axis = int(not along or walk.R == 1 or along[0] <= walk.strides[0][0])
        tile = pick_tile(walk.R, C, axis, accumulator, target(device))
        integers = [walk.R, C, walk.n2]
        far = False
        for c, own in itertools.zip_longest(along, walk.strides):
            integers += own if c is None else (c, *own)
            far |= needs_int64((C, walk.R), (c or 0, own[0]))
        constexprs = {"INT64": far, **asdict(tile)}
        blocks = triton.cdiv(C, tile.BLOCK_C)
        found.append(Launch(walk.starts, walk.programs(tile.BLOCK_R), blocks, tuple(integers), constexprs))
    return tuple(found)


@dataclass(frozen=True)
class Walk:
    """R rows over n2 x n3, and for each tensor its first element and three strides."""

    R: int
    n2: int
    n3: int
    starts: tuple[int, ...]
    strides: tuple[tuple[int, int, int], ...]

    def programs(self, BLOCK_R: int) -> int:
        return triton.cdiv(self.R, BLOCK_R) * self.n2 * self.n3


def walks(shape: tuple[int, ...], *strides: tuple[int, ...]) -> list[Walk]:
    """The walks over all rows, from the sizes that count them and each tensor's strides over these.

    Neighbours in the first tensor's memory become neighbouring rows, unless there are few. Shapes that do not merge
    into three dimensions take a walk for each index of the outer ones.
    """
    order = sorted(range(len(shape)), key=lambda dim: -strides[0][dim])
    sizes, merged = merge([shape[dim] for dim in order], *([s[dim] for dim in order] for s in strides))
    one = (1, *(0 for _ in strides))
    dims = list(zip(sizes, *merged, strict=True)) or [one]
    if dims[-1][0] < _FEW:
        dims.append(dims.pop(max(range(len(dims)), key=lambda at: dims[at][0])))
    *outer, (n3, *s3), (n2, *s2), (R, *s1) = [one] * (3 - len(dims)) + dims
    inner = tuple(zip(s1, s2, s3, strict=True))
    found = []
    for index in itertools.product(*(range(size) for size, *_ in outer)):
        starts = [sum(i * steps[k] for i, (_, *steps) in zip(index, outer, strict=True)) for k in range(len(strides))]
        found.append(Walk(R, n2, n3, tuple(starts), inner))
    return found


@triton.jit
def row_block(R, BLOCK_R: tl.constexpr, INT64: tl.constexpr):
    """The numbers of a program's rows [BLOCK_R]."""
    return block_offsets(tl.program_id(0) % tl.cdiv(R, BLOCK_R), BLOCK_R, INT64)


@triton.jit
def first_row(R, n2, s2, s3, BLOCK_R: tl.constexpr):
    """Where a program's rows are counted from."""
    outer = (tl.program_id(0) // tl.cdiv(R, BLOCK_R)).to(tl.int64)
    return outer % n2 * s2 + outer // n2 * s3


@triton.jit
def columns(start, BLOCK_C: tl.constexpr, AXIS: tl.constexpr, INT64: tl.constexpr):
    """Places in a row from `start` on, spread along the tile's axis."""
    return tl.expand_dims(start + block_offsets(0, BLOCK_C, INT64), 1 - AXIS)


@triton.jit
def add_to_sum_of_exp(high, total, x, inside, AXIS: tl.constexpr):
    """The largest value, and the sum of exp(value - largest), of rows with more values: those `x` that are `inside`."""
    x = tl.where(inside, x, float("-inf"))
    higher = tl.maximum(high, tl.max(x, AXIS))
    # Until a finite value comes, exp(-inf - -inf) would be NaN.
    base = tl.where(higher == float("-inf"), 0.0, higher)
    e = tl.where(inside, tl.exp(x - tl.expand_dims(base, AXIS)), 0.0)
    return higher, total * tl.exp(high - base) + tl.sum(e, AXIS)
