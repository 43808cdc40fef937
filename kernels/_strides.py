"""Element by element over tensors of any strides: dimensions merged in the launcher, offsets in the kernel.

Such a kernel sees a tensor as rows of `n0` elements, the rows numbered over at most three more dimensions:
    kernel(*pointers, R, n0, n1, n2, *(four strides of each tensor), *scalars, **constexprs, BLOCK_R, BLOCK_C)
where R counts the rows.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from ._errors import ShapeError
from ._launch import launch
from ._tile import fitting
from ._tune import Target, target

DIMS = 4


@dataclass(frozen=True)
class RowsTile:
    BLOCK_R: int
    BLOCK_C: int
    num_warps: int


@functools.cache
def pick_rows_tile(n0: int, target: Target) -> RowsTile:
    """A tile of about 1024 elements, wide enough for a whole row where rows are short."""
    block_c = fitting(n0, 1024, target.kind)
    return RowsTile(1024 // block_c, block_c, 4)


@triton.jit
def rows_and_cols(R, n0, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr):
    """Row numbers [BLOCK_R, 1], columns [1, BLOCK_C] and the mask of a program's tile."""
    row_blocks = tl.cdiv(R, BLOCK_R)
    pid = tl.program_id(0).to(tl.int64)
    rows = pid % row_blocks * BLOCK_R + tl.arange(0, BLOCK_R)[:, None]
    cols = pid // row_blocks * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    return rows, cols, (rows < R) & (cols < n0)


@triton.jit
def row_offsets(rows, n1, n2, s1, s2, s3):
    """Where rows begin whose number counts over three dimensions, the inner two of sizes n2 and n1."""
    return rows % n1 * s1 + rows // n1 % n2 * s2 + rows // n1 // n2 * s3


def merge(shape: Sequence[int], *strides: Sequence[int]) -> tuple[list[int], list[list[int]]]:
    """The fewest sizes, and the strides of each tensor over them, that walk the same elements in the same order."""
    sizes: list[int] = []
    merged: list[list[int]] = [[] for _ in strides]
    for dim, size in enumerate(shape):
        if size == 1:
            continue
        if sizes and all(m[-1] == s[dim] * size for m, s in zip(merged, strides, strict=True)):
            sizes[-1] *= size
            for m, s in zip(merged, strides, strict=True):
                m[-1] = s[dim]
        else:
            sizes.append(size)
            for m, s in zip(merged, strides, strict=True):
                m.append(s[dim])
    return sizes, merged


def memory_order(x: Tensor) -> list[int]:
    """The dimensions of `x` from the largest stride to the smallest."""
    return sorted(range(x.dim()), key=lambda dim: -x.stride(dim))


def check_distinct(op: str, x: Tensor) -> None:
    """Raises ShapeError where several elements of `x`, to be written by `op`, share memory."""
    if any(stride == 0 and size > 1 for size, stride in zip(x.shape, x.stride(), strict=True)):
        raise ShapeError(f"{op}: x of shape {tuple(x.shape)} and strides {x.stride()} is expanded; clone() it first")


def launch_rows(
    kernel: Any,
    tensors: Sequence[Tensor],
    pointers: Sequence[Tensor] = (),
    scalars: Sequence[Any] = (),
    numbers: Tensor | None = None,
    **constexprs: Any,
) -> None:
    """Launches `kernel` over tensors of one shape, in the memory order of the last of them.

    A shape that does not merge into four dimensions takes a launch for each index of its outermost ones.

    Args:
        tensors: those with strides; their order is that of the kernel's pointers.
        pointers: further tensors whose pointers follow.
        scalars: what follows the strides.
        numbers: a meta tensor of the same shape whose addresses number the elements, for a kernel that needs to know
            which element it has: its strides follow the tensors', its storage offset precedes the scalars.
    """
    order = memory_order(tensors[-1])
    strided = [t.permute(order) for t in (*tensors, *(() if numbers is None else (numbers,)))]
    sizes, strides = merge(strided[0].shape, *(t.stride() for t in strided))
    if len(sizes) > DIMS:
        for index in range(strided[0].shape[0]):
            part = [t[index] for t in strided]
            launch_rows(kernel, part[: len(tensors)], pointers, scalars, *part[len(tensors) :], **constexprs)
        return
    missing = DIMS - len(sizes)
    n3, n2, n1, n0 = [1] * missing + sizes
    R = n1 * n2 * n3
    tile = pick_rows_tile(n0, target(tensors[0].device))
    grid = (triton.cdiv(R, tile.BLOCK_R) * triton.cdiv(n0, tile.BLOCK_C),)
    inner_first = [stride for of_one in strides for stride in ([0] * missing + of_one)[::-1]]
    if numbers is not None:
        scalars = (strided[-1].storage_offset(), *scalars)
    launch(
        kernel, grid, *strided[: len(tensors)], *pointers, R, n0, n1, n2, *inner_first, *scalars,
        **constexprs, **vars(tile),
    )  # fmt: skip
