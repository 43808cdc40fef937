"""interpolate and its older names, with gradients of every order: the operation is linear."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels
from tritonnet.errors import ShapeError

from ._function import Function

_RANKS = {"linear": 3, "bilinear": 4, "trilinear": 5}
_NEAREST = ("nearest", "nearest-exact")
_REFUSED = ("area", "bicubic", "lanczos")

Shape = tuple[str, tuple[float, ...] | None, bool]
"""The kernel's mode, scales, align_corners."""


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """input with its last dimensions resized, to the nearest elements or linearly between them.

    Element o of a dimension reads at o scale ("nearest") or (o + 1/2) scale ("nearest-exact"), rounded down, or between
    the neighbours of (o + 1/2) scale - 1/2 ("linear" of [N, C, L], "bilinear" of [N, C, H, W], "trilinear" of
    [N, C, D, H, W]).

    Args:
        input: any strides; [N, C, ...] of one to three more dimensions.
        size: of the last dimensions, an int for all of them.
        scale_factor: instead of size: the new size is int(old size * scale_factor), and scale is 1 / scale_factor.
        mode: "nearest", "nearest-exact", "linear", "bilinear" or "trilinear".
        align_corners: of the linear modes: first and last elements are those of input, scale = (old - 1) / (new - 1).
        recompute_scale_factor: scale is old size / new size, as it is where size is given.
        antialias: not offered.

    Indices are computed in float32 (in float64 for linear modes and float64 tensors), so that "nearest" has the same
    elements for every dtype, memory format and device: those that torch takes for float32.

    Returns: a fresh tensor, channels_last where torch takes input for it, else contiguous.
    Raises: ShapeError for sizes that do not fit and arguments that do not go together, NotImplementedError for other
        modes, antialias, or a mode for another number of dimensions.
    """
    if mode in (*_NEAREST, "area") and align_corners is not None:
        raise ShapeError(f"interpolate: align_corners is {align_corners}; only linear modes take it, not {mode!r}")
    spatial = input.dim() - 2
    if (size is None) == (scale_factor is None):
        raise ShapeError("interpolate: size or scale_factor is needed, and only one of them")
    if recompute_scale_factor and size is not None:
        raise ShapeError("interpolate: recompute_scale_factor=True has no meaning where size is given")
    for name, given in (("size", size), ("scale_factor", scale_factor)):
        if isinstance(given, Sequence) and len(given) != spatial:
            raise ShapeError(f"interpolate: {name} is {given!r}; input {tuple(input.shape)} has {spatial} of them")
    if antialias:
        raise NotImplementedError("interpolate: antialias=True is not offered")
    if mode in _REFUSED:
        raise NotImplementedError(f"interpolate: mode {mode!r} is not offered; nearest and linear ones are")
    if mode not in _NEAREST and mode not in _RANKS:
        raise NotImplementedError(f"interpolate: mode is {mode!r}; it is one of {', '.join([*_NEAREST, *_RANKS])}")
    if input.dim() not in _RANKS.values() or input.dim() != _RANKS.get(mode, input.dim()):
        takes = f"{_RANKS[mode]}D" if mode in _RANKS else "3D, 4D or 5D"
        raise NotImplementedError(f"interpolate: mode {mode!r} takes {takes} input, got {input.dim()}D")
    if size is not None:
        scales, sizes = None, tuple(size) if isinstance(size, Sequence) else (size,) * spatial
    else:
        scales = tuple(scale_factor) if isinstance(scale_factor, Sequence) else (scale_factor,) * spatial
        sizes = tuple(int(n * scale) for n, scale in zip(input.shape[2:], scales, strict=True))
        scales = None if recompute_scale_factor else scales
    shape = ("linear" if mode in _RANKS else mode, scales, bool(align_corners))
    y: Tensor = _Interpolate.apply(input, sizes, shape)
    return y


def upsample(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """interpolate, by a name that torch deprecates."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(
    input: Tensor, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None
) -> Tensor:
    """interpolate in mode "nearest", by a name that torch deprecates."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor)


def upsample_bilinear(
    input: Tensor, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None
) -> Tensor:
    """interpolate in mode "bilinear" with its corners aligned, by a name that torch deprecates."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)


def _deprecated(name: str) -> None:
    warnings.warn(f"{name} is deprecated; use interpolate", stacklevel=3)


class _Interpolate(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, size: tuple[int, ...], shape: Shape) -> Tensor:
        ctx.x_shape, ctx.shape = x.shape, shape
        y: Tensor = kernels.interpolate(x, size, *shape)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return _InterpolateBackward.apply(dy, ctx.x_shape, ctx.shape), None, None


class _InterpolateBackward(Function):
    @staticmethod
    def forward(ctx: Any, dy: Tensor, x_shape: torch.Size, shape: Shape) -> Tensor:
        ctx.size, ctx.shape = dy.shape[2:], shape
        dx: Tensor = kernels.interpolate_backward(dy, x_shape, *shape)
        return dx

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> tuple[Tensor | None, ...]:
        return _Interpolate.apply(ddx, ctx.size, ctx.shape), None, None
