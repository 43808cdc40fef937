"""pad: a border of constants, of mirrored, repeated or wrapped elements; where an extent is negative, a crop.

One launch copies the inside. Another one for each padded dimension writes the border along it. The gradient has the
same launches: what lies near a border is summed there once more, over all the places that show it.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._axes import AXES, BITS, Axis, at, axes, empty_resized, memory_order, pick_tile, programs, split, tile_indices
from ._errors import DtypeError, ShapeError, dtype_name
from ._launch import launch
from ._op import op
from ._tile import TL_DTYPES, wide_dtype
from ._tune import Target, target

_EXACT = 2**53
"""Values reach the kernel as float64."""

VARYING = (
    *("n0", "n1", "n2", "n3", "low", "inside", "once", "start", "size", "left", "out", "times"),
    *(f"{name}{axis}" for name in ("size", "left") for axis in range(AXES)),
)
"""What no machine code is worth being made anew for."""

MODES = ("constant", "reflect", "replicate", "circular")


@triton.jit(do_not_specialize=VARYING)
def _copy_kernel(
    x_ptr, y_ptr, n0, n1, n2, n3, sx0, sx1, sx2, sx3, sx4, sy0, sy1, sy2, sy3, sy4,
    B0: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr,
):  # fmt: skip
    i0, i1, i2, i3, i4, mask = tile_indices(n0, n1, n2, n3, B0, B1, B2)
    x = tl.load(x_ptr + i1 * sx1 + i2 * sx2 + i3 * sx3 + i4 * sx4 + i0 * sx0, mask=mask, other=0)
    y_ptrs = y_ptr + i1 * sy1 + i2 * sy2 + i3 * sy3 + i4 * sy4 + i0 * sy0
    tl.store(y_ptrs, x.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _shown(o, left, size, MODE: tl.constexpr):
    """The element of the input that element `o` of the output shows."""
    i = o - left
    if MODE == "reflect":
        return size - 1 - tl.abs(size - 1 - tl.abs(i))
    if MODE == "replicate":
        return tl.minimum(tl.maximum(i, 0), size - 1)
    return tl.where(i < 0, i + size, tl.where(i >= size, i - size, i))


@triton.jit(do_not_specialize=VARYING)
def _fill_kernel(
    y_ptr, n0, n1, n2, n3, sy0, sy1, sy2, sy3, sy4, low, inside, value: "fp64",
    B0: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr,
):  # fmt: skip
    o0, o1, o2, o3, o4, mask = tile_indices(n0, n1, n2, n3, B0, B1, B2)
    o4 += tl.where(o4 < low, 0, inside)
    y = tl.full((B2, B1, B0), value, y_ptr.dtype.element_ty)
    tl.store(y_ptr + o1 * sy1 + o2 * sy2 + o3 * sy3 + o4 * sy4 + o0 * sy0, y, mask=mask)


@triton.jit(do_not_specialize=VARYING)
def _border_kernel(
    x_ptr, y_ptr, n0, n1, n2, n3, sx0, sx1, sx2, sx3, sx4, sy0, sy1, sy2, sy3, sy4,
    size0, size1, size2, size3, size4, left0, left1, left2, left3, left4, low, inside,
    MODE: tl.constexpr, PADDED0: tl.constexpr, B0: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr,
):  # fmt: skip
    o0, o1, o2, o3, o4, mask = tile_indices(n0, n1, n2, n3, B0, B1, B2)
    o4 += tl.where(o4 < low, 0, inside)
    i1, i2 = _shown(o1, left1, size1, MODE), _shown(o2, left2, size2, MODE)
    i3, i4 = _shown(o3, left3, size3, MODE), _shown(o4, left4, size4, MODE)
    i0 = _shown(o0, left0, size0, MODE) if PADDED0 else o0
    x = tl.load(x_ptr + i1 * sx1 + i2 * sx2 + i3 * sx3 + i4 * sx4 + i0 * sx0, mask=mask, other=0)
    tl.store(y_ptr + o1 * sy1 + o2 * sy2 + o3 * sy3 + o4 * sy4 + o0 * sy0, x, mask=mask)


@triton.jit
def _showing(i, t, left, size, out, MODE: tl.constexpr):
    """The t-th element of the output that may show element `i` of the input, and whether it does."""
    if MODE == "replicate":
        o = tl.where(i == 0, 0, tl.maximum(i + left, 0)) + t
        shows = o <= tl.where(i == size - 1, out - 1, i + left)
    elif MODE == "reflect":
        o = tl.where(t == 0, i + left, tl.where(t == 1, left - i, 2 * (size - 1) - i + left))
        shows = (t == 0) | ((t == 1) & (i > 0)) | ((t == 2) & (i < size - 1))
    else:
        o = i + left + tl.where(t == 0, 0, tl.where(t == 1, -size, size))
        shows = True
    return o, shows & (i >= 0) & (i < size) & (o >= 0) & (o < out)


@triton.jit(do_not_specialize=VARYING)
def _fold_kernel(
    dy_ptr, dx_ptr, n0, n1, n2, n3, sdy0, sdy1, sdy2, sdy3, sdy4, sdx0, sdx1, sdx2, sdx3, sdx4,
    low, once, start, size, left, out, times,
    MODE: tl.constexpr, ACC: tl.constexpr, B0: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr,
):  # fmt: skip
    i0, i1, i2, i3, i4, mask = tile_indices(n0, n1, n2, n3, B0, B1, B2)
    i4 += tl.where(i4 < low, 0, once)
    dy_ptrs = dy_ptr + i1 * sdy1 + i2 * sdy2 + i3 * sdy3 + i0 * sdy0
    acc = tl.zeros((B2, B1, B0), ACC)
    if MODE == "replicate":
        for t in range(times):
            o4, shows = _showing(i4 - start, t, left, size, out, MODE)
            acc += tl.load(dy_ptrs + o4 * sdy4, mask=mask & shows, other=0.0).to(ACC)
    else:
        for t in tl.static_range(3):
            o4, shows = _showing(i4 - start, t, left, size, out, MODE)
            acc += tl.load(dy_ptrs + o4 * sdy4, mask=mask & shows, other=0.0).to(ACC)
    dx_ptrs = dx_ptr + i1 * sdx1 + i2 * sdx2 + i3 * sdx3 + i4 * sdx4 + i0 * sdx0
    tl.store(dx_ptrs, acc.to(dx_ptr.dtype.element_ty), mask=mask)


class _Dim(NamedTuple):
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


def pad_reference(x: Tensor, pads: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    y = x
    for axis, dim in enumerate(_geometry(x, pads, mode, value)):
        y = y.narrow(axis, dim.start, dim.size)
        i = torch.arange(dim.out, device=x.device) - dim.left
        if mode == "reflect":
            i = dim.size - 1 - (dim.size - 1 - i.abs()).abs()
        elif mode == "replicate":
            i = i.clamp(0, dim.size - 1)
        elif mode == "circular":
            i = i % max(dim.size, 1)
        else:
            beside = y.new_full((*y.shape[:axis], 1, *y.shape[axis + 1 :]), value)
            y = torch.cat((y, beside), axis)
            i = torch.where((i >= 0) & (i < dim.size), i, dim.size)
        y = y.index_select(axis, i)
    return empty_resized(x, y.shape).copy_(y)


def pad_backward_reference(dy: Tensor, shape: Sequence[int], pads: Sequence[int], mode: str = "constant") -> Tensor:
    _geometry_backward(dy, shape, pads, mode)
    places = torch.arange(math.prod(shape), device=dy.device).reshape(tuple(shape))
    shown = pad_reference(places, pads, mode, -1).reshape(-1)
    dx = torch.zeros(places.numel() + 1, dtype=wide_dtype(dy.dtype), device=dy.device)
    dx = dx.index_add(0, torch.where(shown < 0, places.numel(), shown), dy.reshape(-1).to(dx.dtype))
    return empty_resized(dy, shape).copy_(dx[:-1].reshape(tuple(shape)))


@op(reference=pad_reference)
def pad(x: Tensor, pads: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """y[o] = x[o - left], and beyond the edges of x: value, or x mirrored, repeated or wrapped.

    Args:
        x: any strides; of constants any shape and also integers, else 1 to 3 dimensions to be padded and one or two
            before them.
        pads: (left, right) of the last dimension, then of the one before, ...; elements are cut off where negative.
        mode: "constant"; "reflect" mirrors at the outermost elements, "replicate" repeats them, "circular" takes x as
            a period (of what is left of it after the cut).
        value: of the constants.

    Returns: a fresh tensor, channels_last where torch takes `x` for it, else contiguous.

    Raises: ShapeError for pads that do not fit, DtypeError for complex numbers, NotImplementedError for another mode.
    """
    dims = _geometry(x, pads, mode, value)
    y = empty_resized(x, [dim.out for dim in dims])
    _pad_into(x, y, dims, mode, value)
    return y


@op(reference=pad_backward_reference)
def pad_backward(dy: Tensor, shape: Sequence[int], pads: Sequence[int], mode: str = "constant") -> Tensor:
    """dx[i] = sum of dy[o] over the elements o that show x[i]; 0 for what was cut off.

    Args:
        dy: the gradient of `pad(x, pads, mode)`, any strides.
        shape: of x.

    Returns: a fresh tensor of dy's dtype, channels_last where torch takes `dy` for it, else contiguous.

    Raises: as `pad`, and ShapeError for a dy that does not belong to such an x.
    """
    dims = _geometry_backward(dy, shape, pads, mode)
    dx = empty_resized(dy, shape)
    folded = [d for d in range(len(dims)) if dims[d].padded]
    if mode == "constant" or not folded:
        # A crop, and zeros where x was cut off.
        _pad_into(dy, dx, tuple(_Dim(dim.out, 0, dim.out, -dim.left, dim.full) for dim in dims), "constant", 0.0)
        return dx
    sizes = list(dy.shape)
    for d in folded:
        sizes[d] = dims[d].full
        into = dx if d == folded[-1] else empty_resized(dy, sizes, wide_dtype(dy.dtype))
        _fold_into(dy, into, d, dims[d], mode)
        dy = into
    return dx


class _Walk(NamedTuple):
    """What a launch takes beside its tensors, and where it begins in them."""

    grid: tuple[int, ...]
    offsets: tuple[int, ...]
    numbers: tuple[int, ...]
    constexprs: dict[str, Any]


def _pad_into(x: Tensor, y: Tensor, dims: tuple[_Dim, ...], mode: str, value: float) -> None:
    inside, around = _forward(dims, x.stride(), y.stride(), mode, target(x.device))
    bits = BITS[x.itemsize]
    _run(_copy_kernel, inside, x.view(bits), y.view(bits))
    if mode != "constant":
        _run(_border_kernel, around, x.view(bits), y.view(bits), MODE=mode)
    elif x.dtype == torch.bool:
        _run(_fill_kernel, around, y.view(torch.uint8), rest=(float(bool(value)),))
    else:
        _run(_fill_kernel, around, y, rest=(float(value),))


def _fold_into(dy: Tensor, dx: Tensor, d: int, dim: _Dim, mode: str) -> None:
    """Sums `dy` over all elements of dimension `d` that show the same one, as the gradient of padding it alone."""
    inside, near = _backward(dim, d, tuple(dx.shape), dy.stride(), dx.stride(), mode, target(dy.device))
    _run(_copy_kernel, inside, dy, dx)
    _run(_fold_kernel, near, dy, dx, MODE=mode, ACC=TL_DTYPES[wide_dtype(dy.dtype)])


def _run(kernel: Any, walks: Sequence[_Walk], *tensors: Tensor, rest: tuple[Any, ...] = (), **constexprs: Any) -> None:
    for walk in walks:
        placed = map(at, tensors, walk.offsets)
        launch(kernel, walk.grid, *placed, *walk.numbers, *rest, **constexprs, **walk.constexprs)


@functools.lru_cache(4096)
def _forward(
    dims: tuple[_Dim, ...], sx: tuple[int, ...], sy: tuple[int, ...], mode: str, target: Target
) -> tuple[list[_Walk], list[_Walk]]:
    """What copies the inside, and what writes the border along each padded dimension."""
    out, inside = [dim.out for dim in dims], [dim.inside for dim in dims]
    order = memory_order(out, sy)
    first_x = [dim.start + at - dim.left for dim, (at, _) in zip(dims, inside, strict=True)]
    places = (_offset(first_x, sx), _offset([at for at, _ in inside], sy))
    copies = _walks([end - at for at, end in inside], order, (sx, sy), places, target)
    borders: list[_Walk] = []
    for d in [d for d in order if dims[d].padded]:
        at, end = inside[d]
        sizes = [*out[:d], out[d] - (end - at), *out[d + 1 :]]
        numbers = (at, end - at)
        if mode == "constant":
            borders += _walks(sizes, order, (sy,), (0,), target, d, numbers)
        else:
            places = (_offset([dim.start for dim in dims], sx), 0)
            borders += _walks(sizes, order, (sx, sy), places, target, d, numbers, dims)
    return list(copies), borders


@functools.lru_cache(4096)
def _backward(
    dim: _Dim, d: int, shape: tuple[int, ...], sdy: tuple[int, ...], sdx: tuple[int, ...], mode: str, target: Target
) -> tuple[list[_Walk], list[_Walk]]:
    """What copies along dimension `d` the elements that are shown once, and what sums over it near its ends."""
    order = memory_order(shape, sdx)
    low, high = dim.once(mode)
    places = ((low - dim.start + dim.left) * sdy[d], low * sdx[d])
    copies = _walks([*shape[:d], high - low, *shape[d + 1 :]], order, (sdy, sdx), places, target)
    numbers = (low, high - low, *dim[1:], dim.times(mode))
    sizes, loops = [*shape[:d], dim.full - (high - low), *shape[d + 1 :]], mode == "replicate"
    sums = _walks(sizes, order, (sdy, sdx), (0, 0), target, d, numbers, kept=loops)
    return list(copies), list(sums)


def _offset(index: Sequence[int], strides: Sequence[int]) -> int:
    return sum(i * stride for i, stride in zip(index, strides, strict=True))


def _walks(
    sizes: Sequence[int],
    order: Sequence[int],
    strides: tuple[Sequence[int], ...],
    places: tuple[int, ...],
    target: Target,
    border: int = -1,
    numbers: tuple[int, ...] = (),
    mapped: tuple[_Dim, ...] = (),
    kept: bool = False,
) -> Iterator[_Walk]:
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
        yield _Walk(programs(n, tile), begin, (*n[:4], *steps, *own, *numbers), constexprs)


def _geometry(x: Tensor, pads: Sequence[int], mode: str, value: float) -> tuple[_Dim, ...]:
    dims = _dims("pad", tuple(x.shape), tuple(pads), mode)
    if x.is_complex():
        raise DtypeError(f"pad: got {dtype_name(x.dtype)}; it takes real numbers")
    if mode == "constant" and x.is_floating_point():
        limits = torch.finfo(x.dtype)
        if math.isfinite(value) and not limits.min <= value <= limits.max:
            raise ShapeError(f"pad: value is {value}; {dtype_name(x.dtype)} ends at {limits.max}")
    elif mode == "constant" and x.dtype != torch.bool:
        whole = torch.iinfo(x.dtype)
        low, high = max(whole.min, -_EXACT), min(whole.max, _EXACT)
        if not low <= value <= high:
            raise ShapeError(f"pad: value is {value}; for {dtype_name(x.dtype)} it lies in [{low}, {high}]")
    return dims


def _geometry_backward(dy: Tensor, shape: Sequence[int], pads: Sequence[int], mode: str) -> tuple[_Dim, ...]:
    dims = _dims("pad_backward", tuple(shape), tuple(pads), mode)
    out = tuple(dim.out for dim in dims)
    if tuple(dy.shape) != out:
        raise ShapeError(
            f"pad_backward: dy is {tuple(dy.shape)}; for x {tuple(shape)} and pads {pads} it must be {out}"
        )
    return dims


@functools.lru_cache(4096)
def _dims(name: str, shape: tuple[int, ...], pads: tuple[int, ...], mode: str) -> tuple[_Dim, ...]:
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
    dims = [_Dim(size, 0, size, 0, size) for size in shape]
    for k in range(count):
        d = rank - 1 - k
        left, right = pads[2 * k : 2 * k + 2]
        dims[d] = _dim(f"{name}: pads ({left}, {right}) of dimension {d} of x {shape}", shape[d], left, right, mode)
    if mode in ("reflect", "replicate") and not any(dim.out for dim in dims[rank - count :]):
        raise ShapeError(f"{name}: pads {pads} leave nothing of x {shape}")
    return tuple(dims)


def _dim(what: str, size: int, left: int, right: int, mode: str) -> _Dim:
    out, kept = size + left + right, size + min(left, 0) + min(right, 0)
    if out < 0 or (kept < 0 and mode in ("constant", "circular")):
        raise ShapeError(f"{what} leave nothing")
    if mode == "reflect" and max(left, right) >= size:
        raise ShapeError(f"{what}; to reflect, they must be smaller than the dimension")
    if mode != "circular":
        return _Dim(size, 0, size, left, out)
    if max(left, right) > kept:
        raise ShapeError(f"{what} wrap around more than once")
    return _Dim(size, max(-left, 0), kept, max(left, 0), out)
