"""The product of rows with a weight, plus bias, and relu, with gradients of every order."""

from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels
from tritonnet.errors import DtypeError, ShapeError

from .matmul import autocast_dtype, column_sum, multiply, product_like
from .relu import ReluGradient


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None, *, activation: str | None = None) -> Tensor:
    """y = act(x W^T + bias), act(z) = z or max(z, 0), in one kernel.

    Under autocast input and weight are rounded to the autocast dtype as the kernel reads them, and y has that dtype;
    gradients have the dtypes of what they belong to. Float64 tensors are left alone. Differentiable any number of
    times. Nothing is copied but a view of the input, or of y's gradient, whose rows no single stride walks, for the
    gradient of the weight.

    Args:
        input: [..., in_features], float32/float16/bfloat16/float64, any strides.
        weight: [out_features, in_features], of input's dtype, any strides.
        bias: [out_features], of input's dtype, any stride.
        activation: None or "relu".

    Returns: [..., out_features], contiguous.
    Raises: ShapeError for ranks, sizes or an activation that do not fit; DtypeError for mixed or other dtypes;
        DeviceError for tensors on different devices.
    """
    if input.ndim == 0 or weight.ndim != 2:
        raise ShapeError(
            f"linear: input is {tuple(input.shape)} and weight is {tuple(weight.shape)}; "
            "input needs at least one dimension, and weight two"
        )
    if input.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: input is {tuple(input.shape)} and weight is {tuple(weight.shape)}; "
            f"their last sizes {input.shape[-1]} and {weight.shape[1]} differ"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"linear: bias is {tuple(bias.shape)}; it needs to be ({weight.shape[0]},) as weight has rows")
    dtype = autocast_dtype(input, weight)
    if dtype is None and (input.dtype != weight.dtype or (bias is not None and bias.dtype != input.dtype)):
        given = ", ".join(str(t.dtype).removeprefix("torch.") for t in (input, weight, bias) if t is not None)
        raise DtypeError(f"linear: got {given}; input, weight and bias need to have one dtype")
    if input.ndim == 1:
        return linear(input[None], weight, bias, activation=activation)[0]
    y: Tensor = _Linear.apply(input, weight, bias, activation or "none", dtype)
    return y


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, dtype: torch.dtype | None
    ) -> Tensor:
        y: Tensor = kernels.matmul(x, weight.mT, bias, activation=activation, dtype=dtype)
        ctx.save_for_backward(x, weight, y if activation == "relu" else None)
        ctx.dtype = dtype or x.dtype
        ctx.bias_dtype = bias if bias is None else bias.dtype
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y = ctx.saved_tensors
        if y is not None:
            dy = ReluGradient.apply(dy, y)
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        dx = multiply(dy, weight, ctx.dtype, x.dtype) if needs_x else None
        dweight = product_like(weight, dy.mT, x, ctx.dtype) if needs_weight else None
        dbias = column_sum(dy, ctx.bias_dtype) if needs_bias else None
        return dx, dweight, dbias, None, None
