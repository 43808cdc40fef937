"""What a padded dimension shows where, and launches over boxes of tensors."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from .._axes import AXES, Axis, at, axes, pick_tile, programs, split
from .._errors import ShapeError
from .._launch import launch
from .._tune import Target

VARYING = (
    *("n0", "n1", "n2", "n3", "low", "inside", "once", "start", "size", "left", "out", "times"),
    *(f"{name}{axis}" for name in ("size", "left") for axis in range(AXES)),
)
"""What no machine code is worth being made anew for."""

MODES = ("constant", "reflect", "replicate", "circular")


class Dim(NamedTuple):
    """One dimension: `size` of the `full` elements of x from `start` on, shown at `left` and beyond in `out` of y."""

    full: int
    start: int
    size: int
    left: int
    out: int

    @property
    def padded(self) -> bool:
        return self[1:] != (0, self.full, 0, self.full)

    @property
    def inside(self) -> tuple[int, int]:
        """The elements of y that show those of x in their place."""
        first = max(self.left, 0)
        return first, max(first, min(self.left + self.size, self.out))

    def once(self, mode: str) -> tuple[int, int]:
        """The elements of x that are shown once; those before and after may be shown never or several times."""
        right = self.out - self.size - self.left
        if mode == "reflect":
            low, high = (self.left + 1 if self.left > 0 else 0), self.size - (right + 1 if right > 0 else 0)
        elif mode == "replicate":
            low, high = int(self.left > 0), self.size - int(right > 0)
        else:
            low, high = max(right, 0), self.size - max(self.left, 0)
        low, high = self.start + max(low, -self.left), self.start + min(high, self.out - self.left)
        return (low, high) if low < high else (self.full, self.full)

    def times(self, mode: str) -> int:
        """How many elements of y may show one of x."""
        if mode != "replicate":
            return 3
        return self.out if self.size == 1 else max(self.left + 1, self.out - max(self.size - 1 + self.left, 0), 1)


@functools.lru_cache(4096)
def geometry(name: str, shape: tuple[int, ...], pads: tuple[int, ...], mode: str) -> tuple[Dim, ...]:
    """The geometry of each dimension; raises what `pad` does."""
    if mode not in MODES:
        raise NotImplementedError(f"{name}: mode is {mode!r}; it is one of {', '.join(map(repr, MODES))}")
    rank, count = len(shape), len(pads) // 2
    if len(pads) % 2 or count > rank:
        raise ShapeError(f"{name}: {len(pads)} pads for x {shape}; there are two for each of the last dimensions")
    if mode != "constant" and not (1 <= count <= 3 and count < rank <= count + 2):
        raise ShapeError(
            f"{name}: {len(pads)} pads for x {shape}; mode {mode!r} pads 1 to 3 dimensions behind [N, C] or [C]"
        )
    if mode in ("reflect", "replicate") and 0 in shape[rank - count - 1 :]:
        raise ShapeError(f"{name}: x is {shape}; in mode {mode!r} only the batch may be empty")
    dims = [Dim(size, 0, size, 0, size) for size in shape]
    for k in range(count):
        d = rank - 1 - k
        left, right = pads[2 * k : 2 * k + 2]
        dims[d] = _dim(f"{name}: pads ({left}, {right}) of dimension {d} of x {shape}", shape[d], left, right, mode)
    if mode in ("reflect", "replicate") and not any(dim.out for dim in dims[rank - count :]):
        raise ShapeError(f"{name}: pads {pads} leave nothing of x {shape}")
    return tuple(dims)


def _dim(what: str, size: int, left: int, right: int, mode: str) -> Dim:
    out, kept = size + left + right, size + min(left, 0) + min(right, 0)
    if out < 0 or (kept < 0 and mode in ("constant", "circular")):
        raise ShapeError(f"{what} leave nothing")
    if mode == "reflect" and max(left, right) >= size:
        raise ShapeError(f"{what}; to reflect, they must be smaller than the dimension")
    if mode != "circular":
        return Dim(size, 0, size, left, out)
    if max(left, right) > kept:
        raise ShapeError(f"{what} wrap around more than once")
    return Dim(size, max(-left, 0), kept, max(left, 0), out)


class Walk(NamedTuple):
    """What a launch takes beside its tensors, and where it begins in them."""

    grid: tuple[int, ...]
    offsets: tuple[int, ...]
    numbers: tuple[int, ...]
    constexprs: dict[str, Any]


def run(kernel: Any, walks: Sequence[Walk], *tensors: Tensor, rest: tuple[Any, ...] = (), **constexprs: Any) -> None:
    for walk in walks:
        placed = map(at, tensors, walk.offsets)
        launch(kernel, walk.grid, *placed, *walk.numbers, *rest, **constexprs, **walk.constexprs)


def walks(
    sizes: Sequence[int],
    order: Sequence[int],
    strides: tuple[Sequence[int], ...],
    places: tuple[int, ...],
    target: Target,
    border: int = -1,
    numbers: tuple[int, ...] = (),
    mapped: tuple[Dim, ...] = (),
    kept: bool = False,
) -> Iterator[Walk]:
    """Launches over a box that begins at these places of the tensors.

    The dimension that is the border comes last, so that one program has one index of it; dimensions that are mapped
    stay apart, and their sizes and pads follow the strides.
    """
    if 0 in sizes:
        return
    apart = [bool(mapped) and mapped[d].padded for d in range(len(sizes))]
    found = axes(sizes, [d for d in order if d != border], apart, *strides)
    last = [] if border < 0 else [Axis(sizes[border], tuple(steps[border] for steps in strides), border)]
    for walk, offsets in split(found, AXES - len(last), len(strides)):
        walk = [*walk, *last]
        n = [axis.size for axis in walk]
        tile = pick_tile(n[0], n[1], n[2], target, kept)
        steps = [axis.strides[k] for k in range(len(strides)) for axis in walk]
        own, constexprs = [], vars(tile)
        if mapped:
            own += [axis.size if axis.dim < 0 else mapped[axis.dim].size for axis in walk]
            own += [0 if axis.dim < 0 else mapped[axis.dim].left for axis in walk]
            constexprs = {"PADDED0": walk[0].dim >= 0, **constexprs}
        begin = tuple(place + offset for place, offset in zip(places, offsets, strict=True))
        yield Walk(programs(n, tile), begin, (*n[:4], *steps, *own, *numbers), constexprs)
