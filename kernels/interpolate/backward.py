"""The gradient of interpolate, gathered: each element finds the first one that reads it, and sums those that follow."""

import functools
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._axes import AXES, Axis, axes, empty_resized, memory_order, pick_tile, programs, split, tile_indices
from .._errors import ShapeError
from .._launch import launch
from .._op import op
from .._tile import TL_DTYPES, wide_dtype
from .._tune import Target, target
from .geometry import VARYING, Dim, Walk, far, geometry, index_dtype, place, sources_reference

_LONGEST = 2**22
"""Up to here the first reader is one element from its estimate at most."""

_UNROLLED = 4
"""Up to so many readers are summed without a loop."""


@triton.jit
def _first_reader(i, size, out, scale, KIND: tl.constexpr, F: tl.constexpr):
    """The first element of the result that reads element `i` of x."""
    if KIND == "same":
        first = i
    elif KIND == "doubled":
        first = i * 2
    else:
        # By an estimate, off by one at most, and by where that and the one before it read.
        step = tl.cast(scale, tl.float64)
        inverse = 1.0 / tl.where(step > 0.0, step, 1.0)
        if KIND == "nearest":
            estimate = i.to(tl.float64) * inverse
        elif KIND == "nearest-exact":
            estimate = i.to(tl.float64) * inverse - 0.5
        elif KIND == "aligned":
            estimate = (i - 1).to(tl.float64) * inverse
        else:
            estimate = (i.to(tl.float64) - 0.5) * inverse - 0.5
        o = tl.minimum(tl.maximum(tl.ceil(estimate), 0.0), out - 1.0).to(tl.int32)
        before = _reads_from(tl.maximum(o - 1, 0), i, size, scale, KIND, F)
        here = _reads_from(o, i, size, scale, KIND, F)
        first = o + tl.where(here, tl.where((o > 0) & before, -1, 0), 1)
    return first


@triton.jit
def _reads_from(o, i, size, scale, KIND: tl.constexpr, F: tl.constexpr):
    """Whether element `o` reads element `i` of x or one beyond."""
    at = place(o, size, scale, KIND, F)
    return at >= i.to(F) if KIND == "nearest" or KIND == "nearest-exact" else at > (i - 1).to(F)


@triton.jit
def _add_reader(acc, t, dy_ptrs, step, mask, first, i, size, out, scale, KIND: tl.constexpr, F: tl.constexpr):
    """acc, and the gradient of the t-th element from the first one on if that is one that reads `i`."""
    o = first + t
    if KIND == "same" or KIND == "doubled":
        acc += tl.load(dy_ptrs + far(o, step), mask=mask, other=0.0).to(acc.dtype)
    else:
        dy = tl.load(dy_ptrs + far(tl.minimum(o, out - 1), step), mask=mask, other=0.0).to(acc.dtype)
        at = place(o, size, scale, KIND, F)
        if KIND == "nearest" or KIND == "nearest-exact":
            acc += tl.where((o < out) & (at.to(tl.int32) == i), dy, 0.0)
        else:
            weight = tl.where(o < out, 1.0 - tl.abs(at - i.to(F)), 0.0)
            acc += tl.where(weight > 0.0, dy * weight, 0.0)
    return acc


@triton.jit(do_not_specialize=VARYING)
def _interpolate_backward_kernel(
    dy_ptr, dx_ptr, n0, n1, n2, n3, sdy0, sdy1, sdy2, sdy3, sdy4, sdx0, sdx1, sdx2, sdx3, sdx4,
    out, scale: "fp64", times,
    AXIS: tl.constexpr, KIND: tl.constexpr, UNROLLED: tl.constexpr, F: tl.constexpr, ACC: tl.constexpr,
    B0: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr,
):  # fmt: skip
    i0, i1, i2, i3, i4, mask = tile_indices(n0, n1, n2, n3, B0, B1, B2)
    dy_ptrs = dy_ptr + i2 * sdy2 + i3 * sdy3 + i4 * sdy4
    if AXIS == 0:
        i, size, step = i0.to(tl.int32), n0, sdy0
        dy_ptrs += i1 * sdy1
    else:
        i, size, step = i1.to(tl.int32), n1, sdy1
        dy_ptrs += i0 * sdy0
    first = _first_reader(i, size, out, scale, KIND, F)
    acc = tl.zeros((B2, B1, B0), ACC)
    if UNROLLED > 0:
        for t in tl.static_range(UNROLLED):
            acc = _add_reader(acc, t, dy_ptrs, step, mask, first, i, size, out, scale, KIND, F)
    else:
        for t in range(times):
            acc = _add_reader(acc, t, dy_ptrs, step, mask, first, i, size, out, scale, KIND, F)
    dx_ptrs = dx_ptr + i1 * sdx1 + i2 * sdx2 + i3 * sdx3 + i4 * sdx4 + i0 * sdx0
    tl.store(dx_ptrs, acc.to(dx_ptr.dtype.element_ty), mask=mask)


