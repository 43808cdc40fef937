"""softmax, log_softmax and softmin, with gradients of two orders."""

import warnings
from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels

from ._function import Function
from ._once import once_differentiable
from .matmul import autocasts


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Tensor:
    """y_i = exp(x_i) / sum_j exp(x_j) along `dim`.

    The largest x_j is subtracted first; a row of nothing but -inf, or with inf or NaN in it, becomes NaN. Gradients are
    read off y, so that the input need not be kept; they can be differentiated once more. Under autocast the result is
    float32.

    Args:
        input: any shape, float32/float16/bfloat16/float64, any strides; integers and bool too where `dtype` is given.
        dim: the dimension of the sum. Without it a warning, and 0 for 0, 1 and 3 dimensions, else 1.
        dtype: to which the input is rounded first, and of the result.

    Returns: a tensor laid out in memory as input.
    Raises: ShapeError for a dimension that input does not have, DtypeError for other dtypes, BackwardError for a third
        derivative.
    """
    return _apply("softmax", input, dim, _stacklevel, dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """y_i = x_i - log sum_j exp(x_j) along `dim`: the logarithm of softmax, to full precision. Otherwise as softmax."""
    return _apply("log_softmax", input, dim, _stacklevel, dtype)


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Tensor:
    """y_i = exp(-x_i) / sum_j exp(-x_j) along `dim`: softmax of -x. Otherwise as softmax."""
    return _apply("softmin", input, dim, _stacklevel, dtype)


def _apply(name: str, input: Tensor, dim: int | None, stacklevel: int, dtype: torch.dtype | None) -> Tensor:
    if dim is None:
        dim = _implicit_dim(name, input.dim(), stacklevel + 1)
    if dtype is None and input.is_floating_point() and input.dtype != torch.float64 and autocasts(input.device.type):
        dtype = torch.float32
    y: Tensor = _Softmax.apply(input, dim, name == "log_softmax", name == "softmin", dtype)
    return y


def _implicit_dim(name: str, rank: int, stacklevel: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if rank in (0, 1, 3) else 1


class _Softmax(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, log: bool, negate: bool, dtype: torch.dtype | None) -> Tensor:
        y: Tensor = kernels.softmax(x, dim, log, negate, dtype)
        ctx.save_for_backward(y)
        ctx.options = dim, log, negate, x.dtype
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        gradient = SoftmaxGradient.apply if torch.is_grad_enabled() else kernels.softmax_backward
        return gradient(dy, y, *ctx.options), None, None, None, None


class SoftmaxGradient(Function):
    """(dy, y, dim, log, negate, dtype) -> dx; see kernels.softmax_backward."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, y: Tensor, dim: int, log: bool, negate: bool, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(dy, y)
        ctx.options = dim, log, negate
        dx: Tensor = kernels.softmax_backward(dy, y, dim, log, negate, dtype)
        return dx

    @staticmethod
    @once_differentiable("the gradient of softmax")
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        return *kernels.softmax_double_backward(v, *ctx.saved_tensors, *ctx.options), None, None, None, None
