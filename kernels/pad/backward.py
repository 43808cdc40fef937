"""The gradient of pad: each element sums, one dimension after the other, over all the places that show it.

For each dimension one launch copies what is shown once, and another one sums what lies near its ends.
"""

import functools
import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._axes import empty_resized, memory_order, tile_indices
from .._errors import ShapeError
from .._op import op
from .._tile import TL_DTYPES, wide_dtype
from .._tune import Target, target
from .forward import copy_kernel, pad_into, pad_reference
from .geometry import VARYING, Dim, Walk, geometry, run, walks


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


def pad_backward_reference(dy: Tensor, shape: Sequence[int], pads: Sequence[int], mode: str = "constant") -> Tensor:
    _checked(dy, shape, pads, mode)
    places = torch.arange(math.prod(shape), device=dy.device).reshape(tuple(shape))
    shown = pad_reference(places, pads, mode, -1).reshape(-1)
    dx = torch.zeros(places.numel() + 1, dtype=wide_dtype(dy.dtype), device=dy.device)
    dx = dx.index_add(0, torch.where(shown < 0, places.numel(), shown), dy.reshape(-1).to(dx.dtype))
    return empty_resized(dy, shape).copy_(dx[:-1].reshape(tuple(shape)))


@op(reference=pad_backward_reference)
def pad_backward(dy: Tensor, shape: Sequence[int], pads: Sequence[int], mode: str = "constant") -> Tensor:
    """dx[i] = sum of dy[o] over the elements o that show x[i]; 0 for what was cut off.

    Args:
        dy: the gradient of `pad(x, pads, mode)`, any strides.
        shape: of x.

    Returns: a fresh tensor of dy's dtype, channels_last where torch takes `dy` for it, else contiguous.

    Raises: as `pad`, and ShapeError for a dy that does not belong to such an x.
    """
    dims = _checked(dy, shape, pads, mode)
    dx = empty_resized(dy, shape)
    folded = [d for d in range(len(dims)) if dims[d].padded]
    if mode == "constant" or not folded:
        # A crop, and zeros where x was cut off.
        pad_into(dy, dx, tuple(Dim(dim.out, 0, dim.out, -dim.left, dim.full) for dim in dims), "constant", 0.0)
        return dx
    sizes = list(dy.shape)
    for d in folded:
        sizes[d] = dims[d].full
        into = dx if d == folded[-1] else empty_resized(dy, sizes, wide_dtype(dy.dtype))
        _fold_into(dy, into, d, dims[d], mode)
        dy = into
    return dx


def _fold_into(dy: Tensor, dx: Tensor, d: int, dim: Dim, mode: str) -> None:
    """Sums `dy` over all elements of dimension `d` that show the same one, as the gradient of padding it alone."""
    inside, near = _backward(dim, d, tuple(dx.shape), dy.stride(), dx.stride(), mode, target(dy.device))
    run(copy_kernel, inside, dy, dx)
    run(_fold_kernel, near, dy, dx, MODE=mode, ACC=TL_DTYPES[wide_dtype(dy.dtype)])


@functools.lru_cache(4096)
def _backward(
    dim: Dim, d: int, shape: tuple[int, ...], sdy: tuple[int, ...], sdx: tuple[int, ...], mode: str, target: Target
) -> tuple[list[Walk], list[Walk]]:
    """What copies along dimension `d` the elements that are shown once, and what sums over it near its ends."""
    order = memory_order(shape, sdx)
    low, high = dim.once(mode)
    places = ((low - dim.start + dim.left) * sdy[d], low * sdx[d])
    copies = walks([*shape[:d], high - low, *shape[d + 1 :]], order, (sdy, sdx), places, target)
    numbers = (low, high - low, *dim[1:], dim.times(mode))
    sizes, loops = [*shape[:d], dim.full - (high - low), *shape[d + 1 :]], mode == "replicate"
    sums = walks(sizes, order, (sdy, sdx), (0, 0), target, d, numbers, kept=loops)
    return list(copies), list(sums)


def _checked(dy: Tensor, shape: Sequence[int], pads: Sequence[int], mode: str) -> tuple[Dim, ...]:
    dims = geometry("pad_backward", tuple(shape), tuple(pads), mode)
    out = tuple(dim.out for dim in dims)
    if tuple(dy.shape) != out:
        raise ShapeError(
            f"pad_backward: dy is {tuple(dy.shape)}; for x {tuple(shape)} and pads {pads} it must be {out}"
        )
    return dims
