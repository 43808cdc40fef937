"""interpolate: 1 to 3 dimensions of another size, of their nearest elements or linear between them.

Element o of the result reads x at o * scale (nearest), at (o + 1/2) * scale (nearest-exact), both rounded down, or
between the neighbours of (o + 1/2) * scale - 1/2 (linear; of o * scale where the corners are aligned).
"""

import functools
import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._axes import AXES, BITS, axes, empty_resized, memory_order, pick_tile, programs, split, tile_indices
from .._errors import DtypeError, dtype_name
from .._launch import launch
from .._op import op
from .._tile import TL_DTYPES, wide_dtype
from .._tune import Target, target
from .geometry import VARYING, Dim, Walk, far, geometry, index_dtype, source, sources_reference


@triton.jit
def _neighbour(i, past, t: tl.constexpr, size, TAPS: tl.constexpr):
    """The t-th of the elements that are read, and its weight."""
    if TAPS == 1:
        j, weight = i, 1.0
    elif t == 0:
        j, weight = i, 1.0 - past
    else:
        j, weight = tl.minimum(i + 1, size - 1), past
    return j, weight


@triton.jit(do_not_specialize=VARYING)
def _interpolate_kernel(
    x_ptr, y_ptr, n0, n1, n2, n3, sx0, sx1, sx2, sx3, sx4, sy0, sy1, sy2, sy3, sy4,
    size0, size1, size2, size3, size4, scale0: "fp64", scale1: "fp64", scale2: "fp64", scale3: "fp64", scale4: "fp64",
    KIND0: tl.constexpr, KIND1: tl.constexpr, KIND2: tl.constexpr, KIND3: tl.constexpr, KIND4: tl.constexpr,
    TAPS0: tl.constexpr, TAPS1: tl.constexpr, TAPS2: tl.constexpr, TAPS3: tl.constexpr, TAPS4: tl.constexpr,
    F: tl.constexpr, B0: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr,
):  # fmt: skip
    o0, o1, o2, o3, o4, mask = tile_indices(n0, n1, n2, n3, B0, B1, B2)
    i0, past0 = source(o0, size0, scale0, KIND0, F)
    i1, past1 = source(o1, size1, scale1, KIND1, F)
    i2, past2 = source(o2, size2, scale2, KIND2, F)
    i3, past3 = source(o3, size3, scale3, KIND3, F)
    i4, past4 = source(o4, size4, scale4, KIND4, F)
    if TAPS0 * TAPS1 * TAPS2 * TAPS3 * TAPS4 == 1:
        x_ptrs = x_ptr + far(i1, sx1) + far(i2, sx2) + far(i3, sx3) + far(i4, sx4) + far(i0, sx0)
        y = tl.load(x_ptrs, mask=mask, other=0)
    else:
        y = tl.zeros((B2, B1, B0), F)
        for t4 in tl.static_range(TAPS4):
            j4, w4 = _neighbour(i4, past4, t4, size4, TAPS4)
            for t3 in tl.static_range(TAPS3):
                j3, w3 = _neighbour(i3, past3, t3, size3, TAPS3)
                for t2 in tl.static_range(TAPS2):
                    j2, w2 = _neighbour(i2, past2, t2, size2, TAPS2)
                    for t1 in tl.static_range(TAPS1):
                        j1, w1 = _neighbour(i1, past1, t1, size1, TAPS1)
                        rows = x_ptr + far(j1, sx1) + far(j2, sx2) + far(j3, sx3) + far(j4, sx4)
                        for t0 in tl.static_range(TAPS0):
                            j0, w0 = _neighbour(i0, past0, t0, size0, TAPS0)
                            x = tl.load(rows + far(j0, sx0), mask=mask, other=0.0)
                            y += w4 * w3 * w2 * w1 * w0 * x.to(F)
    y_ptrs = y_ptr + o1 * sy1 + o2 * sy2 + o3 * sy3 + o4 * sy4 + o0 * sy0
    tl.store(y_ptrs, y.to(y_ptr.dtype.element_ty), mask=mask)


