"""The loss of log-probabilities and class indices."""

from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels

from ._function import Function
from ._reduction import legacy_reduction
from .cross_entropy import loss_dtype, refuse_weight_gradient


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """loss_r = -w_t input_rt, where t = target_r.

    "mean" is sum_r loss_r / sum_r w_t over the rows whose target is not ignore_index; NaN where there are none. Sums
    are float32 (float64 for float64 input). Under autocast the loss is float32. Gradients of every order.

    Args:
        input: log-probabilities [N, C], [C] or [N, C, d1, ...], float32/float16/bfloat16/float64, any strides.
        target: class indices [N], [] or [N, d1, ...], int64 or uint8, any strides.
        weight: a weight for each class [C]; no gradient is computed for it.
        ignore_index: targets of this value count for nothing.
        reduction: "mean", "sum" or "none".
        size_average, reduce: the old spelling of reduction, which it overrules.

    Returns: [], for "none" the shape of target; of input's dtype.
    Raises: ShapeError for shapes that do not fit, DtypeError for targets that are not int64 or uint8, ClassIndexError
        for a class outside of the C (on a GPU: a device-side assertion), BackwardError for a weight that requires a
        gradient.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    refuse_weight_gradient("nll_loss", weight)
    loss: Tensor = _NllLoss.apply(input, target, weight, (ignore_index, reduction), loss_dtype(input))
    return loss


class _NllLoss(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        target: Tensor,
        weight: Tensor | None,
        options: tuple[int, str],
        dtype: torch.dtype | None,
    ) -> Tensor:
        loss: Tensor
        loss, total = kernels.nll_loss(x, target, weight, *options, dtype)
        ctx.save_for_backward(x, target, total, weight)
        ctx.options = options
        return loss

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor, None, None, None, None]:
        given = (dloss, *ctx.saved_tensors)
        if torch.is_grad_enabled():
            return NllLossGradient.apply(*given, ctx.options), None, None, None, None
        return kernels.nll_loss_backward(*given, *ctx.options), None, None, None, None


class NllLossGradient(Function):
    """(dloss, x, target, total, weight, options) -> dx. It is linear in dloss and does not depend on x's values."""

    @staticmethod
    def forward(
        ctx: Any,
        dloss: Tensor,
        x: Tensor,
        target: Tensor,
        total: Tensor | None,
        weight: Tensor | None,
        options: tuple[int, str],
    ) -> Tensor:
        ctx.save_for_backward(target, weight)
        ctx.options, ctx.dtype = options, dloss.dtype
        dx: Tensor = kernels.nll_loss_backward(dloss, x, target, total, weight, *options)
        return dx

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> tuple[Tensor | None, ...]:
        # The transpose of "minus the weights at the targets" is the loss itself.
        ddloss = _NllLoss.apply(ddx, *ctx.saved_tensors, ctx.options, ctx.dtype)
        return ddloss, None, None, None, None, None
