"""Sums and products of tensors that broadcast, and the sums over what was broadcast that their gradients need."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._errors import DtypeError, ShapeError, dtype_name
from .._op import FLOATS, op
from .._tile import wide_dtype
from . import formulas as f
from .each import apply
from .sums import sum_into

Shape = Sequence[int]


def add_reference(a: Tensor, b: Tensor, alpha: float = 1.0) -> Tensor:
    dtype, _ = _promoted("add", a, b)
    wide = wide_dtype(dtype)
    return (a.to(wide) + alpha * b.to(wide)).to(dtype)


def affine_reference(x: Tensor, factor: float, shift: float = 0.0, dtype: torch.dtype | None = None) -> Tensor:
    dtype = _floating("affine", dtype or x.dtype, x)
    y = factor * x.to(wide_dtype(dtype))
    return (y + shift if shift else y).to(dtype)


def mul_reference(a: Tensor, b: Tensor, shape: Shape | None = None, dtype: torch.dtype | None = None) -> Tensor:
    promoted, full = _promoted("mul", a, b)
    wide = wide_dtype(promoted)
    y = a.to(wide) * b.to(wide)
    if shape is not None:
        _check_sum("mul", full, shape)
        y = y.sum_to_size(shape)
    return y.to(dtype or promoted)


def sum_to_reference(x: Tensor, shape: Shape, factor: float = 1.0, dtype: torch.dtype | None = None) -> Tensor:
    dtype = _floating("sum_to", dtype or x.dtype, x)
    _check_sum("sum_to", x.shape, shape)
    return (factor * x.to(wide_dtype(x.dtype)).sum_to_size(shape)).to(dtype)


@op(reference=add_reference, flops=lambda a, b, *_: 2 * torch.broadcast_shapes(a.shape, b.shape).numel())
def add(a: Tensor, b: Tensor, alpha: float = 1.0) -> Tensor:
    """y = a + alpha b, where a and b broadcast; of the dtype that torch promotes theirs to.

    Args:
        a, b: any real dtypes and strides.

    Returns: a fresh tensor, laid out in memory as one of them that has its shape.
    Raises: ShapeError for shapes that do not broadcast, DtypeError where the result would not be floating-point.
    """
    dtype, shape = _promoted("add", a, b)
    y = _empty(shape, dtype, a, b)
    apply(f.total, y, (_expanded(a, shape), _expanded(b, shape)), (float(alpha),))
    return y


@op(reference=affine_reference, flops=lambda x, *_, **__: 2 * x.numel())
def affine(x: Tensor, factor: float, shift: float = 0.0, dtype: torch.dtype | None = None) -> Tensor:
    """y = factor x + shift.

    Args:
        x: any real dtype and strides.
        dtype: of y; that of `x` if not given.

    Returns: a fresh tensor, laid out in memory as `torch.empty_like(x)`.
    Raises: DtypeError where the result would not be floating-point.
    """
    y = torch.empty_like(x, dtype=_floating("affine", dtype or x.dtype, x))
    if shift:
        apply(f.affine, y, (x,), (float(factor), float(shift)))
    else:
        apply(f.scaled, y, (x,), (float(factor),))
    return y


@op(reference=mul_reference, flops=lambda a, b, *_, **__: torch.broadcast_shapes(a.shape, b.shape).numel())
def mul(a: Tensor, b: Tensor, shape: Shape | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """y = a b, where a and b broadcast; with `shape` summed over the dimensions along which that would broadcast.

    Sums are float32 (float64 for float64), in an order that depends on the sizes alone.

    Args:
        a, b: any real dtypes and strides.
        shape: of y.
        dtype: of y; if not given, what torch promotes those of a and b to.

    Returns: a fresh tensor, laid out in memory as one of them that has its shape, or contiguous.
    Raises: ShapeError for shapes that do not broadcast, DtypeError where the result would not be floating-point.
    """
    promoted, full = _promoted("mul", a, b)
    if shape is None:
        shape = full
    _check_sum("mul", full, shape)
    return _summed(f.product, (a, b), full, shape, dtype or promoted)


@op(reference=sum_to_reference, flops=lambda x, *_, **__: x.numel())
def sum_to(x: Tensor, shape: Shape, factor: float = 1.0, dtype: torch.dtype | None = None) -> Tensor:
    """y = factor x, summed over the dimensions along which `shape` would broadcast to x's.

    Sums are float32 (float64 for float64), in an order that depends on the sizes alone.

    Args:
        x: floating-point, any strides.
        dtype: of y; that of `x` if not given.

    Returns: a fresh tensor, laid out in memory as `torch.empty_like(x)` where nothing is summed, else contiguous.
    Raises: ShapeError for a shape that does not broadcast to x's, DtypeError where the result would not be
        floating-point.
    """
    dtype = _floating("sum_to", dtype or x.dtype, x)
    _check_sum("sum_to", x.shape, shape)
    return _summed(f.scaled, (x,), x.shape, shape, dtype, (float(factor),))


def _summed(
    formula: Any,
    operands: Sequence[Tensor],
    full: torch.Size,
    shape: Shape,
    dtype: torch.dtype,
    scalars: tuple[float, ...] = (),
) -> Tensor:
    expanded = [_expanded(one, full) for one in operands]
    if tuple(shape) == full:
        y = _empty(full, dtype, *operands)
        apply(formula, y, expanded, scalars)
        return y
    y = operands[0].new_empty((*(1 for _ in range(len(full) - len(shape))), *shape), dtype=dtype)
    sum_into(formula, y, expanded, scalars)
    return y.view(tuple(shape))


def _empty(shape: torch.Size, dtype: torch.dtype, *tensors: Tensor) -> Tensor:
    for one in tensors:
        if one.shape == shape:
            return torch.empty_like(one, dtype=dtype)
    return tensors[0].new_empty(shape, dtype=dtype)


def _promoted(name: str, a: Tensor, b: Tensor) -> tuple[torch.dtype, torch.Size]:
    dtype = a.dtype if a.dtype == b.dtype else torch.result_type(a, b)
    _floating(name, dtype, a, b)
    return dtype, a.shape if a.shape == b.shape else _broadcast(name, a.shape, b.shape)


@functools.lru_cache(4096)
def _broadcast(name: str, a: torch.Size, b: torch.Size) -> torch.Size:
    try:
        return torch.broadcast_shapes(a, b)
    except RuntimeError:
        raise ShapeError(f"{name}: {tuple(a)} and {tuple(b)} do not broadcast") from None


def _expanded(x: Tensor, shape: torch.Size) -> Tensor:
    return x if x.shape == shape else x.expand(shape)


def _floating(name: str, dtype: torch.dtype, *given: Tensor) -> torch.dtype:
    if dtype not in FLOATS:
        dtypes = " and ".join(dtype_name(one.dtype) for one in given)
        raise DtypeError(f"{name}: of {dtypes} the result would be {dtype_name(dtype)}; it is floating-point here")
    return dtype


def _check_sum(name: str, full: Shape, shape: Shape) -> None:
    padded = (*(1 for _ in range(len(full) - len(shape))), *shape)
    if len(shape) > len(full) or any(size not in (1, whole) for size, whole in zip(padded, full, strict=True)):
        raise ShapeError(f"{name}: {tuple(shape)} does not broadcast to {tuple(full)}")