def interpolate_reference(
    x: Tensor,
    size: Sequence[int],
    mode: str = "nearest",
    scales: Sequence[float | None] | None = None,
    align_corners: bool = False,
) -> Tensor:
    dims = _checked(x, size, mode, scales, align_corners)
    y = x.to(wide_dtype(x.dtype)) if mode == "linear" else x
    for d, dim in enumerate(dims):
        if dim.kind == "same":
            continue
        i, past = sources_reference(dim, x)
        if mode != "linear":
            y = y.index_select(d, i)
            continue
        past = past.reshape(-1, *[1] * (x.dim() - 1 - d))
        y = y.index_select(d, i) * (1 - past) + y.index_select(d, (i + 1).clamp_max(dim.size - 1)) * past
    return empty_resized(x, y.shape).copy_(y)


@op(reference=interpolate_reference, flops=lambda x, size, *_, **__: 2 * x.shape[0] * x.shape[1] * math.prod(size))
def interpolate(
    x: Tensor,
    size: Sequence[int],
    mode: str = "nearest",
    scales: Sequence[float | None] | None = None,
    align_corners: bool = False,
) -> Tensor:
    """y[n, c, o, ...] = x[n, c, floor(o scale), ...], or between neighbours of x where mode is "linear".

    Args:
        x: [N, C, d1], [N, C, d1, d2] or [N, C, d1, d2, d3], any strides; integers too, but not in mode "linear".
        size: of the last dimensions of y.
        mode: "nearest" reads at o scale and "nearest-exact" at (o + 1/2) scale, rounded down; "linear" at
            (o + 1/2) scale - 1/2, between the two (of an image four, of a volume eight) neighbours.
        scales: for each dimension y's size over x's as its user gave it, so that scale = 1 / scales[d]; None for the
            ratio of the sizes.
        align_corners: "linear" reads at o (d - 1) / (size - 1): first and last elements are those of x.

    Indices are computed in float32, as torch does on a GPU; those of "linear" in float64 for float64 tensors.

    Returns: a fresh tensor, channels_last where torch takes `x` for it, else contiguous.

    Raises: ShapeError for sizes that do not fit, DtypeError for integers in mode "linear", NotImplementedError for
        another mode.
    """
    dims = _checked(x, size, mode, scales, align_corners)
    y = empty_resized(x, [dim.out for dim in dims])
    walk = _forward(dims, x.stride(), y.stride(), index_dtype(x.dtype, mode), target(x.device))
    tensors = (x, y) if mode == "linear" else (x.view(BITS[x.itemsize]), y.view(BITS[x.itemsize]))
    launch(_interpolate_kernel, walk.grid, *tensors, *walk.numbers, **walk.constexprs)
    return y


def _checked(
    x: Tensor, size: Sequence[int], mode: str, scales: Sequence[float | None] | None, align_corners: bool
) -> tuple[Dim, ...]:
    if mode == "linear" and not x.is_floating_point():
        raise DtypeError(f"interpolate: x is {dtype_name(x.dtype)}; mode 'linear' takes floating-point numbers")
    return geometry("interpolate", x.shape, size, mode, scales, align_corners)


@functools.lru_cache(4096)
def _forward(
    dims: tuple[Dim, ...], sx: tuple[int, ...], sy: tuple[int, ...], index: torch.dtype, target: Target
) -> Walk:
    out = [dim.out for dim in dims]
    found = axes(out, memory_order(out, sy), [dim.kind != "same" for dim in dims], sx, sy)
    ((walk, _),) = split(found, AXES, 2)
    n = [axis.size for axis in walk]
    own = [Dim(axis.size, axis.size, 1.0, "same") if axis.dim < 0 else dims[axis.dim] for axis in walk]
    steps = [axis.strides[k] for k in range(2) for axis in walk]
    tile = pick_tile(n[0], n[1], n[2], target)
    constexprs = {f"KIND{k}": dim.kind for k, dim in enumerate(own)} | {
        f"TAPS{k}": dim.taps for k, dim in enumerate(own)
    }
    constexprs |= {"F": TL_DTYPES[index], **vars(tile)}
    return Walk(
        programs(n, tile), (*n[:4], *steps, *[dim.size for dim in own], *[dim.scale for dim in own]), constexprs
    )
