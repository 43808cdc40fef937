"""Long windows: pooled along one axis, then along the other, in taps + taps steps instead of taps times taps."""

import functools
import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import triton

from .. import _tune
from .._strides import merge
from ..conv2d.geometry import format_strides
from .geometry import Axis, Windows

Strides = tuple[int, ...]


@dataclass(frozen=True)
class LineTile:
    """BLOCK_R rows, and BLOCK_K of what lies side by side: columns, or pixels of the axis."""

    BLOCK_R: int
    BLOCK_K: int
    num_warps: int = 4


# How long blocks can be, and their elements. There are few lengths on a CPU, as each is a kernel to build.
_LENGTHS = {"cpu": (1, 16, 64, 256, 1024), "gpu": (1, 2, 4, 8, 16, 32, 64, 128, 256)}
_ROOM = {"cpu": 1024, "gpu": 512}
# From how many taps on they are read side by side, where the axis is what lies closest together.
_LONG = 32


@functools.cache
def pick_line_tile(rows: int, side_by_side: int, target: _tune.Target) -> LineTile:
    """A block as wide as there are columns, and as high as there are rows and room."""

    def fit(size: int) -> int:
        return max(length for length in _LENGTHS[target.kind] if length <= max(size, 1))

    wide = fit(side_by_side)
    return LineTile(fit(min(rows, _ROOM[target.kind] // wide)), wide)


class Line(NamedTuple):
    """A launch along one axis, and what images it writes: the results, or others for the next launch."""

    is_last: bool
    shape: tuple[int, int, int, int]
    grid: tuple[int]
    integers: tuple[int, ...]
    constexprs: dict[str, Any]


@functools.lru_cache(4096)
def forward_lines(over: Windows, x: Strides, y: Strides, last: bool, device: torch.device) -> tuple[Line, ...]:
    """From x to y, of these strides: along h to [N, C, P, W], then along w; `last`: channels lie side by side."""
    N, C, h, w = over
    target = _tune.target(device)
    if _is_one_dense_line(over, x):
        return (_line(_plane(over), 3, (N, C, 1, 1), x, y, last, target),)
    between = (N, C, h.out, w.inp)
    strides = format_strides(between, last)
    return (
        _line(h, 2, between, x, strides, last, target)._replace(is_last=False),
        _line(w, 3, over.out_shape, strides, y, last, target),
    )


@functools.lru_cache(4096)
def backward_lines(over: Windows, dy: Strides, dx: Strides, last: bool, device: torch.device) -> tuple[Line, ...]:
    """From dy to dx, of these strides: along w to [N, C, P, W], then along h; `last`: channels lie side by side."""
    N, C, h, w = over
    target = _tune.target(device)
    if _is_one_dense_line(over, dx):
        return (_line(_plane(over), 3, (N, C, 1, h.inp * w.inp), dy, dx, last, target, backward=True),)
    between = (N, C, h.out, w.inp)
    strides = format_strides(between, last)
    return (
        _line(w, 3, between, dy, strides, last, target, backward=True)._replace(is_last=False),
        _line(h, 2, over.in_shape, strides, dx, last, target, backward=True),
    )


def _is_one_dense_line(over: Windows, strides: Strides) -> bool:
    """Whether there is a single window, over planes that are dense in memory: a plane is then one row of pixels."""
    h, w = over.h, over.w
    return h.is_whole and w.is_whole and strides[2] == w.inp * strides[3]


def _plane(over: Windows) -> Axis:
    pixels = over.h.inp * over.w.inp
    return Axis(pixels, 1, pixels, pixels, 0)


def _line(
    axis: Axis,
    at: int,
    shape: tuple[int, int, int, int],
    inp: Strides,
    out: Strides,
    last: bool,
    target: _tune.Target,
    backward: bool = False,
) -> Line:
    """From images of strides `inp` to ones of `shape` and strides `out`, which differ in dimension `at`, the `axis`.

    What lies closer together than the axis becomes columns, all other dimensions rows.
    """
    order = (0, 2, 3, 1) if last else (0, 1, 2, 3)
    place = order.index(at)
    (outer, outer_strides), (inner, inner_strides) = (
        merge([shape[dim] for dim in dims], *([each[dim] for dim in dims] for each in (inp, out)))
        for dims in (order[:place], order[place + 1 :])
    )
    rows, K = [*outer, *inner[:-1]], inner[-1] if inner else 1
    along = not inner and (backward or axis.taps >= _LONG)
    beside = (axis.inp if backward else 64) if along else K
    tile = pick_line_tile(math.prod(rows), beside, target)
    places = axis.inp if backward else axis.out
    if backward and along:
        places = triton.cdiv(axis.inp, tile.BLOCK_K)
    constexprs = {"ADAPTIVE": axis.adaptive, "ALONG": along} | asdict(tile)
    strides = [
        [*first, *second[:-1], *[0] * (3 - len(rows)), each[at], second[-1] if inner else 0]
        for first, second, each in zip(outer_strides, inner_strides, (inp, out), strict=True)
    ]
    sizes = (math.prod(rows), *(*rows, 1, 1, 1)[1:3], K, places)
    moves = (axis.inp, axis.out, axis.taps, axis.stride, axis.pad, axis.dilation)
    grid = places * triton.cdiv(sizes[0], tile.BLOCK_R) * (1 if along else triton.cdiv(K, tile.BLOCK_K))
    return Line(True, shape, (grid,), (*sizes, *moves, *strides[0], *strides[1]), constexprs)
