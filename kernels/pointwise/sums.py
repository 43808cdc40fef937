"""y = the sum of FORMULA(a, b, c, p, q) over some of the dimensions of its operands, in two deterministic stages."""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._strides import merge
from .._tile import block_offsets, fitting, needs_int64, wide_dtype
from .._tune import Target, target
from ..column_sum import sum_parts
from .each import Planned, evaluate, load_tile, run_planned


@dataclass(frozen=True)
class Tile:
    """A program sums STEPS tiles of BLOCK_R terms for BLOCK_K elements.

    AXIS: 0 where neighbouring elements of y have terms that are neighbours in memory, 1 where the terms of an element
    are neighbours.
    """

    BLOCK_K: int
    BLOCK_R: int
    STEPS: int
    AXIS: int
    num_warps: int = 4


# BLOCK_K and the elements of a tile, for each kind of device and AXIS.
_TILES = {("cpu", 0): (1024, 4096), ("cpu", 1): (4, 1024), ("gpu", 0): (128, 4096), ("gpu", 1): (8, 2048)}
_PROGRAMS, _LONGEST = 64, 64


@functools.cache
def pick_tile(K: int, places: int, R: int, times: int, axis: int, target: Target) -> Tile:
    """The tile for K elements at each of some places, of R terms many times each.

    Terms are parted until there are 64 programs, which does not depend on the number of units; a part has at most 64
    tiles, which keeps rounding errors small.
    """
    block_k, elements = _TILES[target.kind, axis]
    block_k = fitting(K, block_k, target.kind)
    block_r = fitting(R, elements // block_k, target.kind)
    steps = max(times * triton.cdiv(R, block_r), 1)
    parts = triton.cdiv(_PROGRAMS, places * triton.cdiv(K, block_k))
    return Tile(block_k, block_r, triton.next_power_of_2(min(triton.cdiv(steps, parts), _LONGEST)), axis)


@triton.jit(do_not_specialize=["N"])
def _sum_kernel(
    y_ptr, a_ptr, b_ptr, c_ptr, N, K, k1, places, R, r1, times,
    sak0, sak1, sak2, sar0, sar1, sar2, sbk0, sbk1, sbk2, sbr0, sbr1, sbr2, sck0, sck1, sck2, scr0, scr1, scr2,
    p: "fp64", q: "fp64",
    FORMULA: tl.constexpr, OPERANDS: tl.constexpr, SCALARS: tl.constexpr, INT64: tl.constexpr, PARTLY: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_R: tl.constexpr, STEPS: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    # One program: some of the K elements at one of the places k1 x k2, and a part of their terms: R, times r1 x r2.
    # y is [parts, N] with the elements of all places side by side.
    blocks_k, blocks_r = tl.cdiv(K, BLOCK_K), tl.cdiv(R, BLOCK_R)
    offs_k = block_offsets(tl.program_id(0) % blocks_k, BLOCK_K, INT64)
    place = (tl.program_id(0) // blocks_k % places).to(tl.int64)
    part = tl.program_id(0) // blocks_k // places
    i1, i2 = place % k1, place // k1
    a_ptr += i1 * sak1 + i2 * sak2
    if OPERANDS > 1:
        b_ptr += i1 * sbk1 + i2 * sbk2
    if OPERANDS > 2:
        c_ptr += i1 * sck1 + i2 * sck2

    DTYPE: tl.constexpr = tl.float64 if y_ptr.dtype.element_ty == tl.float64 else tl.float32
    # The tile lies as its elements do in memory: those of y along axis 0 or along axis 1.
    keys = tl.expand_dims(offs_k, AXIS)
    acc = tl.zeros((BLOCK_K, BLOCK_R) if AXIS else (BLOCK_R, BLOCK_K), DTYPE)
    for step in range(part * STEPS, tl.minimum(part * STEPS + STEPS, times * blocks_r)):
        terms = tl.expand_dims(block_offsets(step % blocks_r, BLOCK_R, INT64), 1 - AXIS)
        time = (step // blocks_r).to(tl.int64)
        j1, j2 = time % r1, time // r1
        a = load_tile(a_ptr + j1 * sar1 + j2 * sar2, keys, terms, K, R, sak0, sar0)
        b = load_tile(b_ptr + j1 * sbr1 + j2 * sbr2, keys, terms, K, R, sbk0, sbr0) if OPERANDS > 1 else a
        c = load_tile(c_ptr + j1 * scr1 + j2 * scr2, keys, terms, K, R, sck0, scr0) if OPERANDS > 2 else a
        value = evaluate(FORMULA, OPERANDS, SCALARS, DTYPE, a, b, c, p, q)
        if PARTLY:
            value = tl.where((keys < K) & (terms < R), value, 0.0)
        acc += value
    y = tl.sum(acc, axis=AXIS)
    y_ptr += tl.cast(part, tl.int64) * N + place * K
    tl.store(y_ptr + offs_k, y.to(y_ptr.dtype.element_ty), mask=offs_k < K)


def sum_into(formula: Any, y: Tensor, operands: Sequence[Tensor], scalars: Sequence[float] = ()) -> None:
    """y = the sum of formula(*operands, *scalars) over the dimensions along which y has size 1.

    formula: 0 for operands that are 0.
    y: contiguous, of as many dimensions as the operands, which are of one shape.
    """
    if y.numel() == 0:
        return
    strides = tuple(operand.stride() for operand in operands)
    plan = _plan(operands[0].shape, y.shape, strides, y.device)
    sums = y if plan.parts == 1 else y.new_empty((plan.parts, y.numel()), dtype=wide_dtype(y.dtype))
    key = (formula.fn, plan, sums.dtype, *[operand.dtype for operand in operands])
    run_planned(key, lambda *_: plan.launches(), formula, (sums, *operands), scalars)
    if plan.parts > 1:
        sum_parts(sums[None], y.view(1, -1))


@dataclass(frozen=True)
class _Column:
    """A dimension, or several that all strides merge."""

    size: int
    strides: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Plan:
    """How N elements are summed in a number of parts.

    keys, terms: what walks the elements, and the terms of each; the outermost first, at least three, with the strides
        of each operand.
    """

    parts: int
    N: int
    keys: list[_Column]
    terms: list[_Column]
    tile: Tile

    def launches(self) -> list[Planned]:
        *more_keys, k2, k1, k0 = self.keys
        *more_terms, r2, r1, r0 = self.terms
        K, places, R, times = k0.size, k1.size * k2.size, r0.size, r1.size * r2.size
        parts = self.parts // prod(column.size for column in more_terms)
        integers: list[int | None] = [self.N, K, k1.size, places, R, r1.size, times]
        partly = False
        for s_k0, s_k1, s_k2, s_r0, s_r1, s_r2 in zip(*(c.strides for c in (k0, k1, k2, r0, r1, r2)), strict=True):
            same_k, same_r = K > 1 and s_k0 == 0, R > 1 and s_r0 == 0
            partly |= same_k or same_r
            integers += [None if same_k else s_k0, s_k1, s_k2, None if same_r else s_r0, s_r1, s_r2]
        integers += [0] * (25 - len(integers))
        far = any(needs_int64((K, R), pair) for pair in zip(k0.strides, r0.strides, strict=True))
        constants = {"INT64": far, "PARTLY": partly, **asdict(self.tile)}
        found = []
        for part, term in enumerate(itertools.product(*(range(column.size) for column in more_terms))):
            for row, key in enumerate(itertools.product(*(range(column.size) for column in more_keys))):
                at = list(zip((*term, *key), (*more_terms, *more_keys), strict=True))
                starts = [sum(i * column.strides[number] for i, column in at) for number in range(len(k0.strides))]
                first = part * parts * self.N + row * places * K
                programs = parts * places * triton.cdiv(K, self.tile.BLOCK_K)
                found.append(Planned(_sum_kernel, (first, *starts), programs, tuple(integers), constants))
        return found


@functools.lru_cache(4096)
def _plan(shape: torch.Size, kept: torch.Size, strides: tuple[tuple[int, ...], ...], device: torch.device) -> _Plan:
    # Elements of y one after the other, their terms as they lie in memory.
    reduced = sorted((dim for dim, size in enumerate(kept) if size == 1), key=lambda dim: -max(s[dim] for s in strides))
    keys = _columns([dim for dim, size in enumerate(kept) if size > 1], shape, strides)
    terms = _columns(reduced, shape, strides)
    *_, k2, k1, k0 = keys
    *more, r2, r1, r0 = terms
    times = r1.size * r2.size
    axis = 0 if any(k == 1 < r for k, r in zip(k0.strides, r0.strides, strict=True)) else 1
    tile = pick_tile(k0.size, k1.size * k2.size, r0.size, times, axis, target(device))
    parts = max(1, triton.cdiv(times * triton.cdiv(r0.size, tile.BLOCK_R), tile.STEPS))
    return _Plan(parts * prod(column.size for column in more), kept.numel(), keys, terms, tile)


def _columns(dims: Sequence[int], shape: torch.Size, strides: Sequence[tuple[int, ...]]) -> list[_Column]:
    """These dimensions, merged where all strides allow it; at least three, the outermost first."""
    sizes, merged = merge([shape[dim] for dim in dims], *([one[dim] for dim in dims] for one in strides))
    if 0 in sizes:
        sizes, merged = [0], [[0] for _ in strides]
    missing = [_Column(1, (0,) * len(strides))] * (3 - len(sizes))
    return missing + [_Column(size, tuple(of_size)) for size, *of_size in zip(sizes, *merged, strict=True)]
