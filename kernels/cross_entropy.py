"""cross_entropy: log-softmax and the loss of class indices in one pass over the logits, and its gradient in another."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._errors import ClassIndexError, DtypeError, KernelAssertionError, ShapeError
from ._launch import launch
from ._op import op
from ._strides import merge, row_offsets
from ._tune import Target
from ._tune import target as device_target

_REDUCTIONS = ("mean", "sum", "none")
_ROW_DIMS = 3
_SUM_BLOCK = 1024


@dataclass(frozen=True)
class Tile:
    BLOCK_R: int
    BLOCK_C: int
    num_warps: int


_BYTES = {"cpu": 16 << 10, "gpu": 8 << 10}


@functools.cache
def pick_tile(R: int, C: int, classes_adjacent: bool, accumulator: torch.dtype, target: Target) -> Tile:
    """A tile along what lies side by side in memory: the classes of a row, or the rows of a class."""
    elements = _BYTES[target.kind] // accumulator.itemsize
    block_c = min(triton.next_power_of_2(C), elements if classes_adjacent else 32)
    block_r = min(triton.next_power_of_2(max(R, 1)), elements // block_c)
    return Tile(block_r, block_c, 4)


@triton.jit
def _target_of(target_ptr, rows, R, C, n1, n2, st1, st2, st3, ignore_index):
    """Class indices [BLOCK_R] and where they count."""
    target = tl.load(target_ptr + row_offsets(rows, n1, n2, st1, st2, st3), mask=rows < R, other=ignore_index)
    inside = (target >= 0) & (target < C)
    tl.device_assert(inside | (target == ignore_index), "cross_entropy: a class index is out of bounds")
    return target, inside & (target != ignore_index) & (rows < R)


@triton.jit
def _cross_entropy_kernel(
    x_ptr, target_ptr, weight_ptr, high_ptr, log_sum_ptr, loss_ptr, total_ptr, sums_ptr,
    R, C, n1, n2, sxc, sx1, sx2, sx3, st1, st2, st3, sw, ignore_index, smoothing: "fp64",
    REDUCTION: tl.constexpr, SMOOTH: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    acc = high_ptr.dtype.element_ty
    pid = tl.program_id(0)
    rows = pid.to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    target, counted = _target_of(target_ptr, rows, R, C, n1, n2, st1, st2, st3, ignore_index)
    x_rows = x_ptr + row_offsets(rows, n1, n2, sx1, sx2, sx3)

    high = tl.full((BLOCK_R,), float("-inf"), acc)
    total = tl.zeros((BLOCK_R,), acc)
    for start in range(0, C, BLOCK_C):
        cols = tl.cast(start, tl.int64) + tl.arange(0, BLOCK_C)
        mask = (rows < R)[:, None] & (cols < C)[None, :]
        x = tl.load(x_rows[:, None] + cols[None, :] * sxc, mask=mask, other=float("-inf")).to(acc)
        higher = tl.maximum(high, tl.max(x, 1))
        # Until a finite logit comes, exp(-inf - -inf) would be NaN.
        base = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(high - base) + tl.sum(tl.exp(x - base[:, None]), 1)
        high = higher
    log_sum = tl.log(total)
    tl.store(high_ptr + rows, high, mask=rows < R)
    tl.store(log_sum_ptr + rows, log_sum, mask=rows < R)

    if weight_ptr is None:
        weight = counted.to(acc)
    else:
        weight = tl.load(weight_ptr + target * sw, mask=counted, other=0.0).to(acc)
    x_target = tl.load(x_rows + target * sxc, mask=counted, other=0.0).to(acc)
    loss = weight * (high - x_target + log_sum)
    if SMOOTH:
        spread = tl.zeros((BLOCK_R,), acc)
        for start in range(0, C, BLOCK_C):
            cols = tl.cast(start, tl.int64) + tl.arange(0, BLOCK_C)
            mask = (rows < R)[:, None] & (cols < C)[None, :]
            x = tl.load(x_rows[:, None] + cols[None, :] * sxc, mask=mask, other=0.0).to(acc)
            term = high[:, None] - x + log_sum[:, None]
            if weight_ptr is not None:
                term *= tl.load(weight_ptr + cols * sw, mask=cols < C, other=0.0).to(acc)[None, :]
            spread += tl.sum(tl.where(mask, term, 0.0), 1)
        loss = loss * tl.cast(1.0 - smoothing, acc) + spread * tl.cast(smoothing / C, acc)
    loss = tl.where(counted, loss, 0.0)

    if REDUCTION == "none":
        tl.store(loss_ptr + rows, loss, mask=rows < R)
    elif sums_ptr is None:
        _store_reduced(loss_ptr, total_ptr, tl.sum(loss, 0), tl.sum(weight, 0), REDUCTION)
    else:
        tl.store(sums_ptr + 2 * pid, tl.sum(loss, 0))
        tl.store(sums_ptr + 2 * pid + 1, tl.sum(weight, 0))


@triton.jit
def _store_reduced(loss_ptr, total_ptr, loss, weight, REDUCTION: tl.constexpr):
    tl.store(loss_ptr, loss / weight if REDUCTION == "mean" else loss)
    tl.store(total_ptr, weight)


@triton.jit
def _reduce_kernel(sums_ptr, loss_ptr, total_ptr, P, REDUCTION: tl.constexpr, BLOCK: tl.constexpr):
    loss = tl.zeros((BLOCK,), sums_ptr.dtype.element_ty)
    weight = tl.zeros((BLOCK,), sums_ptr.dtype.element_ty)
    for start in range(0, P, BLOCK):
        offs = start + tl.arange(0, BLOCK)
        loss += tl.load(sums_ptr + 2 * offs, mask=offs < P, other=0.0)
        weight += tl.load(sums_ptr + 2 * offs + 1, mask=offs < P, other=0.0)
    _store_reduced(loss_ptr, total_ptr, tl.sum(loss, 0), tl.sum(weight, 0), REDUCTION)


@triton.jit
def _cross_entropy_backward_kernel(
    dloss_ptr, x_ptr, target_ptr, weight_ptr, high_ptr, log_sum_ptr, total_ptr, dx_ptr,
    R, C, n1, n2, sxc, sx1, sx2, sx3, st1, st2, st3, sdl1, sdl2, sdl3, sw, sdxc, sdx1, sdx2, sdx3,
    ignore_index, smoothing: "fp64",
    REDUCTION: tl.constexpr, SMOOTH: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    acc = high_ptr.dtype.element_ty
    row_blocks = tl.cdiv(R, BLOCK_R)
    rows = (tl.program_id(0) % row_blocks).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    cols = (tl.program_id(0) // row_blocks).to(tl.int64) * BLOCK_C + tl.arange(0, BLOCK_C)
    target, counted = _target_of(target_ptr, rows, R, C, n1, n2, st1, st2, st3, ignore_index)

    if REDUCTION == "none":
        dloss = tl.load(dloss_ptr + row_offsets(rows, n1, n2, sdl1, sdl2, sdl3), mask=rows < R, other=0.0).to(acc)
    else:
        dloss = tl.load(dloss_ptr).to(acc)
    if REDUCTION == "mean":
        dloss /= tl.load(total_ptr)

    if weight_ptr is None:
        weight = counted.to(acc)
    else:
        weight = tl.load(weight_ptr + target * sw, mask=counted, other=0.0).to(acc)
    mask = (rows < R)[:, None] & (cols < C)[None, :]
    x_rows = x_ptr + row_offsets(rows, n1, n2, sx1, sx2, sx3)
    x = tl.load(x_rows[:, None] + cols[None, :] * sxc, mask=mask, other=0.0).to(acc)
    high = tl.load(high_ptr + rows, mask=rows < R, other=0.0)
    log_sum = tl.load(log_sum_ptr + rows, mask=rows < R, other=0.0)
    share = tl.exp(x - high[:, None] - log_sum[:, None])
    at_target = (cols[None, :] == target[:, None]).to(acc)
    dx = weight[:, None] * (share - at_target)
    if SMOOTH:
        if weight_ptr is None:
            spread = share * C - 1.0
        else:
            weights = tl.zeros((BLOCK_C,), acc)
            for start in range(0, C, BLOCK_C):
                offs = tl.cast(start, tl.int64) + tl.arange(0, BLOCK_C)
                weights += tl.load(weight_ptr + offs * sw, mask=offs < C, other=0.0).to(acc)
            here = tl.load(weight_ptr + cols * sw, mask=cols < C, other=0.0).to(acc)
            spread = share * tl.sum(weights, 0) - here[None, :]
        dx = dx * tl.cast(1.0 - smoothing, acc) + spread * tl.cast(smoothing / C, acc)
    # What does not count has no gradient even where dloss is 0 / 0.
    dx = tl.where(counted[:, None], dx * dloss[:, None] if REDUCTION == "none" else dx * dloss, 0.0)
    dx_rows = dx_ptr + row_offsets(rows, n1, n2, sdx1, sdx2, sdx3)
    tl.store(dx_rows[:, None] + cols[None, :] * sdxc, dx, mask=mask)


def cross_entropy_reference(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    _check(x, target, weight, reduction, label_smoothing)
    acc = _accumulator(x)
    logits = x.to(acc).movedim(1 if x.dim() > 1 else 0, -1)
    C = logits.shape[-1]
    high = logits.amax(-1)
    log_sum = (logits - high.unsqueeze(-1)).exp().sum(-1).log()
    log_p = logits - high.unsqueeze(-1) - log_sum.unsqueeze(-1)
    counted = target != ignore_index
    index = torch.where(counted, target, 0)
    weights = torch.ones(C, dtype=acc, device=x.device) if weight is None else weight.to(acc)
    try:
        of_target = torch.where(counted, weights[index], 0)
        loss = -(1 - label_smoothing) * of_target * log_p.gather(-1, index.unsqueeze(-1)).squeeze(-1)
    except (IndexError, RuntimeError) as error:
        raise _out_of_bounds(target, C, ignore_index) from error
    if label_smoothing:
        loss = loss - label_smoothing / C * (log_p * weights).sum(-1)
    loss = torch.where(counted, loss, 0)
    total = None if reduction == "none" else of_target.sum()
    if total is not None:
        loss = loss.sum() / total if reduction == "mean" else loss.sum()
    return loss.to(dtype or x.dtype), high, log_sum, total


def cross_entropy_backward_reference(
    dloss: Tensor,
    x: Tensor,
    target: Tensor,
    high: Tensor,
    log_sum: Tensor,
    total: Tensor | None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    _check_backward(dloss, x, target, high, log_sum, total, weight, reduction, label_smoothing)
    acc = high.dtype
    at = 1 if x.dim() > 1 else 0
    share = (x.to(acc).movedim(at, -1) - high.unsqueeze(-1) - log_sum.unsqueeze(-1)).exp()
    C = share.shape[-1]
    counted = target != ignore_index
    index = torch.where(counted, target, 0)
    weights = torch.ones(C, dtype=acc, device=x.device) if weight is None else weight.to(acc)
    one_hot = torch.zeros_like(share).scatter_(-1, index.unsqueeze(-1), 1)
    dx = (1 - label_smoothing) * weights[index].unsqueeze(-1) * (share - one_hot)
    dx = dx + label_smoothing / C * (share * weights.sum() - weights)
    dloss = dloss.to(acc) / total if reduction == "mean" else dloss.to(acc)
    return torch.where(counted.unsqueeze(-1), dx * dloss.unsqueeze(-1), 0).movedim(-1, at).to(x.dtype)


@op(reference=cross_entropy_reference, flops=lambda x, *_, **__: 4 * x.numel())
def cross_entropy(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """loss_r = -(1 - s) w_t log p_t - s / C sum_c w_c log p_c, where log p = log-softmax(x_r), t = target_r.

    The mean is sum_r loss_r / sum_r w_t, over the rows whose target is not ignore_index; NaN where there are none.

    Args:
        x: logits [N, C], [C] or [N, C, d1, ...], any strides.
        target: int64 class indices [N], [] or [N, d1, ...], any strides.
        weight: a weight for each class [C], any floating-point dtype; 1 if not given.
        ignore_index: targets of this value have loss and weight 0.
        reduction: "mean", "sum" or "none".
        label_smoothing: s in [0, 1].
        dtype: of the loss; that of `x` if not given. Statistics and sums are float32, for float64 logits float64.

    Returns: the loss ([], or the target's shape for "none"), and what the gradient needs: for each row the largest
        logit and the log of the sum of exp(x - largest), then the sum of w_t (None for "none").

    Raises: ShapeError for shapes or hyper-parameters that do not fit, DtypeError for targets that are not int64
        or a weight that is not floating-point, ClassIndexError for a class outside of the C (on a GPU: a device-side
        assertion).
    """
    _check(x, target, weight, reduction, label_smoothing)
    high = torch.empty(target.shape, dtype=_accumulator(x), device=x.device)
    log_sum = torch.empty_like(high)
    loss = torch.empty(target.shape if reduction == "none" else (), dtype=dtype or x.dtype, device=x.device)
    total = None if reduction == "none" else high.new_empty(())
    C, class_stride, logits = _split_classes(x)
    tile = pick_tile(target.numel(), C, class_stride == 1, high.dtype, device_target(x.device))
    rows = loss if reduction == "none" else high
    parts = list(_parts(logits, target, high, log_sum, rows))
    programs = [triton.cdiv(max(R, 1), tile.BLOCK_R) for _, R, _, _ in parts]
    sums = None if reduction == "none" or programs == [1] else high.new_empty((sum(programs), 2))
    first = 0
    for (tensors, R, inner, strides), count in zip(parts, programs, strict=True):
        logits, indices, high_rows, log_sum_rows, loss_rows = tensors
        try:
            launch(
                _cross_entropy_kernel, (count,),
                logits, indices, weight, high_rows, log_sum_rows, loss_rows if reduction == "none" else loss, total,
                None if sums is None else sums[first:],
                R, C, *inner, class_stride, *strides[0], *strides[1], 0 if weight is None else weight.stride(0),
                ignore_index, float(label_smoothing),
                REDUCTION=reduction, SMOOTH=label_smoothing != 0, **vars(tile), debug=True,
            )  # fmt: skip
        except KernelAssertionError as error:
            raise _out_of_bounds(target, C, ignore_index) from error
        first += count
    if sums is not None:
        launch(_reduce_kernel, (1,), sums, loss, total, len(sums), REDUCTION=reduction, BLOCK=_SUM_BLOCK)
    return loss, high, log_sum, total


@op(reference=cross_entropy_backward_reference, flops=lambda dloss, x, *_, **__: 4 * x.numel())
def cross_entropy_backward(
    dloss: Tensor,
    x: Tensor,
    target: Tensor,
    high: Tensor,
    log_sum: Tensor,
    total: Tensor | None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """dx_rc = dloss_r ((1 - s) w_t (p_c - [c = t]) + s / C (p_c sum_c w_c - w_c)), for the mean over sum_r w_t.

    Args:
        dloss: the gradient of the loss, of its shape, any strides.
        high, log_sum, total: what cross_entropy returned.

    Returns: a fresh tensor of x's dtype, laid out in memory as `torch.empty_like(x)`; 0 for ignored rows.

    Raises: ShapeError and DtypeError as cross_entropy, and for a dloss or statistics that do not belong to the logits.
    """
    _check_backward(dloss, x, target, high, log_sum, total, weight, reduction, label_smoothing)
    dx = torch.empty_like(x)
    C, class_stride, logits = _split_classes(x)
    _, dx_class_stride, dx_rows = _split_classes(dx)
    tile = pick_tile(target.numel(), C, class_stride == 1, high.dtype, device_target(x.device))
    for tensors, R, inner, strides in _parts(logits, target, high, log_sum, dx_rows, dloss.expand(target.shape)):
        logits, indices, high_rows, log_sum_rows, dx_part, dloss_part = tensors
        sx, st, _, _, sdx, sdl = strides
        launch(
            _cross_entropy_backward_kernel, (triton.cdiv(R, tile.BLOCK_R) * triton.cdiv(C, tile.BLOCK_C),),
            dloss_part, logits, indices, weight, high_rows, log_sum_rows, total, dx_part,
            R, C, *inner, class_stride, *sx, *st, *sdl,
            0 if weight is None else weight.stride(0), dx_class_stride, *sdx, ignore_index, float(label_smoothing),
            REDUCTION=reduction, SMOOTH=label_smoothing != 0, **vars(tile),
        )  # fmt: skip
    return dx


def _check(x: Tensor, target: Tensor, weight: Tensor | None, reduction: str, label_smoothing: float) -> None:
    if x.dim() == 0:
        raise ShapeError("cross_entropy: x has no dimension; it is [N, C], [C] or [N, C, d1, ...]")
    if target.dtype != torch.int64:
        kind = "class probabilities are not offered; " if target.is_floating_point() else ""
        raise DtypeError(f"cross_entropy: target is {target.dtype}; {kind}it holds class indices in torch.int64")
    rows = x.shape[:1] + x.shape[2:] if x.dim() > 1 else x.shape[:0]
    if target.shape != rows:
        raise ShapeError(
            f"cross_entropy: x is {tuple(x.shape)} and target is {tuple(target.shape)}; it must be {tuple(rows)}"
        )
    C = x.shape[1 if x.dim() > 1 else 0]
    if C == 0:
        raise ShapeError(f"cross_entropy: x is {tuple(x.shape)}, of no classes")
    if weight is not None and weight.shape != (C,):
        raise ShapeError(f"cross_entropy: weight is {tuple(weight.shape)}; for {C} classes it must be ({C},)")
    if weight is not None and not weight.is_floating_point():
        raise DtypeError(f"cross_entropy: weight is {weight.dtype}; it must be of a floating-point dtype")
    if reduction not in _REDUCTIONS:
        raise ShapeError(f"cross_entropy: reduction is {reduction!r}; it is one of {', '.join(map(repr, _REDUCTIONS))}")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ShapeError(f"cross_entropy: label_smoothing is {label_smoothing}; it lies in [0, 1]")


def _check_backward(
    dloss: Tensor,
    x: Tensor,
    target: Tensor,
    high: Tensor,
    log_sum: Tensor,
    total: Tensor | None,
    weight: Tensor | None,
    reduction: str,
    label_smoothing: float,
) -> None:
    _check(x, target, weight, reduction, label_smoothing)
    statistics = [("high", high, target.shape), ("log_sum", log_sum, target.shape)]
    if reduction == "mean":
        if total is None:
            raise ShapeError("cross_entropy_backward: total is None; the mean is taken over it")
        statistics.append(("total", total, torch.Size()))
    for name, tensor, shape in (*statistics, ("dloss", dloss, target.shape if reduction == "none" else torch.Size())):
        if tensor.shape != shape:
            raise ShapeError(
                f"cross_entropy_backward: {name} is {tuple(tensor.shape)}; "
                f"for a target {tuple(target.shape)} and reduction {reduction!r} it must be {tuple(shape)}"
            )
    for name, tensor, _ in statistics:
        if tensor.dtype != _accumulator(x):
            raise DtypeError(f"cross_entropy_backward: {name} is {tensor.dtype}; it must be {_accumulator(x)}")


def _out_of_bounds(target: Tensor, C: int, ignore_index: int) -> ClassIndexError:
    wrong = target[((target < 0) | (target >= C)) & (target != ignore_index)]
    return ClassIndexError(
        f"cross_entropy: target holds the class index {wrong[0].item()}; for {C} classes it lies in [0, {C - 1}]"
    )


def _accumulator(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _split_classes(x: Tensor) -> tuple[int, int, Tensor]:
    """The number of classes, their stride, and the view of class 0 that walks the rows."""
    at = 1 if x.dim() > 1 else 0
    return x.shape[at], x.stride(at), x.select(at, 0)


_Part = tuple[Sequence[Tensor], int, list[int], list[list[int]]]


def _parts(*rows: Tensor) -> Iterator[_Part]:
    """What to launch over: tensors, the number of rows, the inner two of their sizes, three strides of each tensor."""
    sizes, strides = merge(rows[0].shape, *(t.stride() for t in rows))
    if len(sizes) > _ROW_DIMS:
        for index in range(rows[0].shape[0]):
            yield from _parts(*(t[index] for t in rows))
        return
    missing = _ROW_DIMS - len(sizes)
    n3, n2, n1 = [1] * missing + sizes
    yield rows, n1 * n2 * n3, [n1, n2], [([0] * missing + of_one)[::-1] for of_one in strides]
