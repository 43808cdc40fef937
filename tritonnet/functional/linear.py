"""The product of rows with a weight, plus bias, and an activation, in one kernel."""

from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels
from tritonnet.errors import DtypeError, ShapeError

from ._once import once_differentiable
from .matmul import autocast_dtype, column_sum, multiply, product_like
from .pointwise import ReluGradient


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None, *, activation: str | None = None) -> Tensor:
    """y = act(x W^T + bias), in one kernel; its gradient finds those of act and of bias in one pass.

    Under autocast input and weight are rounded to the autocast dtype as the kernel reads them, and y has that dtype;
    gradients have the dtypes of what they belong to. Float64 tensors are left alone. Differentiable any number of
    times, with "gelu", "gelu_tanh" and "silu" once. Nothing is copied but a view of the input, or of y's gradient,
    whose rows no single stride walks, for the gradient of the weight.

    Args:
        input: [..., in_features], float32/float16/bfloat16/float64, any strides.
        weight: [out_features, in_features], of input's dtype, any strides.
        bias: [out_features], of input's dtype, any stride.
        activation: None, "relu", "gelu" (with erf), "gelu_tanh" or "silu".

    Returns: [..., out_features], contiguous.
    Raises: ShapeError for ranks, sizes or an activation that do not fit; DtypeError for mixed or other dtypes;
        DeviceError for tensors on different devices; BackwardError for the gradient of the gradient of an activation
        other than "relu".
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
    trained = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (input, weight, bias))
    y: Tensor = _Linear.apply(input, weight, bias, activation or "none", dtype, trained)
    return y


class _Linear(torch.autograd.Function):
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
        ctx.save_for_backward(x, weight, kept)
        ctx.activation, ctx.dtype = activation, dtype or x.dtype
        ctx.bias_dtype = bias if bias is None else bias.dtype
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, kept = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        dz, dbias = _epilogue_gradient(ctx, dy, kept, ctx.bias_dtype if needs_bias else None)
        dx = multiply(dz, weight, ctx.dtype, x.dtype) if needs_x else None
        dweight = product_like(weight, dz.mT, x, ctx.dtype) if needs_weight else None
        return dx, dweight, dbias, None, None, None


def _epilogue_gradient(
    ctx: Any, dy: Tensor, kept: Tensor | None, bias_dtype: torch.dtype | None
) -> tuple[Tensor, Tensor | None]:
    """The gradients of what act was applied to, and of the bias where its dtype is given."""
    if kept is not None and not (torch.is_grad_enabled() and ctx.activation == "relu"):
        return _fused(ctx, dy, kept, bias_dtype)
    dz = dy if kept is None else ReluGradient.apply(dy, kept)
    return dz, None if bias_dtype is None else column_sum(dz, bias_dtype)


@once_differentiable("linear with an activation")
def _fused(ctx: Any, dy: Tensor, kept: Tensor, bias_dtype: torch.dtype | None) -> tuple[Tensor, Tensor | None]:
    dz, dbias = kernels.matmul_epilogue_backward(dy, kept, ctx.activation, bias_dtype)
    return dz, dbias
