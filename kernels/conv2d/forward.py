"""conv2d, an implicit matrix product."""

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._launch import launch
from .._op import op
from .._tile import wide_dtype
from .correlate import correlate_call
from .geometry import Padding, Pair, geometry, hashable
from .plan import Call, Given, Operand, checked, key, result


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
    steps = (stride, padding, dilation, groups)
    _, dtype = checked("conv2d", x.shape, weight.shape, steps, dtype, x=x, weight=weight, bias=bias)
    wide = wide_dtype(dtype)
    bias = None if bias is None else bias.to(wide)
    x, weight = x.to(dtype).to(wide), weight.to(dtype).to(wide)
    return torch.conv2d(x, weight, bias, *steps).to(dtype)


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
    plan = _plan(key(x, weight, bias, stride, padding, dilation, groups, dtype))
    y = plan.y.empty(x.device)
    launch(plan.call.kernel, plan.call.grid, x, weight, bias, y, *plan.call.sizes, **plan.call.constexprs)
    return y


class _Plan(NamedTuple):
    y: Operand
    call: Call


@functools.lru_cache(maxsize=4096)
def _plan(by: tuple[Any, ...]) -> _Plan:
    """Checks a call and says what it allocates and launches."""
    of = Given.by(by)
    x, weight, steps = of.left, of.right, of.steps
    bias = of.other and Operand(*of.other)
    conv, dtype = checked("conv2d", x.shape, weight.shape, steps, of.dtype, x=x, weight=weight, bias=bias)
    y = result(conv.out_shape, dtype, x, weight)
    h, w, k = conv.h, conv.w, conv.K // conv.groups
    call = correlate_call(
        x,
        weight._replace(shape=(k, *weight.shape[1:])),
        k * weight.strides[0],
        y,
        bias.strides[0] if bias else 0,
        conv.groups,
        (h.stride, w.stride),
        (-h.pad, -w.pad),
        (h.dilation, w.dilation),
        dtype,
        of.precision,
        of.device,
    )
    return _Plan(y, call)
