"""The loss of logits and class probabilities."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._class_losses import Sums, class_dim, reduced_reference, rows_of, store_losses
from .._launch import launch
from .._op import op
from .._rows import add_to_sum_of_exp, columns, first_row, launches, row_block
from .._tile import wide_dtype
from .checks import check_soft, soft_dtype


@triton.jit
def load_share(target_ptrs, weight_ptr, sw, cols, mask, C, smoothing, SMOOTH: tl.constexpr, acc: tl.constexpr):
    """What each class counts, w_c t_c with the targets smoothed; 0 beyond the last."""
    share = tl.load(target_ptrs, mask=mask, other=0.0).to(acc)
    if SMOOTH:
        share = share * tl.cast(1.0 - smoothing, acc) + tl.where(cols < C, tl.cast(smoothing / C, acc), 0.0)
    if weight_ptr is not None:
        share *= tl.load(weight_ptr + cols.to(tl.int64) * sw, mask=cols < C, other=0.0).to(acc)
    return share


@triton.jit
def _soft_cross_entropy_kernel(
    x_ptr, target_ptr, statistics_ptr, loss_ptr, weight_ptr, total_ptr, sums_ptr,
    R, C, n2, sxc, sx1, sx2, sx3, stc, st1, st2, st3, ss1, ss2, ss3, sl1, sl2, sl3,
    ss0, sw, smoothing: "fp64",
    REDUCTION: tl.constexpr, SMOOTH: tl.constexpr, INT64: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, WHOLE: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    acc: tl.constexpr = statistics_ptr.dtype.element_ty
    row = row_block(R, BLOCK_R, INT64)
    rows = tl.expand_dims(row, AXIS)
    valid = row < R
    x_rows = x_ptr + first_row(R, n2, sx2, sx3, BLOCK_R) + rows * sx1
    target_rows = target_ptr + first_row(R, n2, st2, st3, BLOCK_R) + rows * st1

    high = tl.full((BLOCK_R,), float("-inf"), acc)
    total = tl.zeros((BLOCK_R,), acc)
    for start in range(0, C, BLOCK_C):
        cols = columns(start, BLOCK_C, AXIS, INT64)
        x = tl.load(x_rows + cols * sxc, mask=(rows < R) & (cols < C), other=0.0).to(acc)
        high, total = add_to_sum_of_exp(high, total, x, cols < C, AXIS)
    log_sum = tl.log(total)

    mass = tl.zeros((BLOCK_R,), acc)
    loss = tl.zeros((BLOCK_R,), acc)
    for start in range(0, C, BLOCK_C):
        cols = columns(start, BLOCK_C, AXIS, INT64)
        mask = (rows < R) & (cols < C)
        x = tl.load(x_rows + cols * sxc, mask=mask, other=0.0).to(acc)
        share = load_share(target_rows + cols * stc, weight_ptr, sw, cols, mask, C, smoothing, SMOOTH, acc)
        term = share * (tl.expand_dims(high, AXIS) - x + tl.expand_dims(log_sum, AXIS))
        mass += tl.sum(share, AXIS)
        loss += tl.sum(tl.where(mask, term, 0.0), AXIS)
    statistics_ptrs = statistics_ptr + first_row(R, n2, ss2, ss3, BLOCK_R) + row * ss1
    tl.store(statistics_ptrs, high, mask=valid)
    tl.store(statistics_ptrs + ss0, log_sum, mask=valid)
    tl.store(statistics_ptrs + ss0 + ss0, mass, mask=valid)
    loss_ptrs = loss_ptr + first_row(R, n2, sl2, sl3, BLOCK_R) + row * sl1
    store_losses(loss_ptr, total_ptr, sums_ptr, loss_ptrs, valid, loss, valid.to(acc), REDUCTION)


def soft_cross_entropy_reference(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    check_soft(x, target, weight, reduction, label_smoothing)
    acc = wide_dtype(x.dtype)
    logits, share = (tensor.to(acc).movedim(class_dim(x), -1) for tensor in (x, target))
    high = logits.amax(-1)
    log_sum = (logits - high.unsqueeze(-1)).exp().sum(-1).log()
    share = share * (1 - label_smoothing) + label_smoothing / logits.shape[-1]
    share = share if weight is None else share * weight.to(acc)
    loss = (share * (high.unsqueeze(-1) - logits + log_sum.unsqueeze(-1))).sum(-1)
    loss, total = reduced_reference(loss, torch.ones_like(loss), reduction)
    return loss.to(dtype or soft_dtype(x, target, weight)), torch.stack([high, log_sum, share.sum(-1)]), total


@op(reference=soft_cross_entropy_reference, flops=lambda x, *_, **__: 7 * x.numel())
def soft_cross_entropy(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """loss_r = -sum_c w_c ((1 - s) t_rc + s / C) log p_c, where log p = log-softmax(x_r), t = target.

    The mean is over the rows, of whatever weight; NaN where there are none.

    Args:
        x: logits [N, C], [C] or [N, C, d1, ...], any strides.
        target: probabilities of x's shape (nothing tests that they are such), any floating-point dtype and strides.
        weight: a weight for each class [C], any floating-point dtype; 1 if not given.
        reduction: "mean", "sum" or "none".
        label_smoothing: s in [0, 1].
        dtype: of the loss; by default what torch promotes those of x, target and weight to. Statistics and sums are
            float32, for float64 logits float64.

    Returns: the loss ([], or x's shape without classes for "none"), and what the gradient needs: statistics [3, rows],
        the largest logit of each row, the log of its sum of exp(x - largest), the sum of its w_c t_c with t smoothed;
        the number of rows (None for "none").

    Raises: ShapeError for shapes or hyper-parameters that do not fit, DtypeError for dtypes.
    """
    check_soft(x, target, weight, reduction, label_smoothing)
    rows = rows_of(x)
    statistics = x.new_empty((3, *rows), dtype=wide_dtype(x.dtype))
    loss = x.new_empty(rows if reduction == "none" else (), dtype=dtype or soft_dtype(x, target, weight))
    total = None if reduction == "none" else statistics.new_empty(())
    row_strides = statistics.stride()[1:], loss.stride() or (0,) * len(rows)
    strides = x.stride(), target.stride()
    each_launch = launches(x.shape, class_dim(x), strides, row_strides, statistics.dtype, x.device)
    sums = Sums(each_launch, loss, total, reduction)
    for k, each in enumerate(each_launch):
        launch(
            _soft_cross_entropy_kernel, (each.programs,),
            *each.tensors(x, target, statistics, loss), weight, total, sums.of(k),
            *each.integers, statistics.stride(0), 0 if weight is None else weight.stride(0), float(label_smoothing),
            REDUCTION=reduction, SMOOTH=label_smoothing != 0, **each.constexprs,
        )  # fmt: skip
    sums.finish()
    return loss, statistics, total
