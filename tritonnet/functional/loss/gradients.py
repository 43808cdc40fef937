"""A loss as functions that autograd differentiates, its gradient among them."""

from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels
from tritonnet.errors import BackwardError, DeviceError
from tritonnet.kernels.loss import derivative, name_of

from .._function import Function
from ..matmul import autocasts
from .checks import REDUCTIONS, check_reduction


def reduced(
    of: str,
    input: Tensor,
    target: Tensor,
    reduction: str,
    parameter: Tensor | float = 1.0,
    weight: Tensor | None = None,
    *,
    weighted_mean: bool = False,
    like: Tensor | None = None,
    reductions: tuple[str, ...] = REDUCTIONS,
) -> Tensor:
    """The loss of formula `of`.

    weighted_mean: a weighted mean is divided by the sum of the weights.
    like: which tensor's dtype the loss has; that of all promoted if not given.
    """
    check_reduction(of, reduction, reductions)
    if weighted_mean and weight is not None and reduction == "mean":
        reduction = "weighted mean"
    for role, tensor in (("target", target), ("weight", weight), ("pos_weight", parameter)):
        if isinstance(tensor, Tensor) and tensor.device != input.device:
            both = f"input is on {input.device} and {role} on {tensor.device}"
            raise DeviceError(f"{name_of(of)}: {both}; move them to one device first")
    autocast = autocasts(input.device.type)
    dtype = None
    for tensor in (like,) if like is not None else (input, target, weight):
        if tensor is not None:
            wide = autocast and tensor.dtype in (torch.float16, torch.bfloat16)
            own = torch.float32 if wide else tensor.dtype
            dtype = own if dtype is None else torch.promote_types(dtype, own)
    loss: Tensor = Loss.apply(of, input, target, weight, parameter, None, reduction, dtype)
    return loss


class Loss(Function):
    """(x, target, weight, factor) -> the reduced terms factor weight l(x, target; parameter)."""

    @staticmethod
    def forward(
        ctx: Any,
        of: str,
        x: Tensor,
        target: Tensor,
        weight: Tensor | None,
        parameter: Tensor | float,
        factor: Tensor | None,
        reduction: str,
        dtype: torch.dtype | None,
    ) -> Tensor:
        loss: Tensor
        loss, statistics = kernels.loss(of, x, target, weight, parameter, factor, reduction, dtype)
        _save(ctx, of, reduction, parameter, x, target, weight, factor, statistics)
        return loss

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        x, target, weight, factor, statistics, parameter = _saved(ctx)
        dx, dtarget, dweight, dfactor = _gradients(ctx, 1, dloss, x, target, weight, parameter, factor, statistics)
        return None, dx, dtarget, dweight, None, dfactor, None, None


class LossGradient(Function):
    """(dloss, x, target, weight, factor) -> the gradient of one of the last four: kernels.loss_gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        of: str,
        to: str,
        dloss: Tensor,
        x: Tensor,
        target: Tensor,
        weight: Tensor | None,
        parameter: Tensor | float,
        factor: Tensor | None,
        reduction: str,
        statistics: Tensor | None,
    ) -> Tensor:
        gradient: Tensor = kernels.loss_gradient(
            of, to, dloss, x, target, weight, parameter, factor, reduction, statistics
        )
        _save(ctx, of, reduction, parameter, x, target, weight, factor, statistics, dloss)
        ctx.to = to
        return gradient

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, target, weight, factor, statistics, dloss, parameter = _saved(ctx)
        name = name_of(ctx.of)
        if factor is not None:
            raise BackwardError(f"{name}: a third derivative is not offered (create_graph=True)")
        if statistics is not None and (ctx.to == "weight" or ctx.needs_input_grad[5]):
            raise BackwardError(
                f"{name}: the second derivative of a weighted mean by its weights is not offered; pass weight.detach()"
            )
        # The gradient is a sum of terms as the loss is, with g as a factor. Its own weight is none of it.
        weight = None if ctx.to == "weight" else weight
        ddloss = None
        if ctx.needs_input_grad[2]:
            ddloss = Loss.apply(ctx.of, x, target, weight, parameter, g, ctx.reduction, dloss.dtype)
        dx, dtarget, dweight, _ = _gradients(ctx, 3, dloss, x, target, weight, parameter, g, statistics)
        return None, None, ddloss, dx, dtarget, dweight, None, None, None, None


def _save(ctx: Any, of: str, reduction: str, parameter: Tensor | float, *tensors: Tensor | None) -> None:
    ctx.of, ctx.reduction = of, reduction
    ctx.number = None if isinstance(parameter, Tensor) else parameter
    ctx.save_for_backward(*tensors, parameter if ctx.number is None else None)


def _saved(ctx: Any) -> tuple[Any, ...]:
    """The tensors as they were given to _save, then the parameter."""
    *tensors, parameter = ctx.saved_tensors
    return *tensors, parameter if ctx.number is None else ctx.number


_OPERANDS = ((0, "x", "x"), (1, "target", "t"), (2, "weight", ""), (4, "factor", ""))


def _gradients(
    ctx: Any,
    first: int,
    dloss: Tensor,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    parameter: Tensor | float,
    factor: Tensor | None,
    statistics: Tensor | None,
) -> list[Tensor | None]:
    """What is needed of the gradients of x, target, weight and factor, whose places among the inputs begin at `first`;
    as something that can be differentiated where that is asked for."""
    gradient = LossGradient.apply if torch.is_grad_enabled() else kernels.loss_gradient
    found: list[Tensor | None] = []
    for place, to, by in _OPERANDS:
        if not ctx.needs_input_grad[first + place] or (to == "weight" and weight is None):
            found.append(None)
            continue
        of = derivative(ctx.of, by) if by else ctx.of
        if of is None:
            raise BackwardError(f"{name_of(ctx.of)}: this derivative by {to} is not offered")
        found.append(gradient(of, to, dloss, x, target, weight, parameter, factor, ctx.reduction, statistics))
    return found
