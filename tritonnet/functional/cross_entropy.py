"""Cross-entropy of logits and class indices."""

from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels
from tritonnet.errors import BackwardError

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
    """loss_r = -(1 - s) w_t log p_t - s / C sum_c w_c log p_c, where log p = log-softmax(input_r), t = target_r.

    "mean" is sum_r loss_r / sum_r w_t over the rows whose target is not ignore_index; NaN where there are none.
    Statistics and sums are float32 (float64 for float64 input). Under autocast the loss is float32.

    Args:
        input: logits [N, C], [C] or [N, C, d1, ...], float32/float16/bfloat16/float64, any strides.
        target: int64 class indices [N], [] or [N, d1, ...], any strides.
        weight: a weight for each class [C]; no gradient is computed for it.
        reduction: "mean", "sum" or "none".
        label_smoothing: s in [0, 1].
        size_average, reduce: the old spelling of reduction, which it overrules.

    Returns: [], for "none" the shape of target; of input's dtype.
    Raises: ShapeError for shapes or hyper-parameters that do not fit, DtypeError for targets that are not int64,
        ClassIndexError for a class outside of the C (on a GPU: a device-side assertion), BackwardError for a weight
        that requires a gradient and for the gradient of the gradient.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    if weight is not None and weight.requires_grad and torch.is_grad_enabled():
        raise BackwardError("cross_entropy: weight requires a gradient, which is not computed; pass weight.detach()")
    widened = autocasts(input.device.type) and input.dtype != torch.float64
    dtype = torch.float32 if widened else None
    loss: Tensor = _CrossEntropy.apply(input, target, weight, (ignore_index, reduction, label_smoothing), dtype)
    return loss


class _CrossEntropy(torch.autograd.Function):
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
        loss, high, log_sum, total = kernels.cross_entropy(x, target, weight, *options, dtype)
        ctx.save_for_backward(x, target, high, log_sum, total, weight)
        ctx.options = options
        return loss

    @staticmethod
    @once_differentiable("cross_entropy")
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor, None, None, None, None]:
        return kernels.cross_entropy_backward(dloss, *ctx.saved_tensors, *ctx.options), None, None, None, None
