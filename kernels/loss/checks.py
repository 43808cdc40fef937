"""What is refused."""

import torch
from torch import Tensor

from .._errors import DtypeError, RangeError, ShapeError, dtype_name
from .._op import FLOATS
from .formulas import FORMULAS, name_of

REDUCTIONS = ("none", "sum", "mean", "batchmean", "weighted mean")


def check(
    of: str,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    parameter: Tensor | float,
    factor: Tensor | None,
    reduction: str,
) -> torch.Size:
    """The common shape."""
    if of not in FORMULAS:
        raise ShapeError(f"loss: there is no formula {of!r}; see loss.formulas.FORMULAS")
    name = name_of(of)
    if reduction not in REDUCTIONS:
        raise ShapeError(f"{name}: reduction is {reduction!r}; it is one of {', '.join(map(repr, REDUCTIONS))}")
    if reduction == "weighted mean" and weight is None:
        raise ShapeError(f"{name}: a weighted mean without a weight")
    shape = x.shape
    if target.shape != shape:
        try:
            shape = torch.broadcast_shapes(x.shape, target.shape)
        except RuntimeError as error:
            raise ShapeError(
                f"{name}: input is {tuple(x.shape)} and target is {tuple(target.shape)}, which do not broadcast"
            ) from error
    given = {"input": x, "target": target, "weight": weight, "parameter": parameter, "factor": factor}
    for role, each in given.items():
        if not isinstance(each, Tensor):
            continue
        if each.shape != shape and not _expands(each.shape, shape):
            raise ShapeError(f"{name}: {role} is {tuple(each.shape)}; it must broadcast to {tuple(shape)}")
        if each.is_complex() or (each.is_floating_point() and each.dtype not in FLOATS):
            raise DtypeError(f"{name}: {role} is {dtype_name(each.dtype)}; it must be real, of 16 bits or more")
    if not (x.is_floating_point() or target.is_floating_point()):
        raise DtypeError(
            f"{name}: input is {dtype_name(x.dtype)} and target is {dtype_name(target.dtype)}; "
            "one of them must be floating-point"
        )
    return shape


def _expands(shape: torch.Size, to: torch.Size) -> bool:
    return len(shape) <= len(to) and all(own in (1, size) for own, size in zip(shape[::-1], to[::-1], strict=False))


def check_gradient(of: str, dloss: Tensor, shape: torch.Size, reduction: str, statistics: Tensor | None) -> None:
    name = name_of(of)
    expected = shape if reduction == "none" else torch.Size()
    if dloss.shape != expected:
        raise ShapeError(
            f"{name}: the gradient of the loss is {tuple(dloss.shape)}; for {reduction!r} it is {tuple(expected)}"
        )
    if (statistics is None) == (reduction == "weighted mean"):
        what = "are missing" if statistics is None else "were given"
        raise ShapeError(f"{name}: statistics {what} for {reduction!r}")


def out_of_range(of: str, x: Tensor) -> RangeError:
    wrong = x[~((x >= 0) & (x <= 1))]
    return RangeError(f"{of}: input holds {wrong[0].item()}; all of its elements lie in [0, 1]")
