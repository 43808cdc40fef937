"""Which kernel a pooling takes, over which grid, with which integers: by sizes and strides, and kept by them."""

import functools
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from .. import _tune
from ..conv2d.geometry import channels_last, needs_int64
from .geometry import Axis, Sizes, Windows, pair

Strides = tuple[int, ...]


@dataclass(frozen=True)
class Tile:
    """A block of one image: of outputs forward, of cells (see gradient.py) backward."""

    BLOCK_C: int
    BLOCK_P: int
    BLOCK_Q: int
    num_warps: int = 4


@dataclass(frozen=True)
class ScatterTile:
    """BLOCK_W windows at once, of BLOCK_C channels."""

    BLOCK_W: int
    BLOCK_C: int
    num_warps: int = 4


# The largest blocks, by device and whether channels come last; a GPU's are cut down to the image, and to this many
# elements. On a CPU a mask costs nothing: it bounds the loops. But what cells read is kept there in blocks, padded.
_BLOCKS = {
    ("cpu", False): Tile(8, 16, 128),
    ("cpu", True): Tile(64, 2, 16),
    ("gpu", False): Tile(32, 32, 128),
    ("gpu", True): Tile(128, 32, 32),
}
_CELLS = _BLOCKS | {("cpu", False): Tile(1, 8, 32)}
_GPU_ELEMENTS = 512
# Of windows and channels, by whether channels come last.
_SCATTER = {
    ("cpu", False): ScatterTile(16, 1),
    ("cpu", True): ScatterTile(1, 64),
    ("gpu", False): ScatterTile(256, 1),
    ("gpu", True): ScatterTile(8, 32),
}
_MOST_TAPS, _MOST_PHASES = 32, 16
# Bytes count on a GPU; a CPU's vectors take as many bytes as floats at once only if they are as long.
_INDEX_DTYPES = {torch.device("cpu"): torch.int32}


@functools.cache
def pick_tile(C: int, P: int, Q: int, channels_last: bool, target: _tune.Target, cells: bool = False) -> Tile:
    """A block of C x P x Q, on a GPU filled along the dimensions that lie closest together in memory first."""
    largest = (_CELLS if cells else _BLOCKS)[target.kind, channels_last]
    if target.kind == "cpu":
        return largest
    sizes, blocks, room = {"BLOCK_C": C, "BLOCK_P": P, "BLOCK_Q": Q}, {}, _GPU_ELEMENTS
    for name in ("BLOCK_C", "BLOCK_Q", "BLOCK_P") if channels_last else ("BLOCK_Q", "BLOCK_P", "BLOCK_C"):
        blocks[name] = min(triton.next_power_of_2(max(sizes[name], 1)), getattr(largest, name), room)
        room //= blocks[name]
    return Tile(**blocks)


@dataclass(frozen=True)
class Plan:
    """One launch."""

    grid: tuple[int]
    integers: tuple[int, ...]
    constexprs: dict[str, Any]


@functools.lru_cache(4096)
def forward_plan(over: Windows, x: Strides, y: Strides, last: bool, device: torch.device) -> Plan:
    """Of short windows, from x to y of these strides; `last`: channels lie side by side."""
    N, C, h, w = over
    tile = pick_tile(C, h.out, w.out, last, _tune.target(device))
    constexprs = {
        "MASKED": h.leaves or w.leaves,
        "LAST": last,
        "INT64": needs_int64(over.in_shape, x) or needs_int64(over.out_shape, y),
    }
    integers = (C, h.inp, w.inp, h.out, w.out, h.pad, w.pad, *x, *y)
    return Plan(_blocks(N, C, h.out, w.out, tile), integers, constexprs | _taps(over) | asdict(tile))


