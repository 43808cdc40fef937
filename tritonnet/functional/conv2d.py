"""Two-dimensional convolution, with gradients of every order."""

from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels
from tritonnet.errors import ShapeError

from ._function import Function
from .matmul import ColumnSum, autocast_dtype

Pair = int | tuple[int, int]
Shape = tuple[Pair, Pair | str, Pair, int]
"""stride, padding, dilation, groups."""


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """y[n, k, p, q] = bias[k] + sum over c, r, s of input[n, c, h, w] weight[k, c, r, s].

    h = p stride_h + r dilation_h - padding_h, and w likewise; the input is 0 outside of the image.

    Under autocast input and weight are rounded to the autocast dtype as the kernel reads them, and y has that dtype;
    gradients have the dtypes of what they belong to. Float64 tensors are left alone. Differentiable any number of
    times. Nothing is copied.

    Args:
        input: [N, C, H, W] or [C, H, W], float32/float16/bfloat16/float64, any strides.
        weight: [K, C // groups, R, S], of input's dtype, any strides.
        bias: [K], of input's dtype, any stride.
        stride, dilation: pixels between windows, and between the taps of one; an int or (height, width), at least 1.
        padding: pixels of zeros on each side, an int or (height, width); or "valid", none, or "same", for P, Q = H, W.
        groups: divides C and K; output channels of a group sum over the input channels of that group.

    Returns: [N, K, P, Q] or [K, P, Q], P = (H + 2 padding_h - dilation_h (R - 1) - 1) // stride_h + 1 and Q likewise;
        channels_last where torch takes input or weight for channels_last, else contiguous.

    Raises: ShapeError for ranks, sizes or hyper-parameters that do not fit; DtypeError for mixed or other dtypes;
        DeviceError for tensors on different devices.
    """
    if input.ndim == 3:
        return conv2d(input[None], weight, bias, stride, padding, dilation, groups)[0]
    if input.ndim != 4:
        raise ShapeError(f"conv2d: input is {tuple(input.shape)}; it takes [N, C, H, W] or [C, H, W]")
    dtype = autocast_dtype(input, weight)
    y: Tensor = _Conv2d.apply(input, weight, bias, (stride, padding, dilation, groups), dtype)
    return y


class _Conv2d(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, shape: Shape, dtype: torch.dtype | None
    ) -> Tensor:
        y: Tensor = kernels.conv2d(x, weight, bias, *shape, dtype=dtype)
        ctx.save_for_backward(x, weight)
        ctx.shape, ctx.dtype = shape, dtype or x.dtype
        ctx.bias_dtype = bias if bias is None else bias.dtype
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        dx = _GradInput.apply(dy, weight, x, ctx.shape, ctx.dtype) if needs_x else None
        dweight = _GradWeight.apply(dy, x, weight, ctx.shape, ctx.dtype) if needs_weight else None
        dbias = ColumnSum.apply(dy.permute(0, 2, 3, 1), ctx.bias_dtype) if needs_bias else None
        return dx, dweight, dbias, None, None


class _GradInput(Function):
    """(dy, weight, x for its shape and dtype, shape, dtype) -> dx: linear in dy and in weight."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, weight: Tensor, x: Tensor, shape: Shape, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(dy, weight)
        ctx.shape, ctx.dtype = shape, dtype
        dx: Tensor = kernels.conv2d_grad_input(dy, weight, x.shape, *shape, dtype=dtype, out_dtype=x.dtype)
        return dx

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> tuple[Tensor | None, ...]:
        dy, weight = ctx.saved_tensors
        ddy = _Conv2d.apply(ddx, weight, None, ctx.shape, ctx.dtype) if ctx.needs_input_grad[0] else None
        dweight = _GradWeight.apply(dy, ddx, weight, ctx.shape, ctx.dtype) if ctx.needs_input_grad[1] else None
        return ddy, dweight, None, None, None


class _GradWeight(Function):
    """(dy, x, weight for its shape and dtype, shape, dtype) -> dweight: linear in dy and in x."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, x: Tensor, weight: Tensor, shape: Shape, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(dy, x)
        ctx.shape, ctx.dtype = shape, dtype
        dweight: Tensor = kernels.conv2d_grad_weight(dy, x, weight.shape, *shape, dtype=dtype, out_dtype=weight.dtype)
        return dweight

    @staticmethod
    def backward(ctx: Any, ddweight: Tensor) -> tuple[Tensor | None, ...]:
        dy, x = ctx.saved_tensors
        ddy = _Conv2d.apply(x, ddweight, None, ctx.shape, ctx.dtype) if ctx.needs_input_grad[0] else None
        dx = _GradInput.apply(dy, ddweight, x, ctx.shape, ctx.dtype) if ctx.needs_input_grad[1] else None
        return ddy, dx, None, None, None
