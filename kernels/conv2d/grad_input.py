"""The gradient of conv2d with respect to its input."""

import functools
import math

import torch
from torch import Tensor

from .._errors import ShapeError
from .._op import op
from .forward import conv2d_reference, correlate
from .geometry import Axis, Geometry, Padding, Pair, channels_last, check_operands, format_strides, geometry, wide_dtype


def conv2d_grad_input_reference(
    grad: Tensor,
    weight: Tensor,
    shape: tuple[int, ...],
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    dtype: torch.dtype | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    _checked(grad, weight, shape, stride, padding, dilation, groups)
    dtype = check_operands("conv2d_grad_input", dtype, grad=grad, weight=weight)
    wide = wide_dtype(dtype)
    with torch.enable_grad():
        x = torch.zeros(shape, dtype=wide, device=grad.device, requires_grad=True)
        y = conv2d_reference(x, weight.detach().to(dtype).to(wide), None, stride, padding, dilation, groups)
        (dx,) = torch.autograd.grad(y, x, grad.detach().to(dtype).to(wide))
    return dx.to(out_dtype or dtype)


@op(reference=conv2d_grad_input_reference)
def conv2d_grad_input(
    grad: Tensor,
    weight: Tensor,
    shape: tuple[int, ...],
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    dtype: torch.dtype | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """dx[n, c, h, w] = sum of grad[n, k, p, q] weight[k, c, r, s] over all k, r, s whose tap of pixel (p, q) is (h, w).

    Every pixel gathers the taps that touch it: pixels of one remainder of (h, w) by the stride are met by the same taps,
    and are one correlation of grad with those weights, at stride 1. Nothing is scattered, and no tap is taken in vain.

    Args:
        grad: [N, K, P, Q], the gradient of conv2d's result, any strides.
        weight: [K, C // groups, R, S], of grad's dtype, any strides.
        shape: [N, C, H, W] of conv2d's input.
        stride, padding, dilation, groups: as in conv2d.
        dtype: what operands are rounded to before they are multiplied (autocast).
        out_dtype: of the result; by default that of the products.

    Returns: [N, C, H, W], channels_last where torch takes grad or weight for channels_last, else contiguous.

    Raises: ShapeError for sizes that do not fit, DtypeError for operands of several dtypes where `dtype` is None.
    """
    conv = _checked(grad, weight, shape, stride, padding, dilation, groups)
    dtype = check_operands("conv2d_grad_input", dtype, grad=grad, weight=weight)
    last = channels_last(grad.shape, grad.stride()) or channels_last(weight.shape, weight.stride())
    dx = torch.empty_strided(conv.in_shape, format_strides(conv.in_shape, last), dtype=out_dtype or dtype, device=grad.device)
    k = conv.K // groups
    by_group = k * weight.stride(0)
    group_weight = weight[:k].transpose(0, 1)
    for pixels_h, taps_h, first_h, tap_h in phases(conv.h):
        for pixels_w, taps_w, first_w, tap_w in phases(conv.w):
            taps = group_weight[:, :, taps_h, taps_w]
            y = dx[:, :, pixels_h, pixels_w]
            correlate(grad, taps, by_group, None, y, groups, (1, 1), (first_h, first_w), (tap_h, tap_w), dtype)
    return dx


@functools.lru_cache(maxsize=4096)
def phases(axis: Axis) -> list[tuple[slice, slice, int, int]]:
    """The pixels of an axis by their remainder by the stride: (pixels, taps that touch them, first, tap).

    Input pixel number i of a phase meets output pixel i + first + j * tap at the phase's tap number j.
    """
    step = axis.stride // math.gcd(axis.stride, axis.dilation)
    found = []
    for phase in range(min(axis.stride, axis.inp)):
        lowest = next((r for r in range(min(step, axis.taps)) if (phase + axis.pad - r * axis.dilation) % axis.stride == 0), axis.taps)
        first = (phase + axis.pad - lowest * axis.dilation) // axis.stride
        tap = -step * axis.dilation // axis.stride
        found.append((slice(phase, None, axis.stride), slice(lowest, None, step), first, tap))
    return found


def _checked(
    grad: Tensor, weight: Tensor, shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Geometry:
    conv = geometry("conv2d_grad_input", tuple(shape), weight.shape, stride, padding, dilation, groups)
    if grad.shape != conv.out_shape:
        raise ShapeError(f"conv2d_grad_input: grad is {tuple(grad.shape)}; the result of this convolution is {conv.out_shape}")
    return conv
