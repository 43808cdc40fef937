"""The product of rows with a weight, plus bias, and an activation, in one kernel."""

from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels
from tritonnet.errors import DtypeError, ShapeError, dtype_name
from tritonnet.kernels.pointwise.ops import ACTIVATIONS

from ._function import Function
from .matmul import autocast_dtype, column_sum, multiply, product_like
from .pointwise import ReluGradient
from .pointwise.gradients import differentiate


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None, *, activation: str | None = None) -> Tensor:
    """y = act(x W^T + bias), in one kernel; its gradient finds those of act and of bias in one pass.

    Under autocast input and weight are rounded to the autocast dtype as the kernel reads them, and y has that dtype;
    gradients have the dtypes of what they belong to. Float64 tensors are left alone. Differentiable any number of
    times, with "gelu", "gelu_tanh" and "silu" twice. Nothing is copied but a view of the input, or of y's gradient,
    whose rows no single stride walks, for the gradient of the weight.

    Args:
        input: [..., in_features], float32/float16/bfloat16/float64, any strides.
        weight: [out_features, in_features], of input's dtype, any strides.
        bias: [out_features], of input's dtype, any stride.
        activation: None, "relu", "gelu" (with erf), "gelu_tanh" or "silu".

    Returns: [..., out_features], contiguous.
    Raises: ShapeError for ranks, sizes or an activation that do not fit; DtypeError for mixed or other dtypes;
        DeviceError for tensors on different devices; BackwardError for a third derivative of an activation other than
        "relu".
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
        given = ", ".join(dtype_name(t.dtype) for t in (input, weight, bias) if t is not None)
        raise DtypeError(f"linear: got {given}; input, weight and bias need to have one dtype")
    if input.ndim == 1:
        return linear(input[None], weight, bias, activation=activation)[0]
    trained = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (input, weight, bias))
    y: Tensor = _Linear.apply(input, weight, bias, activation or "none", dtype, trained)
    return y


class _Linear(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        activation: str,
        dtype: torch.dtype | None,
        trained: bool,
    ) -> Tensor:
        with_pre = trained and activation not in ("none", "relu")
        found = kernels.matmul(x, weight.mT, bias, activation=activation, dtype=dtype, with_pre=with_pre)
        y, kept = found if with_pre else (found, found if activation == "relu" else None)
        ctx.save_for_backward(x, weight, kept, bias if with_pre else None)
        ctx.activation, ctx.dtype = activation, dtype or x.dtype
        ctx.bias_dtype = bias if bias is None else bias.dtype
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, kept, bias = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        bias_dtype = ctx.bias_dtype if needs_bias else None
        if kept is not None and not torch.is_grad_enabled():
            dz, dbias = kernels.matmul_epilogue_backward(dy, kept, ctx.activation, bias_dtype)
        else:
            dz = _recorded_gradient(ctx, dy, x, weight, bias, kept)
            dbias = None if bias_dtype is None else column_sum(dz, bias_dtype)
        dx = multiply(dz, weight, ctx.dtype, x.dtype) if needs_x else None
        dweight = product_like(weight, dz.mT, x, ctx.dtype) if needs_weight else None
        return dx, dweight, dbias, None, None, None


def _recorded_gradient(
    ctx: Any, dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, kept: Tensor | None
) -> Tensor:
    """The gradient of what act was applied to, as a function of dy, and of x, weight and bias where act bends."""
    if kept is None:
        return dy
    if ctx.activation == "relu":
        return ReluGradient.apply(dy, kept)
    # What was kept has the same values, but autograd does not know where they come from.
    z = _Linear.apply(x, weight, bias, "none", ctx.dtype, False)
    gradient = ACTIVATIONS[ctx.activation].of_x
    assert gradient is not None
    return differentiate(dy, z, gradient)