def interpolate_backward_reference(
    dy: Tensor,
    shape: Sequence[int],
    mode: str = "nearest",
    scales: Sequence[float | None] | None = None,
    align_corners: bool = False,
) -> Tensor:
    dims = _geometry_backward(dy, shape, mode, scales, align_corners)
    dx = dy.to(wide_dtype(dy.dtype))
    for d, dim in enumerate(dims):
        if dim.kind == "same":
            continue
        i, past = sources_reference(dim, dy)
        into = torch.zeros((*dx.shape[:d], dim.size, *dx.shape[d + 1 :]), dtype=dx.dtype, device=dy.device)
        if mode == "linear":
            past = past.reshape(-1, *[1] * (dx.dim() - 1 - d))
            into = into.index_add(d, (i + 1).clamp_max(dim.size - 1), dx * past)
            dx = dx * (1 - past)
        dx = into.index_add(d, i, dx)
    return empty_resized(dy, shape).copy_(dx)


@op(reference=interpolate_backward_reference, flops=lambda dy, *_, **__: 2 * dy.numel())
def interpolate_backward(
    dy: Tensor,
    shape: Sequence[int],
    mode: str = "nearest",
    scales: Sequence[float | None] | None = None,
    align_corners: bool = False,
) -> Tensor:
    """dx[i] = sum over the elements o that read x[i], of dy[o] times their weight; one dimension after the other.

    Args:
        dy: the gradient of `interpolate(x, dy.shape[2:], mode, scales, align_corners)`, any strides.
        shape: of x.

    Returns: a fresh tensor of dy's dtype, channels_last where torch takes `dy` for it, else contiguous.

    Raises: as `interpolate`, and ShapeError for a dy that does not belong to such an x, or of more than 2^22 elements
        along a dimension.
    """
    dims = _geometry_backward(dy, shape, mode, scales, align_corners)
    dx = empty_resized(dy, shape)
    resized = [d for d, dim in enumerate(dims) if dim.kind != "same"] or [len(dims) - 1]
    acc, sizes = wide_dtype(dy.dtype), list(dy.shape)
    for d in resized:
        sizes[d] = dims[d].size
        into = dx if d == resized[-1] else empty_resized(dy, sizes, acc)
        walk = _backward(
            dims[d], d, tuple(sizes), dy.stride(), into.stride(), acc, index_dtype(acc, mode), target(dy.device)
        )
        launch(_interpolate_backward_kernel, walk.grid, dy, into, *walk.numbers, **walk.constexprs)
        dy = into
    return dx


@functools.lru_cache(4096)
def _backward(
    dim: Dim,
    d: int,
    sizes: tuple[int, ...],
    sdy: tuple[int, ...],
    sdx: tuple[int, ...],
    acc: torch.dtype,
    index: torch.dtype,
    target: Target,
) -> Walk:
    """Dimension `d` is the innermost axis where it is that in memory, else the one before; the others merge."""
    if max(dim.size, dim.out) > _LONGEST:
        raise ShapeError(f"interpolate_backward: {dim.size} elements from {dim.out}; it takes up to {_LONGEST}")
    order = memory_order(sizes, sdx)
    others = axes(sizes, [other for other in order if other != d], [False] * len(sizes), sdy, sdx)
    axis = 0 if order[-1] == d or not others else 1
    ((walk, _),) = split([*others[:axis], Axis(sizes[d], (sdy[d], sdx[d]), d), *others[axis:]], AXES, 2)
    n, times = [each.size for each in walk], dim.times(index)
    unrolled = times if times <= _UNROLLED else 0
    steps = [each.strides[k] for k in range(2) for each in walk]
    tile = pick_tile(n[0], n[1], n[2], target, kept=unrolled == 0)
    constexprs = {"AXIS": axis, "KIND": dim.kind, "UNROLLED": unrolled, "F": TL_DTYPES[index], "ACC": TL_DTYPES[acc]}
    return Walk(programs(n, tile), (*n[:4], *steps, dim.out, dim.scale, times), constexprs | vars(tile))


def _geometry_backward(
    dy: Tensor, shape: Sequence[int], mode: str, scales: Sequence[float | None] | None, align_corners: bool
) -> tuple[Dim, ...]:
    if dy.dim() != len(shape) or tuple(dy.shape[:2]) != tuple(shape[:2]):
        raise ShapeError(f"interpolate_backward: dy is {tuple(dy.shape)}, which no x {tuple(shape)} is made into")
    return geometry("interpolate_backward", shape, dy.shape[2:], mode, scales, align_corners)
