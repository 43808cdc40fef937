"""Cross-entropy of logits and class indices or class probabilities."""

from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels
from tritonnet.errors import BackwardError, ShapeError

from ._function import Function
from ._once import once_differentiable
from ._reduction import legacy_reduction
from .matmul import autocasts


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """With class indices t = target_r: loss_r = -(1 - s) w_t log p_t - s / C sum_c w_c log p_c,
    with class probabilities:      loss_r = -sum_c w_c ((1 - s) target_rc + s / C) log p_c,
    where log p = log-softmax(input_r).

    "mean" is sum_r loss_r / sum_r w_t over the rows whose target is not ignore_index; with class probabilities it is
    over the number of rows. It is NaN where there are none.
    Statistics and sums are float32 (float64 for float64 input). Under autocast the loss is float32.

    Args:
        input: logits [N, C], [C] or [N, C, d1, ...], float32/float16/bfloat16/float64, any strides.
        target: class indices [N], [] or [N, d1, ...], int64 or uint8; or class probabilities of input's shape and any
            floating-point dtype. Any strides.
        weight: a weight for each class [C]; no gradient is computed for it.
        ignore_index: class indices of this value count for nothing.
        reduction: "mean", "sum" or "none".
        label_smoothing: s in [0, 1].
        size_average, reduce: the old spelling of reduction, which it overrules.

    Returns: [], for "none" the shape of input without classes; of input's dtype, with class probabilities of that to
        which torch promotes input, target and weight.
    Raises: ShapeError for shapes or hyper-parameters that do not fit, DtypeError for other dtypes of target or weight,
        ClassIndexError for a class outside of the C (on a GPU: a device-side assertion), BackwardError for a weight
        that requires a gradient and for the gradient of the gradient.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    refuse_weight_gradient("cross_entropy", weight)
    dtype = loss_dtype(input)
    loss: Tensor
    if target.is_floating_point():
        if ignore_index >= 0:
            raise ShapeError(f"cross_entropy: ignore_index is {ignore_index}; class probabilities have no index")
        loss = _SoftCrossEntropy.apply(input, target, weight, (reduction, label_smoothing), dtype)
    else:
        loss = _CrossEntropy.apply(input, target, weight, (ignore_index, reduction, label_smoothing), dtype)
    return loss


def refuse_weight_gradient(name: str, weight: Tensor | None) -> None:
    """Raises BackwardError for class weights that require a gradient."""
    if weight is not None and weight.requires_grad and torch.is_grad_enabled():
        raise BackwardError(f"{name}: weight requires a gradient, which is not computed; pass weight.detach()")


def loss_dtype(input: Tensor) -> torch.dtype | None:
    """float32 for what autocast widens; None: no other than without it."""
    return torch.float32 if autocasts(input.device.type) and input.dtype != torch.float64 else None


class _CrossEntropy(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        target: Tensor,
        weight: Tensor | None,
        options: tuple[int, str, float],
        dtype: torch.dtype | None,
    ) -> Tensor:
        loss: Tensor
        loss, statistics, total = kernels.cross_entropy(x, target, weight, *options, dtype)
        ctx.save_for_backward(x, target, statistics, total, weight)
        ctx.options = options
        return loss

    @staticmethod
    @once_differentiable("cross_entropy")
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor, None, None, None, None]:
        return kernels.cross_entropy_backward(dloss, *ctx.saved_tensors, *ctx.options), None, None, None, None


class _SoftCrossEntropy(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        target: Tensor,
        weight: Tensor | None,
        options: tuple[str, float],
        dtype: torch.dtype | None,
    ) -> Tensor:
        loss: Tensor
        loss, statistics, total = kernels.soft_cross_entropy(x, target, weight, *options, dtype)
        ctx.save_for_backward(x, target, statistics, total, weight)
        ctx.options = options
        return loss

    @staticmethod
    @once_differentiable("cross_entropy")
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        needs = ctx.needs_input_grad[:2]
        dx, dtarget = kernels.soft_cross_entropy_backward(dloss, *ctx.saved_tensors, *ctx.options, needs)
        return dx, dtarget, None, None, None
