"""pad: a border of constants, of mirrored, repeated or wrapped elements; where an extent is negative, a crop.

One launch copies the inside; another one for each padded dimension writes the border along it.
"""

import functools
import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._axes import BITS, empty_resized, memory_order, tile_indices
from .._errors import DtypeError, ShapeError, dtype_name
from .._op import op
from .._tune import Target, target
from .geometry import VARYING, Dim, Walk, geometry, run, walks

_EXACT = 2**53
"""Values reach the kernel as float64."""


@triton.jit(do_not_specialize=VARYING)
def copy_kernel(
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


def pad_reference(x: Tensor, pads: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    y = x
    for axis, dim in enumerate(_checked(x, pads, mode, value)):
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
    dims = _checked(x, pads, mode, value)
    y = empty_resized(x, [dim.out for dim in dims])
    pad_into(x, y, dims, mode, value)
    return y


def pad_into(x: Tensor, y: Tensor, dims: tuple[Dim, ...], mode: str, value: float) -> None:
    inside, around = _forward(dims, x.stride(), y.stride(), mode, target(x.device))
    bits = BITS[x.itemsize]
    run(copy_kernel, inside, x.view(bits), y.view(bits))
    if mode != "constant":
        run(_border_kernel, around, x.view(bits), y.view(bits), MODE=mode)
    elif x.dtype == torch.bool:
        run(_fill_kernel, around, y.view(torch.uint8), rest=(float(bool(value)),))
    else:
        run(_fill_kernel, around, y, rest=(float(value),))


@functools.lru_cache(4096)
def _forward(
    dims: tuple[Dim, ...], sx: tuple[int, ...], sy: tuple[int, ...], mode: str, target: Target
) -> tuple[list[Walk], list[Walk]]:
    """What copies the inside, and what writes the border along each padded dimension."""
    out, inside = [dim.out for dim in dims], [dim.inside for dim in dims]
    order = memory_order(out, sy)
    first_x = [dim.start + at - dim.left for dim, (at, _) in zip(dims, inside, strict=True)]
    places = (_offset(first_x, sx), _offset([at for at, _ in inside], sy))
    copies = walks([end - at for at, end in inside], order, (sx, sy), places, target)
    borders: list[Walk] = []
    for d in [d for d in order if dims[d].padded]:
        at, end = inside[d]
        sizes = [*out[:d], out[d] - (end - at), *out[d + 1 :]]
        numbers = (at, end - at)
        if mode == "constant":
            borders += walks(sizes, order, (sy,), (0,), target, d, numbers)
        else:
            places = (_offset([dim.start for dim in dims], sx), 0)
            borders += walks(sizes, order, (sx, sy), places, target, d, numbers, dims)
    return list(copies), borders


def _offset(index: Sequence[int], strides: Sequence[int]) -> int:
    return sum(i * stride for i, stride in zip(index, strides, strict=True))


def _checked(x: Tensor, pads: Sequence[int], mode: str, value: float) -> tuple[Dim, ...]:
    dims = geometry("pad", tuple(x.shape), tuple(pads), mode)
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
