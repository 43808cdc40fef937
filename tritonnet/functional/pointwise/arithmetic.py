"""Sums and products that broadcast, with gradients of every order."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tritonnet.errors import DtypeError
from tritonnet.kernels.pointwise import arithmetic as kernels

from .._function import Function

Number = bool | int | float


def add(input: Tensor | Number, other: Tensor | Number, *, alpha: Number = 1) -> Tensor:
    """y = input + alpha other, which broadcast; of the dtype that torch promotes theirs to.

    Gradients are summed over what was broadcast in float32 (float64 for float64), in one order.

    Args:
        input, other: tensors of any strides, or one of them a number.

    Raises: ShapeError for shapes that do not broadcast, DtypeError where the result would not be floating-point.
    """
    alpha = _number("add", alpha)
    if isinstance(input, Tensor) and isinstance(other, Tensor):
        y: Tensor = _Add.apply(input, other, alpha)
        return y
    if isinstance(input, Tensor):
        return _affine(input, 1.0, alpha * _number("add", other), torch.result_type(input, other))
    if isinstance(other, Tensor):
        return _affine(other, alpha, _number("add", input), torch.result_type(input, other))
    raise DtypeError("add: got two numbers; one of them needs to be a tensor")


def mul(input: Tensor | Number, other: Tensor | Number) -> Tensor:
    """y = input other, which broadcast; of the dtype that torch promotes theirs to.

    Gradients, arguments and errors as for add.
    """
    if isinstance(input, Tensor) and isinstance(other, Tensor):
        y: Tensor = _Mul.apply(input, other, None, None)
        return y
    if isinstance(input, Tensor):
        return _affine(input, _number("mul", other), 0.0, torch.result_type(input, other))
    if isinstance(other, Tensor):
        return _affine(other, _number("mul", input), 0.0, torch.result_type(input, other))
    raise DtypeError("mul: got two numbers; one of them needs to be a tensor")


def _number(name: str, value: Any) -> float:
    if not isinstance(value, Number):
        raise DtypeError(f"{name}: got {value!r}; it takes tensors and real numbers")
    return float(value)


def _affine(x: Tensor, factor: float, shift: float, dtype: torch.dtype) -> Tensor:
    y: Tensor = _Affine.apply(x, factor, shift, dtype)
    return y


def _sum_to(x: Tensor, shape: torch.Size, factor: float, dtype: torch.dtype) -> Tensor:
    if x.shape == shape and factor == 1.0 and x.dtype == dtype:
        return x
    y: Tensor = _SumTo.apply(x, shape, factor, dtype)
    return y


class _Add(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, alpha: float) -> Tensor:
        ctx.of_a, ctx.of_b = (a.shape, 1.0, a.dtype), (b.shape, alpha, b.dtype)
        y: Tensor = kernels.add(a, b, alpha)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        da = _sum_to(dy, *ctx.of_a) if ctx.needs_input_grad[0] else None
        db = _sum_to(dy, *ctx.of_b) if ctx.needs_input_grad[1] else None
        return da, db, None


class _Affine(Function):
    """factor x + shift."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float, shift: float, dtype: torch.dtype) -> Tensor:
        ctx.factor, ctx.dtype = factor, x.dtype
        y: Tensor = kernels.affine(x, factor, shift, dtype)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None]:
        return _sum_to(dy, dy.shape, ctx.factor, ctx.dtype), None, None, None


class _SumTo(Function):
    """factor x, summed over the dimensions along which `shape` would broadcast to x's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: torch.Size, factor: float, dtype: torch.dtype) -> Tensor:
        ctx.shape, ctx.factor, ctx.dtype = x.shape, factor, x.dtype
        y: Tensor = kernels.sum_to(x, shape, factor, dtype)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None]:
        dx = _Expand.apply(dy, ctx.shape)
        return _sum_to(dx, dx.shape, ctx.factor, ctx.dtype), None, None, None


class _Expand(Function):
    """A view of another shape, whose gradient our kernels sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: torch.Size) -> Tensor:
        ctx.shape = x.shape
        return x.expand(shape)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        return _sum_to(dy, ctx.shape, 1.0, dy.dtype), None


class _Mul(Function):
    """a b, summed over the dimensions along which `shape`, if it is given, would broadcast to theirs."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, shape: Sequence[int] | None, dtype: torch.dtype | None) -> Tensor:
        needs_a, needs_b = ctx.needs_input_grad[:2]
        ctx.save_for_backward(a if needs_b else None, b if needs_a else None)
        ctx.of_a, ctx.of_b = (a.shape, a.dtype), (b.shape, b.dtype)
        y: Tensor = kernels.mul(a, b, shape, dtype)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        a, b = ctx.saved_tensors
        full = torch.broadcast_shapes(ctx.of_a[0], ctx.of_b[0])
        if dy.shape != full:
            dy = _Expand.apply(dy, full)
        da = _Mul.apply(dy, b, *ctx.of_a) if ctx.needs_input_grad[0] else None
        db = _Mul.apply(dy, a, *ctx.of_b) if ctx.needs_input_grad[1] else None
        return da, db, None, None
