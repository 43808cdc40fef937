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
class LongTile:
    """BLOCK_R windows or rows of pixels, and BLOCK_K of what lies side by side in memory."""

    BLOCK_R: int
    BLOCK_K: int
    num_warps: int = 4


# The largest blocks, by device and whether channels come last; a GPU's are cut down to the image, and to this many
# elements. On a CPU a mask costs nothing: it bounds the loops.
_BLOCKS = {
    ("cpu", False): Tile(8, 16, 128),
    ("cpu", True): Tile(256, 16, 16),
    ("gpu", False): Tile(32, 32, 128),
    ("gpu", True): Tile(128, 32, 32),
}
_GPU_ELEMENTS = 512
_LONG_BLOCKS = {"cpu": (4096, 1024), "gpu": (512, 256)}
_MOST_TAPS, _MOST_PHASES = 32, 16
# Bytes count on a GPU; a CPU's vectors take as many bytes as floats at once only if they are as long.
_INDEX_DTYPES = {torch.device("cpu"): torch.int32}


@functools.cache
def pick_tile(C: int, P: int, Q: int, channels_last: bool, target: _tune.Target) -> Tile:
    """A block of C x P x Q, on a GPU filled along the dimensions that lie closest together in memory first."""
    largest = _BLOCKS[target.kind, channels_last]
    if target.kind == "cpu":
        return largest
    sizes, blocks, room = {"BLOCK_C": C, "BLOCK_P": P, "BLOCK_Q": Q}, {}, _GPU_ELEMENTS
    for name in ("BLOCK_C", "BLOCK_Q", "BLOCK_P") if channels_last else ("BLOCK_Q", "BLOCK_P", "BLOCK_C"):
        blocks[name] = min(triton.next_power_of_2(max(sizes[name], 1)), getattr(largest, name), room)
        room //= blocks[name]
    return Tile(**blocks)


@functools.cache
def pick_long_tile(adjacent: int, target: _tune.Target) -> LongTile:
    """A block as wide as what is adjacent, and as high as there is room for."""
    room, longest = _LONG_BLOCKS[target.kind]
    wide = min(triton.next_power_of_2(max(adjacent, 1)), longest)
    return LongTile(room // wide, wide)


@dataclass(frozen=True)
class Plan:
    """One launch; `short` where windows are small enough for their taps to be written out in the kernel."""

    short: bool
    grid: tuple[int]
    integers: tuple[int, ...]
    constexprs: dict[str, Any]


@functools.lru_cache(4096)
def forward_plan(over: Windows, x: Strides, y: Strides, last: bool, device: torch.device) -> Plan:
    """From x to y, of these strides; `last`: channels lie side by side."""
    over = _merged(over, x)
    N, C, h, w = over
    sizes = (C, h.inp, w.inp, h.out, w.out)
    if is_short(over, last):
        tile = pick_tile(C, h.out, w.out, last, _tune.target(device))
        constexprs = {
            "MASKED": h.leaves or w.leaves,
            "LAST": last,
            "INT64": needs_int64(over.in_shape, x) or needs_int64(over.out_shape, y),
        }
        integers = (*sizes, h.pad, w.pad, *x, *y)
        return Plan(True, _blocks(N, C, h.out, w.out, tile), integers, constexprs | _taps(over) | asdict(tile))
    rows = N * h.out * w.out * (1 if last else C)
    long = pick_long_tile(C if last else w.taps, _tune.target(device))
    grid = triton.cdiv(rows, long.BLOCK_R) * (triton.cdiv(C, long.BLOCK_K) if last else 1)
    constexprs = {"ADAPTIVE": h.adaptive, "LAST": last, "WHOLE": not last and w.taps <= long.BLOCK_K}
    return Plan(False, (grid,), (N, *sizes, *_moves(over), *x, *y), constexprs | asdict(long))


@functools.lru_cache(4096)
def backward_plan(over: Windows, dy: Strides, index: Strides, dx: Strides, last: bool, device: torch.device) -> Plan:
    """From dy (and where the largest pixels are) to dx, of these strides; `last`: channels lie side by side in dx."""
    over = _merged(over, dx)
    N, C, h, w = over
    sizes = (C, h.inp, w.inp, h.out, w.out)
    if is_short(over, last):
        cells = (triton.cdiv(h.inp, h.stride), triton.cdiv(w.inp, w.stride))
        tile = pick_tile(C, *cells, last, _tune.target(device))
        far = needs_int64(over.in_shape, dx) or any(needs_int64(over.out_shape, s) for s in (dy, index))
        constexprs = {
            "PH": h.pad,
            "PW": w.pad,
            "MASKED": any(not _tiled(axis) for axis in (h, w)),
            "LAST": last,
            "INT64": far,
        }
        integers = (*sizes, *cells, *dy, *index, *dx)
        return Plan(True, _blocks(N, C, *cells, tile), integers, constexprs | _taps(over) | asdict(tile))
    rows = N * h.inp * (w.inp if last else C)
    long = pick_long_tile(C if last else w.inp, _tune.target(device))
    grid = triton.cdiv(rows, long.BLOCK_R) * triton.cdiv(C if last else w.inp, long.BLOCK_K)
    constexprs = {
        "ADAPTIVE": h.adaptive,
        "DILATED": h.dilation > 1 or w.dilation > 1,
        "ONE": w.out == 1,
        "LAST": last,
    }
    integers = (N, *sizes, *_moves(over), _windows_over(h), _windows_over(w), *dy, *index, *dx)
    return Plan(False, (grid,), integers, constexprs | asdict(long))


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


def _merged(over: Windows, strides: Strides) -> Windows:
    """A single window over planes that are dense in memory, as one over planes of a single row."""
    h, w = over.h, over.w
    if not (h.is_whole and w.is_whole and strides[2] == w.inp * strides[3]):
        return over
    size = h.inp * w.inp
    return over._replace(h=Axis(1, 1, 1, 1, 0), w=Axis(size, 1, size, size, 0))


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


def _moves(over: Windows) -> tuple[int, ...]:
    """The integers of a kernel whose taps are counted."""
    h, w = over.h, over.w
    return (h.taps, w.taps, h.stride, w.stride, h.pad, w.pad, h.dilation, w.dilation)


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
