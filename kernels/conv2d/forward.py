"""conv2d, an implicit matrix product."""

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._launch import launch
from .._op import op
from .._precision import conv_precision
from .correlate import Call, Operand, correlate_call
from .geometry import (
    Padding,
    Pair,
    channels_last,
    check_bias,
    format_strides,
    geometry,
    hashable,
    product_dtype,
    wide_dtype,
)


def conv2d_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    geometry("conv2d", x.shape, weight.shape, hashable(stride), hashable(padding), hashable(dilation), groups)
    dtype = product_dtype("conv2d", dtype, x=x.dtype, weight=weight.dtype, bias=None if bias is None else bias.dtype)
    check_bias("conv2d", None if bias is None else bias.shape, weight.shape)
    wide = wide_dtype(dtype)
    bias = None if bias is None else bias.to(wide)
    x, weight = x.to(dtype).to(wide), weight.to(dtype).to(wide)
    return torch.conv2d(x, weight, bias, stride, padding, dilation, groups).to(dtype)


def _flops(x: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, dtype: torch.dtype | None = None) -> int:
    return geometry("conv2d", x.shape, weight.shape, *map(hashable, args)).flops


@op(reference=conv2d_reference, flops=_flops)
def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """y[n, k, p, q] = bias[k] + sum over c, r, s of x[n, c, h, w] weight[k, c, r, s].

    h = p stride_h + r dilation_h - padding_h, and w likewise; x is 0 outside of the image. With groups, an output
    channel sums over the input channels of its own group.

    Args:
        x: [N, C, H, W], any strides.
        weight: [K, C // groups, R, S], any strides, dtype of x.
        bias: [K], dtype of x, any stride, or None.
        stride, dilation: pixels between taps' windows, and between taps; an int or (height, width), at least 1.
        padding: pixels of zeros on each side, an int or (height, width); or "valid", none, or "same", for P, Q = H, W.
        groups: divides C and K.
        dtype: what operands, of any and also different dtypes, are rounded to before they are multiplied (autocast).

    Returns: [N, K, P, Q], P = (H + 2 padding_h - dilation_h (R - 1) - 1) // stride_h + 1 and Q likewise, channels_last
        where torch takes x or weight for channels_last, else contiguous.

    Raises: ShapeError for sizes that do not fit, DtypeError for operands of several dtypes where `dtype` is None.
    """
    plan = _plan(
        x.shape,
        x.stride(),
        x.dtype,
        weight.shape,
        weight.stride(),
        weight.dtype,
        bias if bias is None else (bias.shape, bias.stride(), bias.dtype),
        hashable(stride),
        hashable(padding),
        hashable(dilation),
        groups,
        dtype,
        conv_precision(dtype or x.dtype),
        x.device,
    )
    y = torch.empty_strided(plan.y.shape, plan.y.strides, dtype=plan.dtype, device=x.device)
    launch(plan.call.kernel, plan.call.grid, x, weight, bias, y, *plan.call.sizes, **plan.call.constexprs)
    return y


class _Plan(NamedTuple):
    y: Operand
    dtype: torch.dtype
    call: Call


@functools.lru_cache(maxsize=4096)
def _plan(
    x: tuple[int, ...],
    x_strides: tuple[int, ...],
    x_dtype: torch.dtype,
    weight: tuple[int, ...],
    w_strides: tuple[int, ...],
    w_dtype: torch.dtype,
    bias: tuple[tuple[int, ...], tuple[int, ...], torch.dtype] | None,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    dtype: torch.dtype | None,
    precision: str,
    device: torch.device,
) -> _Plan:
    """Checks a call and says what it allocates and launches."""
    conv = geometry("conv2d", x, weight, stride, padding, dilation, groups)
    dtype = product_dtype("conv2d", dtype, x=x_dtype, weight=w_dtype, bias=bias and bias[2])
    check_bias("conv2d", bias and bias[0], weight)
    last = channels_last(x, x_strides) or channels_last(weight, w_strides)
    y = Operand(conv.out_shape, format_strides(conv.out_shape, last))
    h, w, k = conv.h, conv.w, conv.K // groups
    call = correlate_call(
        Operand(x, x_strides),
        Operand((k, *weight[1:]), w_strides),
        k * w_strides[0],
        y,
        bias[1][0] if bias else 0,
        groups,
        (h.stride, w.stride),
        (-h.pad, -w.pad),
        (h.dilation, w.dilation),
        dtype,
        precision,
        device,
    )
    return _Plan(y, dtype, call)
