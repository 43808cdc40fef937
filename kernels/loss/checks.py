"""What is refused, and what follows from shapes and dtypes."""

import functools
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from .._errors import DtypeError, RangeError, ShapeError, dtype_name
from .._op import FLOATS
from .formulas import FORMULAS, name_of

REDUCTIONS = ("none", "sum", "mean", "batchmean", "weighted mean")


class Facts(NamedTuple):
    """What shapes and dtypes decide.

    dtype: of the loss where no other is asked for.
    acc: of all arithmetic.
    divisor: of sums; for a weighted mean how often each weight is counted in the sum of the weights.
    """

    shape: torch.Size
    dtype: torch.dtype
    acc: torch.dtype
    divisor: float


_Operand = tuple[torch.Size, torch.dtype] | None


def facts(
    of: str,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    parameter: Tensor | float,
    factor: Tensor | None,
    reduction: str,
) -> Facts:
    """Checks a call; a repeated one is a look-up."""
    return _facts(
        of,
        reduction,
        (x.shape, x.dtype),
        (target.shape, target.dtype),
        None if weight is None else (weight.shape, weight.dtype),
        (parameter.shape, parameter.dtype) if isinstance(parameter, Tensor) else None,
        None if factor is None else (factor.shape, factor.dtype),
    )


@functools.lru_cache(4096)
def _facts(
    of: str,
    reduction: str,
    x: tuple[torch.Size, torch.dtype],
    target: tuple[torch.Size, torch.dtype],
    weight: _Operand,
    parameter: _Operand,
    factor: _Operand,
) -> Facts:
    if of not in FORMULAS:
        raise ShapeError(f"loss: there is no formula {of!r}; see loss.formulas.FORMULAS")
    name = name_of(of)
    if reduction not in REDUCTIONS:
        raise ShapeError(f"{name}: reduction is {reduction!r}; it is one of {', '.join(map(repr, REDUCTIONS))}")
    if reduction == "weighted mean" and weight is None:
        raise ShapeError(f"{name}: a weighted mean without a weight")
    try:
        shape = torch.broadcast_shapes(x[0], target[0])
    except RuntimeError as error:
        raise ShapeError(
            f"{name}: input is {tuple(x[0])} and target is {tuple(target[0])}, which do not broadcast"
        ) from error
    given = {"input": x, "target": target, "weight": weight, "parameter": parameter, "factor": factor}
    for role, operand in given.items():
        if operand is None:
            continue
        own, dtype = operand
        if not _expands(own, shape):
            raise ShapeError(f"{name}: {role} is {tuple(own)}; it must broadcast to {tuple(shape)}")
        if dtype.is_complex or (dtype.is_floating_point and dtype not in FLOATS):
            raise DtypeError(f"{name}: {role} is {dtype_name(dtype)}; it must be real, of 16 bits or more")
    if not (x[1].is_floating_point or target[1].is_floating_point):
        raise DtypeError(
            f"{name}: input is {dtype_name(x[1])} and target is {dtype_name(target[1])}; "
            "one of them must be floating-point"
        )
    divisor: float = 1
    if reduction == "mean":
        divisor = prod(shape)
    elif reduction == "batchmean" and x[0]:
        divisor = x[0][0]
    elif reduction == "weighted mean" and weight and prod(weight[0]):
        divisor = prod(shape) / prod(weight[0])
    wide = torch.float64 in (x[1], target[1], weight and weight[1])
    return Facts(shape, torch.promote_types(x[1], target[1]), torch.float64 if wide else torch.float32, float(divisor))


def _expands(shape: torch.Size, to: torch.Size) -> bool:
    return len(shape) <= len(to) and all(own in (1, size) for own, size in zip(shape[::-1], to[::-1], strict=False))


def check_gradient(of: str, dloss: Tensor, shape: torch.Size, reduction: str, statistics: Tensor | None) -> None:
    expected = shape if reduction == "none" else torch.Size()
    if dloss.shape != expected:
        raise ShapeError(
            f"{name_of(of)}: the gradient of the loss is {tuple(dloss.shape)}; "
            f"for {reduction!r} it is {tuple(expected)}"
        )
    if (statistics is None) == (reduction == "weighted mean"):
        what = "are missing" if statistics is None else "were given"
        raise ShapeError(f"{name_of(of)}: statistics {what} for {reduction!r}")


def out_of_range(of: str, x: Tensor) -> RangeError:
    wrong = x[~((x >= 0) & (x <= 1))]
    return RangeError(f"{of}: input holds {wrong[0].item()}; all of its elements lie in [0, 1]")
