"""The gradients of cross_entropy of class probabilities, for the logits and for the probabilities."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._class_losses import class_dim
from .._launch import launch
from .._op import op
from .._rows import columns, first_row, launches, row_block
from .checks import check_kept, check_soft
from .soft import load_share


@triton.jit
def _soft_cross_entropy_backward_kernel(
    x_ptr, target_ptr, dx_ptr, dtarget_ptr, statistics_ptr, dloss_ptr, weight_ptr, total_ptr,
    R, C, n2, sxc, sx1, sx2, sx3, stc, st1, st2, st3, sdxc, sdx1, sdx2, sdx3, sdtc, sdt1, sdt2, sdt3,
    ss1, ss2, ss3, sdl1, sdl2, sdl3, ss0, sw, smoothing: "fp64",
    DX: tl.constexpr, DTARGET: tl.constexpr, SMOOTH: tl.constexpr, INT64: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, WHOLE: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    acc: tl.constexpr = statistics_ptr.dtype.element_ty
    rows = tl.expand_dims(row_block(R, BLOCK_R, INT64), AXIS)
    valid = rows < R
    statistics_ptrs = statistics_ptr + first_row(R, n2, ss2, ss3, BLOCK_R) + rows * ss1
    high = tl.load(statistics_ptrs, mask=valid, other=0.0)
    log_sum = tl.load(statistics_ptrs + ss0, mask=valid, other=0.0)
    mass = tl.load(statistics_ptrs + ss0 + ss0, mask=valid, other=0.0)
    dloss = tl.load(dloss_ptr + first_row(R, n2, sdl2, sdl3, BLOCK_R) + rows * sdl1, mask=valid, other=0.0).to(acc)
    if total_ptr is not None:
        dloss /= tl.load(total_ptr)
    cols = columns(tl.program_id(1) * BLOCK_C, BLOCK_C, AXIS, INT64)
    mask = valid & (cols < C)
    x = tl.load(x_ptr + first_row(R, n2, sx2, sx3, BLOCK_R) + rows * sx1 + cols * sxc, mask=mask, other=0.0).to(acc)
    if DX:
        target_ptrs = target_ptr + first_row(R, n2, st2, st3, BLOCK_R) + rows * st1 + cols * stc
        share = load_share(target_ptrs, weight_ptr, sw, cols, mask, C, smoothing, SMOOTH, acc)
        dx = dloss * (tl.exp(x - high - log_sum) * mass - share)
        tl.store(dx_ptr + first_row(R, n2, sdx2, sdx3, BLOCK_R) + rows * sdx1 + cols * sdxc, dx, mask=mask)
    if DTARGET:
        dtarget = dloss * tl.cast(1.0 - smoothing, acc) * (high - x + log_sum)
        if weight_ptr is not None:
            dtarget *= tl.load(weight_ptr + cols.to(tl.int64) * sw, mask=cols < C, other=0.0).to(acc)
        tl.store(dtarget_ptr + first_row(R, n2, sdt2, sdt3, BLOCK_R) + rows * sdt1 + cols * sdtc, dtarget, mask=mask)


def soft_cross_entropy_backward_reference(
    dloss: Tensor,
    x: Tensor,
    target: Tensor,
    statistics: Tensor,
    total: Tensor | None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    needs: tuple[bool, bool] = (True, True),
) -> tuple[Tensor | None, Tensor | None]:
    check_soft(x, target, weight, reduction, label_smoothing)
    check_kept(3, dloss, x, statistics, total, reduction)
    acc, at = statistics.dtype, class_dim(x)
    logits, share = (tensor.to(acc).movedim(at, -1) for tensor in (x, target))
    high, log_sum, mass = statistics.unsqueeze(-1)
    weights = 1 if weight is None else weight.to(acc)
    share = (share * (1 - label_smoothing) + label_smoothing / logits.shape[-1]) * weights
    dloss = (dloss.to(acc) / total if reduction == "mean" else dloss.to(acc)).unsqueeze(-1)
    dx = dloss * ((logits - high - log_sum).exp() * mass - share)
    dtarget = dloss * (1 - label_smoothing) * weights * (high - logits + log_sum)
    return (
        dx.movedim(-1, at).to(x.dtype) if needs[0] else None,
        dtarget.movedim(-1, at).to(target.dtype) if needs[1] else None,
    )


@op(reference=soft_cross_entropy_backward_reference, flops=lambda dloss, x, *_, **__: 7 * x.numel())
def soft_cross_entropy_backward(
    dloss: Tensor,
    x: Tensor,
    target: Tensor,
    statistics: Tensor,
    total: Tensor | None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    needs: tuple[bool, bool] = (True, True),
) -> tuple[Tensor | None, Tensor | None]:
    """dx_rc = dloss_r (p_c m_r - w_c ((1 - s) t_rc + s / C)) and dtarget_rc = -dloss_r (1 - s) w_c log p_c.

    m_r is the sum of w_c ((1 - s) t_rc + s / C); dloss is over the number of rows for the mean.

    Args:
        dloss: the gradient of the loss, of its shape, any strides.
        statistics, total: what soft_cross_entropy returned for x, target and the same options.
        needs: which of the two are wanted.

    Returns: dx and dtarget, fresh tensors laid out as `torch.empty_like` of x and target; None for one not wanted.

    Raises: ShapeError and DtypeError as soft_cross_entropy, and for a dloss or statistics that do not belong to the
        logits.
    """
    check_soft(x, target, weight, reduction, label_smoothing)
    check_kept(3, dloss, x, statistics, total, reduction)
    dx = torch.empty_like(x) if needs[0] else None
    dtarget = torch.empty_like(target) if needs[1] else None
    # What is not wanted is not written: any tensor of the shape stands in its place.
    tensors = x, target, x if dx is None else dx, target if dtarget is None else dtarget
    strides = tuple(tensor.stride() for tensor in tensors)
    row_strides = statistics.stride()[1:], dloss.stride() or (0,) * (x.dim() - 1)
    for each in launches(x.shape, class_dim(x), strides, row_strides, statistics.dtype, x.device):
        launch(
            _soft_cross_entropy_backward_kernel, (each.programs, each.column_blocks),
            *each.tensors(*tensors, statistics, dloss), weight, total if reduction == "mean" else None,
            *each.integers, statistics.stride(0), 0 if weight is None else weight.stride(0), float(label_smoothing),
            DX=needs[0], DTARGET=needs[1], SMOOTH=label_smoothing != 0, **each.constexprs,
        )  # fmt: skip
    return dx, dtarget
