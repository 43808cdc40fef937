"""Terms factor * weight * l(x, target; p) for any formula l: as they are, summed, or times an incoming gradient."""

from math import prod
from typing import Any

import torch
import triton
from torch import Tensor

from .._errors import KernelAssertionError, ShapeError
from .._launch import ASSERTED, launch
from .._op import op
from .._tile import TL_DTYPES
from .._tune import target as device_target
from ..column_sum import column_sum
from .checks import Facts, check_gradient, facts, out_of_range
from .formulas import FORMULAS
from .kernels import _sum_kernel, _sum_parts_kernel, _sum_rows_kernel, _terms_kernel, _terms_rows_kernel
from .parts import Tensors, parts_of
from .references import formula_reference

_SUM_BLOCK = 2048


def loss_reference(
    of: str,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    parameter: Tensor | float = 1.0,
    factor: Tensor | None = None,
    reduction: str = "mean",
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor | None]:
    known = facts(of, x, target, weight, parameter, factor, reduction)
    acc = known.acc
    if of == "binary_cross_entropy":
        try:
            torch._assert_async(((x >= 0) & (x <= 1)).all())
        except RuntimeError as error:
            raise out_of_range(of, x) from error
    value, statistics = _terms_reference(of, acc, x, target, weight, parameter, factor), None
    if reduction == "weighted mean" and weight is not None:
        total = weight.to(acc).sum()
        value = value.sum() / total
        statistics = torch.stack((total, value))
    elif reduction != "none":
        value = value.sum() / known.divisor
    return value.to(dtype or known.dtype), statistics


def loss_gradient_reference(
    of: str,
    to: str,
    dloss: Tensor,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    parameter: Tensor | float = 1.0,
    factor: Tensor | None = None,
    reduction: str = "mean",
    statistics: Tensor | None = None,
) -> Tensor:
    shape, _, acc, divisor = facts(of, x, target, weight, parameter, factor, reduction)
    check_gradient(of, dloss, shape, reduction, statistics)
    operand = _operand(to, x, target, weight, factor)
    weight, factor = None if to == "weight" else weight, None if to == "factor" else factor
    centre = statistics[1] if statistics is not None and to == "weight" else None
    value = _terms_reference(of, acc, x, target, weight, parameter, factor, centre)
    dloss = dloss.to(acc) / (divisor if statistics is None else statistics[0])
    return (value * dloss).expand(shape).sum_to_size(operand.shape).to(operand.dtype)


def _terms_reference(
    of: str,
    acc: torch.dtype,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    parameter: Tensor | float,
    factor: Tensor | None,
    centre: Tensor | None = None,
) -> Tensor:
    value = formula_reference(
        of, x.to(acc), target.to(acc), parameter.to(acc) if isinstance(parameter, Tensor) else parameter
    )
    if centre is not None:
        value = value - centre
    for each in (weight, factor):
        if each is not None:
            value = value * each.to(acc)
    return value


@op(reference=loss_reference)
def loss(
    of: str,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    parameter: Tensor | float = 1.0,
    factor: Tensor | None = None,
    reduction: str = "mean",
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor | None]:
    """loss_i = factor_i weight_i l(x_i, target_i; parameter_i), reduced over i.

    Each program sums a part in float32 (float64 for float64), further launches sum the parts: no atomics, and the same
    bits in every run and on any number of threads.

    Args:
        of: l, a name of loss.formulas.FORMULAS.
        x, target: shapes that broadcast, any strides, at least one of them floating-point; integers are taken too.
        weight, parameter, factor: tensors that broadcast to that shape, any strides; parameter may be a number.
        reduction: "none"; "sum"; "mean" over all i; "batchmean", the sum over the first size of `x`; "weighted mean",
            the sum over sum_i weight_i, each element of weight once.
        dtype: of the loss; that of x and target promoted if not given.

    Returns: the loss ([], or the common shape for "none") and, for "weighted mean", what its gradients need: the sum of
        the weights and the loss, in the dtype of sums.

    Raises: ShapeError for shapes that do not fit or a reduction of another name, DtypeError where neither x nor target
        is floating-point, RangeError for an x outside of [0, 1] for binary_cross_entropy (on a GPU: a device-side
        assertion).
    """
    known = facts(of, x, target, weight, parameter, factor, reduction)
    dtype = dtype or known.dtype
    p_ptr, p = (parameter, 0.0) if isinstance(parameter, Tensor) else (None, float(parameter))
    try:
        if reduction == "none":
            y = torch.empty_like(x, dtype=dtype) if x.shape == known.shape else x.new_empty(known.shape, dtype=dtype)
            _write_terms(of, known, (x, target, weight, factor, p_ptr), p, y)
            return y, None
        y = torch.empty((), dtype=dtype, device=x.device)
        statistics = torch.empty(2, dtype=known.acc, device=x.device) if reduction == "weighted mean" else None
        _sum_terms(of, known, (x, target, weight, factor, p_ptr), p, y, statistics)
    except KernelAssertionError as error:
        raise out_of_range(of, x) from error
    return y, statistics


