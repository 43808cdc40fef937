"""relu, with gradients of every order."""

from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels
from tritonnet.errors import BackwardError


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """y = max(input, 0); NaN stays NaN. The gradient is read off y, so that the input need not be kept.

    Args:
        input: any shape, float32/float16/bfloat16/float64, any strides.
        inplace: overwrite input and return it.

    Returns: a tensor laid out in memory as input; with inplace, input.
    Raises: BackwardError for inplace on a leaf that requires a gradient or a view of one, ShapeError for inplace on an
        expanded tensor.
    """
    if not inplace:
        y: Tensor = _Relu.apply(input)
        return y
    check_writable("relu", input)
    _ReluInplace.apply(input)
    return input


def check_writable(name: str, input: Tensor) -> None:
    """Raises BackwardError where operation `name` may not overwrite `input`; before anything is written."""
    if not torch.is_grad_enabled():
        return
    for what, tensor in (("", input), ("a view of ", input._base)):
        if tensor is not None and tensor.is_leaf and tensor.requires_grad:
            raise BackwardError(
                f"{name}: inplace would overwrite {what}a leaf that requires a gradient; use inplace=False"
            )


class _Relu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y: Tensor = kernels.relu(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        dx: Tensor = ReluGradient.apply(dy, y)
        return dx


class _ReluInplace(_Relu):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        kernels.relu_(x)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x


class ReluGradient(torch.autograd.Function):
    """(dy, y = relu(x)) -> dx. It is linear in dy, and where it steps does not depend on dy."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(y)
        dx: Tensor = kernels.relu_backward(dy, y)
        return dx

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return ReluGradient.apply(ddx, y), None
