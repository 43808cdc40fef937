"""What the losses of class indices and class probabilities share: targets in kernels, sums in two stages, checks.

A loss is summed over the rows of a program, and the programs' sums by a second launch, in an order that the sizes alone
decide. With the losses go the weights that the mean is taken over.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._errors import ClassIndexError, DtypeError, ShapeError, dtype_name
from ._launch import launch
from ._op import FLOATS
from ._rows import Launch

_REDUCTIONS = ("mean", "sum", "none")
_INDICES = (torch.int64, torch.uint8)
_SUM_BLOCK = 1024


@triton.jit
def load_target(target_ptrs, valid, C, ignore_index):
    """Class indices, and where they count; asserts that they are classes or ignored."""
    target = tl.load(target_ptrs, mask=valid, other=0).to(tl.int64)
    inside = (target >= 0) & (target < C)
    ignored = target == ignore_index
    tl.device_assert(inside | ignored, "a class index is out of bounds")
    return target, valid & inside & (target != ignore_index)


@triton.jit
def load_weight(weight_ptr, sw, target, counted, acc: tl.constexpr):
    """The weight of each target: of its class, or 1; 0 where it does not count."""
    if weight_ptr is None:
        return counted.to(acc)
    else:
        return tl.load(weight_ptr + target * sw, mask=counted, other=0.0).to(acc)


@triton.jit
def store_losses(loss_ptr, total_ptr, sums_ptr, loss_ptrs, valid, loss, weight, REDUCTION: tl.constexpr):
    """The losses of a program's rows, their sum to be added to others, or all that there is."""
    if REDUCTION == "none":
        tl.store(loss_ptrs, loss, mask=valid)
    elif sums_ptr is None:
        _store_reduced(loss_ptr, total_ptr, tl.sum(loss, 0), tl.sum(weight, 0), REDUCTION)
    else:
        tl.store(sums_ptr + 2 * tl.program_id(0), tl.sum(loss, 0))
        tl.store(sums_ptr + 2 * tl.program_id(0) + 1, tl.sum(weight, 0))


@triton.jit
def _store_reduced(loss_ptr, total_ptr, loss, weight, REDUCTION: tl.constexpr):
    tl.store(loss_ptr, loss / weight if REDUCTION == "mean" else loss)
    tl.store(total_ptr, weight)


@triton.jit
def _sum_kernel(sums_ptr, loss_ptr, total_ptr, P, REDUCTION: tl.constexpr, BLOCK: tl.constexpr):
    loss = tl.zeros((BLOCK,), sums_ptr.dtype.element_ty)
    weight = tl.zeros((BLOCK,), sums_ptr.dtype.element_ty)
    for start in range(0, P, BLOCK):
        offs = start + tl.arange(0, BLOCK)
        loss += tl.load(sums_ptr + 2 * offs, mask=offs < P, other=0.0)
        weight += tl.load(sums_ptr + 2 * offs + 1, mask=offs < P, other=0.0)
    _store_reduced(loss_ptr, total_ptr, tl.sum(loss, 0), tl.sum(weight, 0), REDUCTION)


class Sums:
    """The first stage's sums of loss and weight; none where there is nothing to add up.

    `of(k)` is where launch k puts those of its programs, `finish()` the second stage.
    """

    def __init__(self, launches: Sequence[Launch], loss: Tensor, total: Tensor | None, reduction: str) -> None:
        self.loss, self.total, self.reduction = loss, total, reduction
        self.sums: Tensor | None = None
        self.firsts = [0]
        for each in launches:
            self.firsts.append(self.firsts[-1] + each.programs)
        if total is not None and self.firsts[-1] != 1:
            self.sums = total.new_empty((self.firsts[-1], 2))

    def of(self, k: int) -> Tensor | None:
        return self.sums if self.sums is None or k == 0 else self.sums[self.firsts[k] :]

    def finish(self) -> None:
        if self.sums is not None:
            options = {"REDUCTION": self.reduction, "BLOCK": _SUM_BLOCK}
            launch(_sum_kernel, (1,), self.sums, self.loss, self.total, self.firsts[-1], **options)


def class_dim(x: Tensor) -> int:
    return 1 if x.dim() > 1 else 0


def rows_of(x: Tensor) -> torch.Size:
    """The sizes without the classes."""
    return x.shape[:1] + x.shape[2:] if x.dim() > 1 else x.shape[:0]


def check_indices(op: str, x: Tensor, target: Tensor, weight: Tensor | None, reduction: str) -> None:
    if x.dim() > 0 and target.dtype not in _INDICES:
        raise DtypeError(f"{op}: target is {dtype_name(target.dtype)}; it holds class indices in int64 or uint8")
    check_classes(op, x, weight, reduction)
    if target.shape != rows_of(x):
        raise ShapeError(
            f"{op}: x is {tuple(x.shape)} and target is {tuple(target.shape)}; it must be {tuple(rows_of(x))}"
        )


def check_classes(op: str, x: Tensor, weight: Tensor | None, reduction: str) -> None:
    if x.dtype not in FLOATS:
        raise DtypeError(f"{op}: x is {dtype_name(x.dtype)}; it takes {', '.join(map(dtype_name, FLOATS))}")
    if x.dim() == 0:
        raise ShapeError(f"{op}: x has no dimension; it is [N, C], [C] or [N, C, d1, ...]")
    C = x.shape[class_dim(x)]
    if C == 0:
        raise ShapeError(f"{op}: x is {tuple(x.shape)}, of no classes")
    if weight is not None and weight.shape != (C,):
        raise ShapeError(f"{op}: weight is {tuple(weight.shape)}; for {C} classes it must be ({C},)")
    if weight is not None and weight.dtype not in FLOATS:
        raise DtypeError(f"{op}: weight is {dtype_name(weight.dtype)}; it must be of a floating-point dtype")
    if reduction not in _REDUCTIONS:
        raise ShapeError(f"{op}: reduction is {reduction!r}; it is one of {', '.join(map(repr, _REDUCTIONS))}")


def check_reduced(op: str, name: str, given: Tensor, rows: torch.Size, total: Tensor | None, reduction: str) -> None:
    """That a gradient is of the loss's shape, and that a mean has its total."""
    shape = rows if reduction == "none" else torch.Size()
    if given.shape != shape:
        raise ShapeError(
            f"{op}: {name} is {tuple(given.shape)}; for rows {tuple(rows)} and reduction {reduction!r} "
            f"it must be {tuple(shape)}"
        )
    if reduction == "mean" and (total is None or total.dim()):
        got = "None" if total is None else tuple(total.shape)
        raise ShapeError(f"{op}: total is {got}; the mean is taken over one number")


def out_of_bounds(op: str, target: Tensor, C: int, ignore_index: int) -> ClassIndexError:
    wrong = target[((target < 0) | (target >= C)) & (target != ignore_index)]
    return ClassIndexError(
        f"{op}: target holds the class index {wrong[0].item()}; for {C} classes it lies in [0, {C - 1}]"
    )


def reduced_reference(loss: Tensor, weight: Tensor, reduction: str) -> tuple[Tensor, Tensor | None]:
    """The loss and the total of the weights."""
    if reduction == "none":
        return loss, None
    total = weight.sum()
    return (loss.sum() / total if reduction == "mean" else loss.sum()), total