@functools.lru_cache(4096)
def backward_plan(over: Windows, dy: Strides, index: Strides, dx: Strides, last: bool, device: torch.device) -> Plan:
    """Of short windows, from dy (and where the largest pixels are) to dx; `last`: channels lie side by side in dx."""
    N, C, h, w = over
    cells = (triton.cdiv(h.inp, h.stride), triton.cdiv(w.inp, w.stride))
    tile = pick_tile(C, *cells, last, _tune.target(device), cells=True)
    far = needs_int64(over.in_shape, dx) or any(needs_int64(over.out_shape, s) for s in (dy, index))
    constexprs = {
        "PH": h.pad,
        "PW": w.pad,
        "MASKED": any(not _tiled(axis) for axis in (h, w)),
        "LAST": last,
        "INT64": far,
    }
    integers = (C, h.inp, w.inp, h.out, w.out, *cells, *dy, *index, *dx)
    return Plan(_blocks(N, C, *cells, tile), integers, constexprs | _taps(over) | asdict(tile))


@functools.lru_cache(4096)
def scatter_plan(over: Windows, dy: Strides, index: Strides, dx: Strides, last: bool, device: torch.device) -> Plan:
    """From dy, and where the largest pixels are, to a dense dx; `last`: channels lie side by side in dx."""
    N, C, h, w = over
    tile = _SCATTER[_tune.target(device).kind, last]
    moves = (w.taps, h.stride, w.stride, h.pad, w.pad, h.dilation, w.dilation, _windows_over(h), _windows_over(w))
    integers = (C, h.inp, w.inp, h.out, w.out, *moves, *dy, *index, dx[0], dx[1], dx[3])
    return Plan((N * triton.cdiv(C, tile.BLOCK_C),), integers, asdict(tile))


def pick_launch(over: Windows, last: bool, target: _tune.Target) -> tuple[Tile, tuple[int]]:
    """The tile and the grid of a launch over blocks of outputs."""
    tile = pick_tile(over.C, over.h.out, over.w.out, last, target)
    return tile, _blocks(over.N, over.C, over.h.out, over.w.out, tile)


def is_short(over: Windows, last: bool) -> bool:
    """Whether taps are few enough to be written out; a window for a whole plane is better read along its rows."""
    h, w = over.h, over.w
    if h.adaptive or (h.out == w.out == 1 and not last):
        return False
    return h.taps * w.taps <= _MOST_TAPS and h.stride * w.stride <= _MOST_PHASES


def _tiled(axis: Axis) -> bool:
    """Whether each pixel of each cell of `stride` pixels is in one window, the cell's own, or in none."""
    return axis.pad == 0 and axis.dilation * (axis.taps - 1) < axis.stride and axis.inp <= axis.out * axis.stride


def _windows_over(axis: Axis) -> int:
    """The most windows that a pixel can be in."""
    if axis.adaptive:
        return -(-axis.out // axis.inp) + 1 if axis.out else 0
    return min(axis.out, (axis.taps - 1) * axis.dilation // axis.stride + 1)


def _blocks(N: int, C: int, P: int, Q: int, tile: Tile) -> tuple[int]:
    return (N * triton.cdiv(C, tile.BLOCK_C) * triton.cdiv(P, tile.BLOCK_P) * triton.cdiv(Q, tile.BLOCK_Q),)


def _taps(over: Windows) -> dict[str, int]:
    """The constexprs of a kernel whose taps are written out."""
    h, w = over.h, over.w
    return {"R": h.taps, "S": w.taps, "SH": h.stride, "SW": w.stride, "DH": h.dilation, "DW": w.dilation}


def index_dtype(kernel_size: Sizes, device: torch.device) -> torch.dtype:
    """In what a device says best which tap of a window is the largest."""
    taps = math.prod(pair("max_pool2d", "kernel_size", kernel_size, 1))
    return _INDEX_DTYPES.get(device, torch.int8) if taps <= 127 else torch.int32


def images(x: Tensor) -> Tensor:
    """x as [N, C, H, W], of one image where it has no batch dimension."""
    return x if x.ndim == 4 else x.unsqueeze(0)


def is_channels_last(x: Tensor) -> bool:
    """Whether torch pools x to a channels_last tensor."""
    return x.ndim == 4 and channels_last(x.shape, x.stride())


def new_images(shape: tuple[int, ...], like: Tensor, dtype: torch.dtype, last: bool) -> Tensor:
    """A dense tensor on the device of `like`, channels_last or contiguous."""
    memory_format = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=dtype, device=like.device, memory_format=memory_format)