@op(reference=loss_gradient_reference)
def loss_gradient(
    of: str,
    to: str,
    dloss: Tensor,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    parameter: Tensor | float = 1.0,
    factor: Tensor | None = None,
    reduction: str = "mean",
    statistics: Tensor | None = None,
) -> Tensor:
    """factor_i weight_i l(x_i, target_i; parameter_i) dloss_i, or dloss / n for a mean, as the gradient of an operand.

    For an operand that was broadcast, the sums over what it was broadcast along.

    Args:
        of: l; for the gradient of x or target a derivative of the loss by it, else the loss itself.
        to: the operand, "x", "target", "weight" or "factor"; the latter two are then no factors.
        dloss: the gradient of the loss, of its shape, any strides.
        statistics: for a weighted mean, what `loss` returned; for the gradient of its weight the mean is taken off l.

    Returns: a fresh tensor of the operand's shape and dtype, laid out in memory as `torch.empty_like` of it.

    Raises: as loss, and ShapeError for a dloss of another shape or statistics that are missing.
    """
    known = facts(of, x, target, weight, parameter, factor, reduction)
    shape = known.shape
    check_gradient(of, dloss, shape, reduction, statistics)
    operand = _operand(to, x, target, weight, factor)
    weight, factor = None if to == "weight" else weight, None if to == "factor" else factor
    p_ptr, p = (parameter, 0.0) if isinstance(parameter, Tensor) else (None, float(parameter))
    centred = statistics is not None and to == "weight"
    if operand.shape == shape:
        y = torch.empty_like(operand)
        _write_terms(of, known, (x, target, weight, factor, p_ptr), p, y, dloss, statistics, centred)
        return y
    missing = len(shape) - operand.dim()
    summed = [dim for dim in range(len(shape)) if dim < missing or operand.shape[dim - missing] != shape[dim]]
    kept = [dim for dim in range(len(shape)) if dim not in summed]
    order = summed + kept
    terms = x.new_empty([shape[dim] for dim in order], dtype=known.acc)
    y = terms.permute([order.index(dim) for dim in range(len(shape))])
    _write_terms(of, known, (x, target, weight, factor, p_ptr), p, y, dloss, statistics, centred)
    columns = terms.view(prod(shape[dim] for dim in summed), prod(shape[dim] for dim in kept))
    found: Tensor = column_sum(columns, out_dtype=operand.dtype)
    return found.view(operand.shape)


def _write_terms(
    of: str,
    known: Facts,
    operands: Tensors,
    p: float,
    y: Tensor,
    dloss: Tensor | None = None,
    statistics: Tensor | None = None,
    centred: bool = False,
) -> None:
    """operands: x, target, weight, factor and the parameter."""
    # One value for all, as the gradient of a sum that was taken elsewhere.
    scalar = dloss is not None and not any(dloss.stride())
    constexprs = {"OF": FORMULAS[of], "ACC": TL_DTYPES[known.acc], "SCALAR": scalar, "CENTRED": centred, **_debug(of)}
    divisor = known.divisor if statistics is None else 1.0
    for part in parts_of(known.shape, (*operands, None if scalar else dloss, y), device_target(y.device)):
        *given, own_dloss, own_y = part.tensors
        launch(
            _terms_kernel if part.alike else _terms_rows_kernel, (part.programs,),
            *given, dloss if scalar else own_dloss, own_y, statistics, *part.integers, p, divisor,
            **constexprs, **vars(part.tile),
        )  # fmt: skip


def _sum_terms(of: str, known: Facts, operands: Tensors, p: float, y: Tensor, statistics: Tensor | None) -> None:
    constexprs = {"OF": FORMULAS[of], "ACC": TL_DTYPES[known.acc], "WEIGHTED": statistics is not None, **_debug(of)}
    parts = parts_of(known.shape, operands, device_target(y.device))
    count = sum(part.programs for part in parts)
    sums = None if count == 1 else torch.empty((count, 2), dtype=known.acc, device=y.device)
    first = 0
    for part in parts:
        launch(
            _sum_kernel if part.alike else _sum_rows_kernel, (part.programs,),
            *part.tensors, sums[first:] if sums is not None and first else sums, y, statistics,
            *part.integers, p, known.divisor,
            **constexprs, **vars(part.tile),
        )  # fmt: skip
        first += part.programs
    while sums is not None:
        programs = max(1, triton.cdiv(count, _SUM_BLOCK))
        into = None if programs == 1 else torch.empty((programs, 2), dtype=known.acc, device=y.device)
        launch(
            _sum_parts_kernel, (programs,), sums, into, y, statistics, count, known.divisor,
            WEIGHTED=statistics is not None, BLOCK=_SUM_BLOCK,
        )  # fmt: skip
        sums, count = into, programs


def _debug(of: str) -> dict[str, Any]:
    """Assertions are compiled where a formula has one."""
    return ASSERTED if of == "binary_cross_entropy" else {}


def _operand(to: str, x: Tensor, target: Tensor, weight: Tensor | None, factor: Tensor | None) -> Tensor:
    operand = {"x": x, "target": target, "weight": weight, "factor": factor}.get(to)
    if operand is None:
        raise ShapeError(f"loss_gradient: to is {to!r}, which is none of the operands given")
    return operand
