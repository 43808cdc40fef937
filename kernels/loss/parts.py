"""Which launches walk tensors of one shape and any strides."""

import functools
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from .._strides import DIMS, merge
from .._tile import fitting
from .._tune import Target

Tensors = tuple[Tensor | None, ...]
_Strides = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True)
class Tile:
    """Rows of columns; of tensors that lie alike in memory, one row of BLOCK_C elements."""

    BLOCK_R: int
    BLOCK_C: int
    num_warps: int


_ELEMENTS = {"cpu": 8192, "gpu": 512}


@functools.cache
def pick_tile(n0: int, alike: bool, target: Target) -> Tile:
    """A tile as wide as the rows where those are short; one tile where there are no rows."""
    elements = _ELEMENTS[target.kind]
    block_c = elements if alike else fitting(n0, elements, target.kind)
    return Tile(elements // block_c, block_c, 4)


class Part(NamedTuple):
    """One launch over tensors of one shape.

    alike: they lie alike and densely in memory, and so `integers` are those of the kernels without rows.
    """

    tensors: Tensors
    alike: bool
    integers: tuple[int, ...]
    tile: Tile
    programs: int


def parts_of(shape: torch.Size, tensors: Tensors, target: Target) -> list[Part]:
    """One launch, or one for each index of the outermost dimensions of a shape that does not merge into four."""
    tensors = tuple([t if t is None or t.shape == shape else t.expand(shape) for t in tensors])
    strides = tuple([None if t is None else t.stride() for t in tensors])
    plan = _plan(shape, strides, target)
    if plan is not None:
        return [Part(tensors, *plan)]
    outermost = _memory_order(shape, strides)[0]
    inner = torch.Size(shape[:outermost] + shape[outermost + 1 :])
    return [
        part
        for index in range(shape[outermost])
        for part in parts_of(inner, tuple(None if t is None else t.select(outermost, index) for t in tensors), target)
    ]


@functools.lru_cache(4096)
def _plan(shape: torch.Size, strides: _Strides, target: Target) -> tuple[bool, tuple[int, ...], Tile, int] | None:
    order = _memory_order(shape, strides)
    sizes, merged = merge(
        [shape[dim] for dim in order], *([own[dim] for dim in order] for own in strides if own is not None)
    )
    n = prod(shape)
    if n == 0 or not sizes or (len(sizes) == 1 and all(own == [1] for own in merged)):
        tile = pick_tile(n, True, target)
        return True, (n,), tile, triton.cdiv(n, tile.BLOCK_C)
    if len(sizes) > DIMS:
        return None
    missing = DIMS - len(sizes)
    n3, n2, n1, n0 = [1] * missing + sizes
    tile = pick_tile(n0, False, target)
    given = iter(merged)
    inner_first = [([0] * missing + next(given))[::-1] if own is not None else [0] * DIMS for own in strides]
    programs = triton.cdiv(n1 * n2 * n3, tile.BLOCK_R) * triton.cdiv(n0, tile.BLOCK_C)
    return False, (n1 * n2 * n3, n0, n1, n2, *(stride for own in inner_first for stride in own)), tile, programs


def _memory_order(shape: torch.Size, strides: _Strides) -> list[int]:
    """The dimensions as they lie in the memory of the last tensor that is not expanded, outermost first."""
    given = [own for own in strides if own is not None]
    whole = [own for own in given if all(step or size == 1 for step, size in zip(own, shape, strict=True))]
    chosen = (whole or given)[-1]
    return sorted(range(len(shape)), key=lambda dim: -chosen[dim])
