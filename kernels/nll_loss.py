"""nll_loss: the loss of log-probabilities and class indices, and its gradient."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._class_losses import (
    Sums,
    check_indices,
    check_reduced,
    class_dim,
    load_target,
    load_weight,
    out_of_bounds,
    reduced_reference,
    store_losses,
)
from ._errors import KernelAssertionError
from ._launch import ASSERTED, launch
from ._op import op
from ._rows import columns, first_row, launches, row_block
from ._tile import TL_DTYPES, wide_dtype


@triton.jit
def _nll_loss_kernel(
    x_ptr, target_ptr, loss_ptr, weight_ptr, total_ptr, sums_ptr,
    R, one, n2, sx1, sx2, sx3, st1, st2, st3, sl1, sl2, sl3, C, sxc, sw, ignore_index,
    REDUCTION: tl.constexpr, acc: tl.constexpr, INT64: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, WHOLE: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    rows = row_block(R, BLOCK_R, INT64)
    valid = rows < R
    target_ptrs = target_ptr + first_row(R, n2, st2, st3, BLOCK_R) + rows * st1
    target, counted = load_target(target_ptrs, valid, C, ignore_index)
    weight = load_weight(weight_ptr, sw, target, counted, acc)
    x_ptrs = x_ptr + first_row(R, n2, sx2, sx3, BLOCK_R) + rows * sx1 + target * sxc
    loss = tl.where(counted, -weight * tl.load(x_ptrs, mask=counted, other=0.0).to(acc), 0.0)
    loss_ptrs = loss_ptr + first_row(R, n2, sl2, sl3, BLOCK_R) + rows * sl1
    store_losses(loss_ptr, total_ptr, sums_ptr, loss_ptrs, valid, loss, weight, REDUCTION)


@triton.jit
def _nll_loss_backward_kernel(
    dx_ptr, target_ptr, dloss_ptr, weight_ptr, total_ptr,
    R, C, n2, sdxc, sdx1, sdx2, sdx3, st1, st2, st3, sdl1, sdl2, sdl3, sw, ignore_index,
    acc: tl.constexpr, INT64: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, WHOLE: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    rows = tl.expand_dims(row_block(R, BLOCK_R, INT64), AXIS)
    valid = rows < R
    target_ptrs = target_ptr + first_row(R, n2, st2, st3, BLOCK_R) + rows * st1
    target = tl.load(target_ptrs, mask=valid, other=0).to(tl.int64)
    counted = valid & (target != ignore_index)
    dloss = tl.load(dloss_ptr + first_row(R, n2, sdl2, sdl3, BLOCK_R) + rows * sdl1, mask=valid, other=0.0).to(acc)
    if total_ptr is not None:
        dloss /= tl.load(total_ptr)
    # What does not count has no gradient even where dloss is 0 / 0.
    dloss = tl.where(counted, -dloss, 0.0)
    if weight_ptr is not None:
        dloss *= tl.load(weight_ptr + target * sw, mask=counted, other=0.0).to(acc)
    cols = columns(tl.program_id(1) * BLOCK_C, BLOCK_C, AXIS, INT64)
    dx_ptrs = dx_ptr + first_row(R, n2, sdx2, sdx3, BLOCK_R) + rows * sdx1 + cols * sdxc
    tl.store(dx_ptrs, tl.where(cols == target, dloss, 0.0), mask=valid & (cols < C))


def nll_loss_reference(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor | None]:
    check_indices("nll_loss", x, target, weight, reduction)
    log_p = x.to(wide_dtype(x.dtype)).movedim(class_dim(x), -1)
    counted = target != ignore_index
    index = torch.where(counted, target, 0).long()
    weights = log_p.new_ones(log_p.shape[-1]) if weight is None else weight.to(log_p.dtype)
    try:
        of_target = torch.where(counted, weights[index], 0)
        loss = -of_target * log_p.gather(-1, index.unsqueeze(-1)).squeeze(-1)
    except (IndexError, RuntimeError) as error:
        raise out_of_bounds("nll_loss", target, log_p.shape[-1], ignore_index) from error
    loss, total = reduced_reference(torch.where(counted, loss, 0), of_target, reduction)
    return loss.to(dtype or x.dtype), total


def nll_loss_backward_reference(
    dloss: Tensor,
    x: Tensor,
    target: Tensor,
    total: Tensor | None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    check_indices("nll_loss_backward", x, target, weight, reduction)
    check_reduced("nll_loss_backward", "dloss", dloss, target.shape, total, reduction)
    acc, at = wide_dtype(x.dtype), class_dim(x)
    counted = target != ignore_index
    index = torch.where(counted, target, 0).long()
    dloss = -dloss.to(acc) / total if reduction == "mean" else -dloss.to(acc)
    dloss = torch.where(counted, dloss if weight is None else dloss * weight.to(acc)[index], 0)
    dx = torch.zeros_like(x, dtype=acc)
    return dx.scatter_(at, index.unsqueeze(at), dloss.unsqueeze(at)).to(x.dtype)


@op(reference=nll_loss_reference, flops=lambda x, target, *_, **__: 2 * target.numel())
def nll_loss(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor | None]:
    """loss_r = -w_t x_rt, where t = target_r.

    The mean is sum_r loss_r / sum_r w_t, over the rows whose target is not ignore_index; NaN where there are none.

    Args:
        x: log-probabilities [N, C], [C] or [N, C, d1, ...], any strides.
        target: int64 or uint8 class indices [N], [] or [N, d1, ...], any strides.
        weight: a weight for each class [C], any floating-point dtype; 1 if not given.
        ignore_index: targets of this value have loss and weight 0.
        reduction: "mean", "sum" or "none".
        dtype: of the loss; that of `x` if not given. Sums are float32, for float64 input float64.

    Returns: the loss ([], or the target's shape for "none"), and the sum of w_t (None for "none").

    Raises: ShapeError for shapes that do not fit, DtypeError for targets that are not int64 or uint8 or a weight that
        is not floating-point, ClassIndexError for a class outside of the C (on a GPU: a device-side assertion).
    """
    check_indices("nll_loss", x, target, weight, reduction)
    loss = x.new_empty(target.shape if reduction == "none" else (), dtype=dtype or x.dtype)
    acc = wide_dtype(x.dtype)
    total = None if reduction == "none" else x.new_empty((), dtype=acc)
    dim = class_dim(x)
    strides = x.select(dim, 0).stride(), target.stride(), loss.stride() or (0,) * target.dim()
    each_launch = launches((1, *target.shape), 0, (), strides, acc, x.device)
    sums = Sums(each_launch, loss, total, reduction)
    for k, each in enumerate(each_launch):
        try:
            launch(
                _nll_loss_kernel, (each.programs,), *each.tensors(x, target, loss), weight, total, sums.of(k),
                *each.integers, x.shape[dim], x.stride(dim), 0 if weight is None else weight.stride(0), ignore_index,
                REDUCTION=reduction, acc=TL_DTYPES[acc], **each.constexprs, **ASSERTED,
            )  # fmt: skip
        except KernelAssertionError as error:
            raise out_of_bounds("nll_loss", target, x.shape[dim], ignore_index) from error
    sums.finish()
    return loss, total


@op(reference=nll_loss_backward_reference, flops=lambda dloss, x, *_, **__: x.numel())
def nll_loss_backward(
    dloss: Tensor,
    x: Tensor,
    target: Tensor,
    total: Tensor | None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """dx_rc = -dloss_r w_t [c = t], for the mean over sum_r w_t; 0 for ignored rows.

    Args:
        dloss: the gradient of the loss, of its shape, any strides.
        x: whose gradient it is; its values are not looked at.
        total: what nll_loss returned.

    Returns: a fresh tensor of x's dtype, laid out in memory as `torch.empty_like(x)`.

    Raises: ShapeError and DtypeError as nll_loss, and for a dloss or total that does not belong to the loss.
    """
    check_indices("nll_loss_backward", x, target, weight, reduction)
    check_reduced("nll_loss_backward", "dloss", dloss, target.shape, total, reduction)
    dx = torch.empty_like(x)
    acc = wide_dtype(x.dtype)
    strides = target.stride(), dloss.stride() or (0,) * target.dim()
    for each in launches(x.shape, class_dim(x), (dx.stride(),), strides, acc, x.device):
        launch(
            _nll_loss_backward_kernel, (each.programs, each.column_blocks), *each.tensors(dx, target, dloss),
            weight, total if reduction == "mean" else None,
            *each.integers, 0 if weight is None else weight.stride(0), ignore_index,
            acc=TL_DTYPES[acc], **each.constexprs,
        )  # fmt: skip
    return dx
