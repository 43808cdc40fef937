"""dropout: elements kept or zeroed by a counter-based random generator, so that no mask is stored.

Element `e` of a tensor, counted in logical (row-major) order, has a 32-bit word of Philox 4x32-10 of its own. Groups
of 1024 elements share 256 calls: word `w` of call `256 g + k` belongs to element `1024 g + 256 w + k`. The key is the
seed, the counter (call, slot, 0); no tile, layout or device changes the mask. Where whole channels are dropped, a
tensor [N, C] has such words, and each of them decides for the channel of one sample.

Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (2011).
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._axes import AXES, at, axes, memory_order, programs, split, tile_indices
from ._axes import pick_tile as pick_axes_tile
from ._errors import DtypeError, ShapeError, dtype_name
from ._launch import launch
from ._op import FLOATS, op
from ._strides import check_distinct, launch_rows, row_offsets, rows_and_cols
from ._tune import Target, target

_CALLS = tl.constexpr(256)


@dataclass(frozen=True)
class Tile:
    GROUPS: int
    num_warps: int


_TILES = {"cpu": Tile(4, 4), "gpu": Tile(1, 2)}


@functools.cache
def pick_tile(target: Target) -> Tile:
    """Groups of 1024 elements that a program takes; two warps of a GPU load 16 bytes a thread of float32."""
    return _TILES[target.kind]


@triton.jit
def _words(seed_ptr, slot, calls):
    """Four words of 32 random bits for each call."""
    low, high = calls.to(tl.uint32), (calls >> 32).to(tl.uint32)
    return tl.philox(tl.load(seed_ptr), low, high, low * 0 + slot, low * 0)


@triton.jit
def _kept(word, p):
    # 24 bits of the word are compared as integers: exact, with nothing kept for p = 1 and all for p = 0.
    return (word >> 8).to(tl.int32) >= tl.ceil(tl.cast(p * 16777216.0, tl.float64)).to(tl.int32)


@triton.jit
def _scaled(x, keep, scale):
    compute = tl.float64 if x.dtype == tl.float64 else tl.float32
    return tl.where(keep, x.to(compute) * tl.cast(scale, compute), 0.0).to(x.dtype)


@triton.jit
def _dropout_kernel(x_ptr, y_ptr, seed_ptr, slot, n, p: "fp64", scale: "fp64", GROUPS: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * GROUPS
    for group in range(GROUPS):
        k = tl.arange(0, _CALLS)
        w0, w1, w2, w3 = _words(seed_ptr, slot, (first + group) * _CALLS + k)
        start = (first + group) * (4 * _CALLS)
        for word in tl.static_range(4):
            offs = start + word * _CALLS + k
            x = tl.load(x_ptr + offs, mask=offs < n, other=0.0)
            bits = w0 if word == 0 else (w1 if word == 1 else (w2 if word == 2 else w3))
            tl.store(y_ptr + offs, _scaled(x, _kept(bits, p), scale), mask=offs < n)


@triton.jit
def _dropout_rows_kernel(
    x_ptr, y_ptr, seed_ptr, R, n0, n1, n2,
    sx0, sx1, sx2, sx3, sy0, sy1, sy2, sy3, se0, se1, se2, se3, first,
    slot, p: "fp64", scale: "fp64", BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    rows, cols, mask = rows_and_cols(R, n0, BLOCK_R, BLOCK_C)
    e = first + row_offsets(rows, n1, n2, se1, se2, se3) + cols * se0
    w0, w1, w2, w3 = _words(seed_ptr, slot, e // (4 * _CALLS) * _CALLS + e % _CALLS)
    word = e // _CALLS % 4
    bits = tl.where(word == 0, w0, tl.where(word == 1, w1, tl.where(word == 2, w2, w3)))
    x = tl.load(x_ptr + row_offsets(rows, n1, n2, sx1, sx2, sx3) + cols * sx0, mask=mask, other=0.0)
    y_ptrs = y_ptr + row_offsets(rows, n1, n2, sy1, sy2, sy3) + cols * sy0
    tl.store(y_ptrs, _scaled(x, _kept(bits, p), scale), mask=mask)


@triton.jit
def _keep_kernel(keep_ptr, seed_ptr, slot, n, p: "fp64"):
    group = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, _CALLS)
    w0, w1, w2, w3 = _words(seed_ptr, slot, group * _CALLS + k)
    for word in tl.static_range(4):
        offs = group * (4 * _CALLS) + word * _CALLS + k
        bits = w0 if word == 0 else (w1 if word == 1 else (w2 if word == 2 else w3))
        tl.store(keep_ptr + offs, _kept(bits, p).to(tl.uint8), mask=offs < n)


@triton.jit
def _channel_dropout_kernel(
    x_ptr, keep_ptr, y_ptr, n0, n1, n2, n3, sx0, sx1, sx2, sx3, sx4, sk0, sk1, sk2, sk3, sk4, sy0, sy1, sy2, sy3, sy4,
    scale: "fp64", CHANNELS_INSIDE: tl.constexpr, INPLACE: tl.constexpr,
    B0: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr,
):  # fmt: skip
    i0, i1, i2, i3, i4, mask = tile_indices(n0, n1, n2, n3, B0, B1, B2)
    keep_ptrs = keep_ptr + i1 * sk1 + i2 * sk2 + i3 * sk3 + i4 * sk4
    if CHANNELS_INSIDE:
        keep = tl.load(keep_ptrs + i0 * sk0, mask=mask, other=0)
    else:
        keep = tl.load(keep_ptrs, mask=(i1 < n1) & (i2 < n2), other=0)
    x_ptrs = x_ptr + i1 * sx1 + i2 * sx2 + i3 * sx3 + i4 * sx4 + i0 * sx0
    y_ptrs = x_ptrs if INPLACE else y_ptr + i1 * sy1 + i2 * sy2 + i3 * sy3 + i4 * sy4 + i0 * sy0
    tl.store(y_ptrs, _scaled(tl.load(x_ptrs, mask=mask, other=0.0), keep != 0, scale), mask=mask)


def dropout_reference(x: Tensor, p: float, seed: Tensor, slot: int = 0) -> Tensor:
    _check("dropout", x, p, seed, slot)
    return torch.where(_keep_reference(_elements(x.shape, x.device), p, seed, slot), x * _scale(p), torch.zeros_like(x))


def _elements(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """The number of each element, in logical order."""
    return torch.arange(math.prod(shape), device=device).reshape(shape)


def _keep_reference(e: Tensor, p: float, seed: Tensor, slot: int) -> Tensor:
    """Whether the elements of these numbers are kept."""
    calls = e // 1024 * 256 + e % 256
    low32 = 0xFFFFFFFF
    c0, c1, c2, c3 = calls & low32, calls >> 32, torch.full_like(e, slot), torch.zeros_like(e)
    k0, k1 = seed & low32, seed >> 32 & low32
    for _ in range(10):
        a, b = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = b >> 32 & low32 ^ c1 ^ k0, b & low32, a >> 32 & low32 ^ c3 ^ k1, a & low32
        k0, k1 = k0 + 0x9E3779B9 & low32, k1 + 0xBB67AE85 & low32
    words = torch.stack((c0, c1, c2, c3)).gather(0, (e // 256 % 4)[None])[0]
    return words >> 8 >= p * 2**24


def dropout_inplace_reference(x: Tensor, p: float, seed: Tensor, slot: int = 0) -> Tensor:
    return x.copy_(dropout_reference(x, p, seed, slot))


def channel_dropout_reference(x: Tensor, p: float, seed: Tensor, slot: int = 0) -> Tensor:
    _check_channels(x, p, seed, slot)
    numbers = _elements((*x.shape[:2], *[1] * (x.dim() - 2)), x.device)
    return torch.where(_keep_reference(numbers, p, seed, slot), x * _scale(p), torch.zeros_like(x))


def channel_dropout_inplace_reference(x: Tensor, p: float, seed: Tensor, slot: int = 0) -> Tensor:
    return x.copy_(channel_dropout_reference(x, p, seed, slot))


@op(reference=dropout_reference, flops=lambda x, p, seed, slot=0: x.numel())
def dropout(x: Tensor, p: float, seed: Tensor, slot: int = 0) -> Tensor:
    """y = x / (1 - p) with probability 1 - p, else 0; the same call on a gradient is the backward pass.

    Args:
        x: any shape and strides.
        p: probability of zero, in [0, 1], taken to a multiple of 2^-24.
        seed: one int64, on the device of `x`.
        slot: the operation's number, in [0, 2^31): operations that share a seed take different ones.

    Returns: a fresh tensor, laid out in memory as `torch.empty_like(x)`; a dropped element is 0, be it inf or NaN.

    Raises: ShapeError for p or a slot out of range or a seed of more than one element, DtypeError for an x that is
        not floating-point or a seed that is not int64.
    """
    y = torch.empty_like(x)
    _dropout_into(x, y, p, seed, slot)
    return y


@op(reference=dropout_inplace_reference, inplace=("x",), flops=lambda x, p, seed, slot=0: x.numel())
def dropout_(x: Tensor, p: float, seed: Tensor, slot: int = 0) -> Tensor:
    """`dropout` in place; returns `x`.

    Raises: as `dropout`, and ShapeError where several elements of `x` share memory (an expanded tensor).
    """
    check_distinct("dropout_", x)
    _dropout_into(x, x, p, seed, slot)
    return x


@op(reference=channel_dropout_reference, flops=lambda x, p, seed, slot=0: x.numel())
def channel_dropout(x: Tensor, p: float, seed: Tensor, slot: int = 0) -> Tensor:
    """y[n, c] = x[n, c] / (1 - p) with probability 1 - p, else 0, one draw for all of it; also the backward pass.

    Args:
        x: [N, C, ...], any strides.
        p, seed, slot: as `dropout`. A channel is dropped where `dropout` drops its element of a tensor [N, C].

    Returns: a fresh tensor, laid out in memory as `torch.empty_like(x)`; what is dropped is 0, be it inf or NaN.

    Raises: as `dropout`, and ShapeError for fewer than two dimensions.
    """
    y = torch.empty_like(x)
    _channel_dropout_into(x, y, p, seed, slot)
    return y


@op(reference=channel_dropout_inplace_reference, inplace=("x",), flops=lambda x, p, seed, slot=0: x.numel())
def channel_dropout_(x: Tensor, p: float, seed: Tensor, slot: int = 0) -> Tensor:
    """`channel_dropout` in place; returns `x`.

    Raises: as `channel_dropout`, and ShapeError where several elements of `x` share memory (an expanded tensor).
    """
    check_distinct("channel_dropout_", x)
    _channel_dropout_into(x, x, p, seed, slot)
    return x


def _check(name: str, x: Tensor, p: float, seed: Tensor, slot: int) -> None:
    if x.dtype not in FLOATS:
        raise DtypeError(f"{name}: x is {dtype_name(x.dtype)}; it takes {', '.join(map(dtype_name, FLOATS))}")
    if not 0.0 <= p <= 1.0:
        raise ShapeError(f"{name}: p is {p}; a probability lies in [0, 1]")
    if seed.dtype != torch.int64:
        raise DtypeError(f"{name}: seed is {dtype_name(seed.dtype)}; it must be int64")
    if seed.numel() != 1:
        raise ShapeError(f"{name}: seed is {tuple(seed.shape)}; it holds one element")
    if not 0 <= slot < 2**31:
        raise ShapeError(f"{name}: slot is {slot}; it lies in [0, 2^31)")


def _dropout_into(x: Tensor, y: Tensor, p: float, seed: Tensor, slot: int) -> None:
    _check("dropout", x, p, seed, slot)
    p = float(p)
    if x.is_contiguous() and y.is_contiguous():
        tile = pick_tile(target(x.device))
        grid = (triton.cdiv(x.numel(), 4 * _CALLS.value * tile.GROUPS),)
        launch(_dropout_kernel, grid, x, y, seed, slot, x.numel(), p, _scale(p), **vars(tile))
    else:
        numbers = torch.empty(x.shape, device="meta")
        launch_rows(_dropout_rows_kernel, (x, y), (seed,), (slot, p, _scale(p)), numbers)


def _check_channels(x: Tensor, p: float, seed: Tensor, slot: int) -> None:
    _check("channel_dropout", x, p, seed, slot)
    if x.dim() < 2:
        raise ShapeError(f"channel_dropout: x is {tuple(x.shape)}; it takes [N, C, ...]")


def _channel_dropout_into(x: Tensor, y: Tensor, p: float, seed: Tensor, slot: int) -> None:
    _check_channels(x, p, seed, slot)
    keep = torch.empty(x.shape[:2], dtype=torch.uint8, device=x.device)
    launch(_keep_kernel, (triton.cdiv(keep.numel(), 4 * _CALLS.value),), keep, seed, slot, keep.numel(), float(p))
    for grid, offsets, numbers, constexprs in _channel_walks(tuple(x.shape), x.stride(), y.stride(), target(x.device)):
        tensors = map(at, (x, keep, y), offsets)
        launch(_channel_dropout_kernel, grid, *tensors, *numbers, _scale(p), INPLACE=y is x, **constexprs)


@functools.lru_cache(4096)
def _channel_walks(
    shape: tuple[int, ...], sx: tuple[int, ...], sy: tuple[int, ...], target: Target
) -> list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], dict[str, Any]]]:
    """Grid, offsets into the tensors, numbers and constexprs of each launch."""
    found: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], dict[str, Any]]] = []
    sk = (shape[1], 1, *[0] * (len(shape) - 2))
    for walk, offsets in split(axes(shape, memory_order(shape, sy), [False] * len(shape), sx, sk, sy), AXES, 3):
        n = [axis.size for axis in walk]
        tile = pick_axes_tile(n[0], n[1], n[2], target)
        steps = [axis.strides[k] for k in range(3) for axis in walk]
        constexprs = {"CHANNELS_INSIDE": walk[0].strides[1] != 0, **vars(tile)}
        found.append((programs(n, tile), offsets, (*n[:4], *steps), constexprs))
    return found


def _scale(p: float) -> float:
    return 1.0 / (1.0 - p) if p < 1.0 else 0.0
