"""The loss of logits and class indices, in one pass over the logits (two with label smoothing)."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._class_losses import (
    Sums,
    class_dim,
    load_target,
    load_weight,
    out_of_bounds,
    reduced_reference,
    store_losses,
)
from .._errors import KernelAssertionError
from .._launch import ASSERTED, launch
from .._op import op
from .._rows import add_to_sum_of_exp, columns, first_row, launches, row_block
from .._tile import wide_dtype
from .checks import check


@triton.jit
def _cross_entropy_kernel(
    x_ptr, target_ptr, statistics_ptr, loss_ptr, weight_ptr, total_ptr, sums_ptr,
    R, C, n2, sxc, sx1, sx2, sx3, st1, st2, st3, ss1, ss2, ss3, sl1, sl2, sl3,
    ss0, sw, ignore_index, smoothing: "fp64",
    REDUCTION: tl.constexpr, SMOOTH: tl.constexpr, INT64: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, WHOLE: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    acc: tl.constexpr = statistics_ptr.dtype.element_ty
    row = row_block(R, BLOCK_R, INT64)
    rows = tl.expand_dims(row, AXIS)
    valid = row < R
    target_ptrs = target_ptr + first_row(R, n2, st2, st3, BLOCK_R) + row * st1
    target, counted = load_target(target_ptrs, valid, C, ignore_index)
    x_ptr += first_row(R, n2, sx2, sx3, BLOCK_R)
    x_rows = x_ptr + rows * sx1

    high = tl.full((BLOCK_R,), float("-inf"), acc)
    total = tl.zeros((BLOCK_R,), acc)
    for start in range(0, C, BLOCK_C):
        cols = columns(start, BLOCK_C, AXIS, INT64)
        x = tl.load(x_rows + cols * sxc, mask=(rows < R) & (cols < C), other=0.0).to(acc)
        high, total = add_to_sum_of_exp(high, total, x, cols < C, AXIS)
    log_sum = tl.log(total)
    statistics_ptrs = statistics_ptr + first_row(R, n2, ss2, ss3, BLOCK_R) + row * ss1
    tl.store(statistics_ptrs, high, mask=valid)
    tl.store(statistics_ptrs + ss0, log_sum, mask=valid)

    weight = load_weight(weight_ptr, sw, target, counted, acc)
    x_target = tl.load(x_ptr + row * sx1 + target * sxc, mask=counted, other=0.0).to(acc)
    loss = weight * (high - x_target + log_sum)
    if SMOOTH:
        spread = tl.zeros((BLOCK_R,), acc)
        for start in range(0, C, BLOCK_C):
            cols = columns(start, BLOCK_C, AXIS, INT64)
            x = tl.load(x_rows + cols * sxc, mask=(rows < R) & (cols < C), other=0.0).to(acc)
            term = tl.expand_dims(high, AXIS) - x + tl.expand_dims(log_sum, AXIS)
            if weight_ptr is not None:
                term *= tl.load(weight_ptr + cols.to(tl.int64) * sw, mask=cols < C, other=0.0).to(acc)
            spread += tl.sum(tl.where(cols < C, term, 0.0), AXIS)
        loss = loss * tl.cast(1.0 - smoothing, acc) + spread * tl.cast(smoothing / C, acc)
    loss = tl.where(counted, loss, 0.0)
    loss_ptrs = loss_ptr + first_row(R, n2, sl2, sl3, BLOCK_R) + row * sl1
    store_losses(loss_ptr, total_ptr, sums_ptr, loss_ptrs, valid, loss, weight, REDUCTION)


def cross_entropy_reference(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    check(x, target, weight, reduction, label_smoothing)
    acc = wide_dtype(x.dtype)
    logits = x.to(acc).movedim(class_dim(x), -1)
    C = logits.shape[-1]
    high = logits.amax(-1)
    log_sum = (logits - high.unsqueeze(-1)).exp().sum(-1).log()
    log_p = logits - high.unsqueeze(-1) - log_sum.unsqueeze(-1)
    counted = target != ignore_index
    index = torch.where(counted, target, 0).long()
    weights = torch.ones(C, dtype=acc, device=x.device) if weight is None else weight.to(acc)
    try:
        of_target = torch.where(counted, weights[index], 0)
        loss = -(1 - label_smoothing) * of_target * log_p.gather(-1, index.unsqueeze(-1)).squeeze(-1)
    except (IndexError, RuntimeError) as error:
        raise out_of_bounds("cross_entropy", target, C, ignore_index) from error
    if label_smoothing:
        loss = loss - label_smoothing / C * (log_p * weights).sum(-1)
    loss, total = reduced_reference(torch.where(counted, loss, 0), of_target, reduction)
    return loss.to(dtype or x.dtype), torch.stack([high, log_sum]), total


@op(reference=cross_entropy_reference, flops=lambda x, *_, **__: 4 * x.numel())
def cross_entropy(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """loss_r = -(1 - s) w_t log p_t - s / C sum_c w_c log p_c, where log p = log-softmax(x_r), t = target_r.

    The mean is sum_r loss_r / sum_r w_t, over the rows whose target is not ignore_index; NaN where there are none.

    Args:
        x: logits [N, C], [C] or [N, C, d1, ...], any strides.
        target: int64 or uint8 class indices [N], [] or [N, d1, ...], any strides.
        weight: a weight for each class [C], any floating-point dtype; 1 if not given.
        ignore_index: targets of this value have loss and weight 0.
        reduction: "mean", "sum" or "none".
        label_smoothing: s in [0, 1].
        dtype: of the loss; that of `x` if not given. Statistics and sums are float32, for float64 logits float64.

    Returns: the loss ([], or the target's shape for "none"), and what the gradient needs: statistics [2, rows], the
        largest logit of each row and the log of its sum of exp(x - largest); the sum of w_t (None for "none").

    Raises: ShapeError for shapes or hyper-parameters that do not fit, DtypeError for targets that are not int64 or
        uint8 or a weight that is not floating-point, ClassIndexError for a class outside of the C (on a GPU: a
        device-side assertion).
    """
    check(x, target, weight, reduction, label_smoothing)
    statistics = x.new_empty((2, *target.shape), dtype=wide_dtype(x.dtype))
    loss = x.new_empty(target.shape if reduction == "none" else (), dtype=dtype or x.dtype)
    total = None if reduction == "none" else statistics.new_empty(())
    dim = class_dim(x)
    strides = target.stride(), statistics.stride()[1:], loss.stride() or (0,) * target.dim()
    each_launch = launches(x.shape, dim, (x.stride(),), strides, statistics.dtype, x.device)
    sums = Sums(each_launch, loss, total, reduction)
    for k, each in enumerate(each_launch):
        try:
            launch(
                _cross_entropy_kernel, (each.programs,),
                *each.tensors(x, target, statistics, loss), weight, total, sums.of(k),
                *each.integers, statistics.stride(0), 0 if weight is None else weight.stride(0),
                ignore_index, float(label_smoothing),
                REDUCTION=reduction, SMOOTH=label_smoothing != 0, **each.constexprs, **ASSERTED,
            )  # fmt: skip
        except KernelAssertionError as error:
            raise out_of_bounds("cross_entropy", target, x.shape[dim], ignore_index) from error
    sums.finish()
    return loss, statistics, total
