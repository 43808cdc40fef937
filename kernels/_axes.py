"""Kernels that walk a tensor along five axes: tiles over the inner three, one index of the other two a program.

    kernel(*pointers, n0, n1, n2, n3, ...)
n0 is the size of the innermost axis; what follows the sizes is given axis by axis too, the innermost one first.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._tune import Target

AXES = 5

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""What elements are moved as, by their bytes."""


class Axis(NamedTuple):
    """Its size, the stride of each tensor, and the dimension that it is; -1 for one that may be several merged."""

    size: int
    strides: tuple[int, ...]
    dim: int = -1


@dataclass(frozen=True)
class Tile:
    B0: int
    B1: int
    B2: int
    num_warps: int


_POWERS = ((1, 2, 4, 8, 16, 32, 64, 128, 256),) * 3
_BLOCKS = {"cpu": ((256,), (64,), (8,)), "gpu": _POWERS}
_KEPT = {"cpu": ((8, 32, 128), (8,), (1,)), "gpu": _POWERS}
_LANES = 512
"""What the axes may be cut into, and how many lanes a tile that is chosen by sizes has at most.

A CPU walks no lanes beyond the edges, so that one tile serves all sizes; but a sum that a loop carries is kept in
memory, with all of its lanes.
"""


@functools.cache
def pick_tile(n0: int, n1: int, n2: int, target: Target, kept: bool = False) -> Tile:
    """Whole inner axes where they are short, and as much of the outer ones as a program takes.

    kept: a loop carries the tile.
    """
    lanes = _LANES

    def block(n: int, choice: tuple[int, ...]) -> int:
        nonlocal lanes
        fitting = [size for size in choice if size <= lanes] or [choice[0]]
        found = next((size for size in fitting if size >= n), fitting[-1])
        lanes = max(lanes // found, 1)
        return found

    first, second, third = (_KEPT if kept else _BLOCKS)[target.kind]
    return Tile(block(n0, first), block(n1, second), block(n2, third), 4)


def axes(shape: Sequence[int], order: Sequence[int], apart: Sequence[bool], *strides: Sequence[int]) -> list[Axis]:
    """The fewest axes, innermost first, that walk the dimensions of `order`, of which the outermost comes first.

    Dimensions to be kept `apart` stay axes of their own; others merge where the strides of all tensors allow it.
    """
    found: list[Axis] = []
    for dim in reversed(order):
        size, steps = shape[dim], tuple(of_one[dim] for of_one in strides)
        inner = found[-1] if found else None
        if apart[dim]:
            found.append(Axis(size, steps, dim))
        elif size != 1:
            if inner and inner.dim == -1 and steps == tuple(inner.size * step for step in inner.strides):
                found[-1] = Axis(inner.size * size, inner.strides)
            else:
                found.append(Axis(size, steps))
    return found


def split(found: Sequence[Axis], count: int, tensors: int) -> Iterator[tuple[list[Axis], tuple[int, ...]]]:
    """Walks of exactly `count` axes, each with the offsets at which it begins in the tensors.

    Missing axes have one element; for more than `count` there is a walk for each index of the outermost ones.
    """
    inner = [*found[:count], *[Axis(1, (0,) * tensors)] * (count - len(found))]
    outer = found[count:]
    for index in itertools.product(*(range(axis.size) for axis in outer)):
        offsets = [sum(i * axis.strides[k] for i, axis in zip(index, outer, strict=True)) for k in range(tensors)]
        yield inner, tuple(offsets)


def memory_order(shape: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Dimensions from the largest stride to the smallest."""
    return sorted(range(len(shape)), key=lambda dim: -strides[dim])


def programs(sizes: Sequence[int], tile: Tile) -> tuple[int]:
    """The grid over five axes of these sizes."""
    inner = zip(sizes, (tile.B0, tile.B1, tile.B2), strict=False)
    return (math.prod(triton.cdiv(n, block) for n, block in inner) * sizes[3] * sizes[4],)


def at(x: Tensor, offset: int) -> Tensor:
    """`x`, or where there is an offset a view that begins so many elements later."""
    return x.as_strided((), (), x.storage_offset() + offset) if offset else x


def empty_resized(x: Tensor, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
    """An empty tensor of another shape, channels_last where torch takes `x` for it, else contiguous."""
    layout = torch.contiguous_format
    for rank, last in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if x.dim() == rank and x.is_contiguous(memory_format=last) and not x.is_contiguous():
            layout = last
    return torch.empty(tuple(shape), dtype=dtype or x.dtype, device=x.device, memory_format=layout)


@triton.jit
def tile_indices(n0, n1, n2, n3, B0: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr):
    """The indices of a program's tile [B2, B1, B0] along the five axes, and its mask."""
    pid = tl.program_id(0)
    blocks0, blocks1, blocks2 = tl.cdiv(n0, B0), tl.cdiv(n1, B1), tl.cdiv(n2, B2)
    i0 = (pid % blocks0).to(tl.int64) * B0 + tl.arange(0, B0)[None, None, :]
    pid = pid // blocks0
    i1 = (pid % blocks1).to(tl.int64) * B1 + tl.arange(0, B1)[None, :, None]
    pid = pid // blocks1
    i2 = (pid % blocks2).to(tl.int64) * B2 + tl.arange(0, B2)[:, None, None]
    pid = pid // blocks2
    return i0, i1, i2, (pid % n3).to(tl.int64), (pid // n3).to(tl.int64), (i0 < n0) & (i1 < n1) & (i2 < n2)
