"""What the four launchers of cross_entropy check."""

import torch
from torch import Tensor

from .._class_losses import check_classes, check_indices, check_reduced, rows_of
from .._errors import DtypeError, ShapeError, dtype_name
from .._op import FLOATS
from .._tile import wide_dtype


def check(x: Tensor, target: Tensor, weight: Tensor | None, reduction: str, label_smoothing: float) -> None:
    check_indices("cross_entropy", x, target, weight, reduction)
    _check_smoothing(label_smoothing)


def check_soft(x: Tensor, target: Tensor, weight: Tensor | None, reduction: str, label_smoothing: float) -> None:
    if target.dtype not in FLOATS:
        raise DtypeError(
            f"cross_entropy: target is {dtype_name(target.dtype)}; class probabilities are of a floating-point dtype"
        )
    check_classes("cross_entropy", x, weight, reduction)
    if target.shape != x.shape:
        raise ShapeError(
            f"cross_entropy: x is {tuple(x.shape)} and target is {tuple(target.shape)}; "
            "class probabilities have the shape of x"
        )
    _check_smoothing(label_smoothing)


def check_kept(count: int, dloss: Tensor, x: Tensor, statistics: Tensor, total: Tensor | None, reduction: str) -> None:
    """That a gradient of the loss and `count` statistics belong to the logits."""
    rows = rows_of(x)
    check_reduced("cross_entropy_backward", "dloss", dloss, rows, total, reduction)
    if statistics.shape != (count, *rows):
        raise ShapeError(
            f"cross_entropy_backward: statistics is {tuple(statistics.shape)}; it must be {(count, *rows)}"
        )
    for name, tensor in (("statistics", statistics), ("total", total)):
        if tensor is not None and tensor.dtype != wide_dtype(x.dtype):
            raise DtypeError(
                f"cross_entropy_backward: {name} is {dtype_name(tensor.dtype)}; "
                f"it must be {dtype_name(wide_dtype(x.dtype))}"
            )


def _check_smoothing(label_smoothing: float) -> None:
    if not 0.0 <= label_smoothing <= 1.0:
        raise ShapeError(f"cross_entropy: label_smoothing is {label_smoothing}; it lies in [0, 1]")


def soft_dtype(x: Tensor, target: Tensor, weight: Tensor | None) -> torch.dtype:
    """Of the loss, as torch promotes the product of its three factors."""
    dtype = torch.promote_types(x.dtype, target.dtype)
    return dtype if weight is None else torch.promote_types(dtype, weight.dtype)
