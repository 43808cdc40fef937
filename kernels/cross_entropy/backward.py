"""The gradient of cross_entropy of class indices, element by element from the statistics of the rows."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._class_losses import class_dim
from .._launch import launch
from .._op import op
from .._rows import columns, first_row, launches, row_block
from .checks import check, check_kept


@triton.jit
def _cross_entropy_backward_kernel(
    dx_ptr, x_ptr, target_ptr, statistics_ptr, dloss_ptr, weight_ptr, total_ptr,
    R, C, n2, sdxc, sdx1, sdx2, sdx3, sxc, sx1, sx2, sx3, st1, st2, st3, ss1, ss2, ss3, sdl1, sdl2, sdl3,
    ss0, sw, ignore_index, smoothing: "fp64",
    SMOOTH: tl.constexpr, INT64: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, WHOLE: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    acc: tl.constexpr = statistics_ptr.dtype.element_ty
    rows = tl.expand_dims(row_block(R, BLOCK_R, INT64), AXIS)
    valid = rows < R
    target_ptrs = target_ptr + first_row(R, n2, st2, st3, BLOCK_R) + rows * st1
    target = tl.load(target_ptrs, mask=valid, other=0).to(tl.int64)
    counted = valid & (target != ignore_index)
    statistics_ptrs = statistics_ptr + first_row(R, n2, ss2, ss3, BLOCK_R) + rows * ss1
    high = tl.load(statistics_ptrs, mask=valid, other=0.0)
    log_sum = tl.load(statistics_ptrs + ss0, mask=valid, other=0.0)
    dloss = tl.load(dloss_ptr + first_row(R, n2, sdl2, sdl3, BLOCK_R) + rows * sdl1, mask=valid, other=0.0).to(acc)
    if total_ptr is not None:
        dloss /= tl.load(total_ptr)
    # What does not count has no gradient even where dloss is 0 / 0.
    dloss = tl.where(counted, dloss, 0.0)
    at_target = dloss * tl.cast(1.0 - smoothing, acc)
    if weight_ptr is not None:
        at_target *= tl.load(weight_ptr + target * sw, mask=counted, other=0.0).to(acc)
    cols = columns(tl.program_id(1) * BLOCK_C, BLOCK_C, AXIS, INT64)
    mask = valid & (cols < C)
    x = tl.load(x_ptr + first_row(R, n2, sx2, sx3, BLOCK_R) + rows * sx1 + cols * sxc, mask=mask, other=0.0).to(acc)
    share = tl.exp(x - high - log_sum)
    if not SMOOTH:
        dx = at_target * tl.where(cols == target, share - 1.0, share)
    elif weight_ptr is None:
        evenly = dloss * tl.cast(smoothing / C, acc)
        dx = dloss * share - evenly - tl.where(cols == target, at_target, 0.0)
    else:
        evenly = dloss * tl.cast(smoothing / C, acc)
        weights = tl.zeros((BLOCK_C,), acc)
        for start in range(0, C, BLOCK_C):
            offs = start + tl.arange(0, BLOCK_C).to(tl.int64)
            weights += tl.load(weight_ptr + offs * sw, mask=offs < C, other=0.0).to(acc)
        here = tl.load(weight_ptr + cols.to(tl.int64) * sw, mask=cols < C, other=0.0).to(acc)
        dx = (
            share * (at_target + evenly * tl.sum(weights, 0)) - evenly * here - tl.where(cols == target, at_target, 0.0)
        )
    tl.store(dx_ptr + first_row(R, n2, sdx2, sdx3, BLOCK_R) + rows * sdx1 + cols * sdxc, dx, mask=mask)


def cross_entropy_backward_reference(
    dloss: Tensor,
    x: Tensor,
    target: Tensor,
    statistics: Tensor,
    total: Tensor | None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    check(x, target, weight, reduction, label_smoothing)
    check_kept(2, dloss, x, statistics, total, reduction)
    acc = statistics.dtype
    high, log_sum = statistics.unsqueeze(-1)
    share = (x.to(acc).movedim(class_dim(x), -1) - high - log_sum).exp()
    C = share.shape[-1]
    counted = target != ignore_index
    index = torch.where(counted, target, 0).long()
    weights = torch.ones(C, dtype=acc, device=x.device) if weight is None else weight.to(acc)
    one_hot = torch.zeros_like(share).scatter_(-1, index.unsqueeze(-1), 1)
    dx = (1 - label_smoothing) * weights[index].unsqueeze(-1) * (share - one_hot)
    dx = dx + label_smoothing / C * (share * weights.sum() - weights)
    dloss = dloss.to(acc) / total if reduction == "mean" else dloss.to(acc)
    return torch.where(counted.unsqueeze(-1), dx * dloss.unsqueeze(-1), 0).movedim(-1, class_dim(x)).to(x.dtype)


@op(reference=cross_entropy_backward_reference, flops=lambda dloss, x, *_, **__: 4 * x.numel())
def cross_entropy_backward(
    dloss: Tensor,
    x: Tensor,
    target: Tensor,
    statistics: Tensor,
    total: Tensor | None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """dx_rc = dloss_r ((1 - s) w_t (p_c - [c = t]) + s / C (p_c sum_c w_c - w_c)), for the mean over sum_r w_t.

    Args:
        dloss: the gradient of the loss, of its shape, any strides.
        statistics, total: what cross_entropy returned for x, target and the same options.

    Returns: a fresh tensor of x's dtype, laid out in memory as `torch.empty_like(x)`; 0 for ignored rows.

    Raises: ShapeError and DtypeError as cross_entropy, and for a dloss or statistics that do not belong to the logits.
    """
    check(x, target, weight, reduction, label_smoothing)
    check_kept(2, dloss, x, statistics, total, reduction)
    dx = torch.empty_like(x)
    dloss_strides = dloss.stride() or (0,) * target.dim()
    strides = target.stride(), statistics.stride()[1:], dloss_strides
    for each in launches(x.shape, class_dim(x), (dx.stride(), x.stride()), strides, statistics.dtype, x.device):
        launch(
            _cross_entropy_backward_kernel, (each.programs, each.column_blocks),
            *each.tensors(dx, x, target, statistics, dloss), weight, total if reduction == "mean" else None,
            *each.integers, statistics.stride(0), 0 if weight is None else weight.stride(0),
            ignore_index, float(label_smoothing),
            SMOOTH=label_smoothing != 0, **each.constexprs,
        )  # fmt: skip
    return dx
