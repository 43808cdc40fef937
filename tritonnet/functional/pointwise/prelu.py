"""prelu, with gradients of every order."""

from typing import Any

import torch
from torch import Tensor

from tritonnet.errors import DtypeError, ShapeError, dtype_name
from tritonnet.kernels.pointwise import prelu as kernels

from .._function import Function
from ..matmul import autocast_dtype


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """y = input where input > 0, else weight input.

    The gradient of the weight is summed in float32 (float64 for float64), in one order. Under autocast y has the
    autocast dtype.

    Args:
        input: any shape and strides, float32/float16/bfloat16/float64; dimension 1 is that of channels.
        weight: one element for all, or [C] for the C channels; of input's dtype.

    Returns: a tensor laid out in memory as input.
    Raises: ShapeError for another number of weights, DtypeError for mixed or other dtypes.

    Source: He et al., Delving Deep into Rectifiers, 2015.
    """
    if weight.dim() > 1:
        raise ShapeError(f"prelu: weight is {tuple(weight.shape)}; it needs to be one number, or a vector")
    channels = input.shape[1] if input.dim() > 1 else 1
    if weight.numel() not in (1, channels):
        shapes = f"weight is {tuple(weight.shape)} and input is {tuple(input.shape)}"
        raise ShapeError(f"prelu: {shapes}; one weight is needed, or one for each of {channels} channels")
    dtype = autocast_dtype(input, weight)
    if dtype is None and input.dtype != weight.dtype:
        both = f"input is {dtype_name(input.dtype)} and weight is {dtype_name(weight.dtype)}"
        raise DtypeError(f"prelu: {both}; they need to have one dtype")
    y: Tensor = _PReLU.apply(input, weight.view(-1), dtype)
    return y


class _PReLU(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dtype: torch.dtype | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        y: Tensor = kernels.prelu(x, weight, dtype)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        dx = _Gradient.apply(dy, x, weight) if ctx.needs_input_grad[0] else None
        dweight = _Product.apply(x, x, dy, weight.numel(), weight.dtype) if ctx.needs_input_grad[1] else None
        return dx, dweight, None


class _Gradient(Function):
    """(dy, x, weight) -> dx, linear in dy and in weight."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(dy, x, weight)
        dx: Tensor = kernels.prelu_backward(dy, x, weight)
        return dx

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        dy, x, weight = ctx.saved_tensors
        needs_dy, _, needs_weight = ctx.needs_input_grad
        ddy = _Gradient.apply(ddx, x, weight) if needs_dy else None
        return ddy, None, _Product.apply(x, dy, ddx, weight.numel(), weight.dtype) if needs_weight else None


class _Product(Function):
    """(x, u, v) -> u v where x is not positive, else 0; summed for each of a number of channels, if one is given.

    Linear in u and in v, which are of x's shape or have a value for each channel, and in either case of each other.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, u: Tensor, v: Tensor, channels: int | None, dtype: torch.dtype | None) -> Tensor:
        ctx.save_for_backward(x, u, v)
        y: Tensor = kernels.prelu_product(x, u, v, channels, dtype)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[None, Tensor | None, Tensor | None, None, None]:
        x, u, v = ctx.saved_tensors

        def of(one: Tensor, other: Tensor) -> Tensor:
            channels = None if one.shape == x.shape else one.numel()
            found: Tensor = _Product.apply(x, dy, other, channels, one.dtype)
            return found

        du = of(u, v) if ctx.needs_input_grad[1] else None
        dv = of(v, u) if ctx.needs_input_grad[2] else None
        return None, du, dv, None, None
