"""An activation as a function of autograd: gradients of two orders, of every order where it is piecewise linear."""

from typing import Any

import torch
from torch import Tensor

from tritonnet.errors import BackwardError
from tritonnet.kernels.pointwise.ops import ACTIVATIONS, Activation, Gradient, copy

from .._function import Function
from .._inplace import check_writable

Scalars = tuple[float, ...]


def run(name: str, x: Tensor, scalars: Scalars = (), dtype: torch.dtype | None = None) -> Tensor:
    """The activation of that name of x, in x's dtype if no other is given."""
    y: Tensor = _Activation.apply(x, ACTIVATIONS[name], scalars, dtype)
    return y


def overwrite(name: str, x: Tensor, scalars: Scalars = (), *, readable: bool = True) -> Tensor:
    """The same in place; returns x.

    readable: whether the gradient can be found from y for these scalars. Otherwise x is copied, if it is needed.

    Raises: BackwardError for a leaf that requires a gradient, or a view of one; ShapeError for an expanded tensor.
    """
    check_writable(name, x)
    activation = ACTIVATIONS[name]
    gradient = activation.of_y if readable else None
    x_before = None
    if gradient is None and x.requires_grad and torch.is_grad_enabled():
        gradient, x_before = activation.of_x, _Copy.apply(x)
    _Overwrite.apply(x, x_before, activation, gradient, scalars)
    return x


class _Activation(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: Activation, scalars: Scalars, dtype: torch.dtype | None) -> Tensor:
        y: Tensor = activation.forward(x, *scalars) if dtype is None else activation.forward(x, *scalars, dtype=dtype)
        if activation.of_x is None:
            ctx.gradient = activation.of_y
            ctx.save_for_backward(y)
        else:
            ctx.gradient = activation.of_x
            ctx.save_for_backward(x)
        ctx.scalars = scalars
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None]:
        (kept,) = ctx.saved_tensors
        return differentiate(dy, kept, ctx.gradient, ctx.scalars), None, None, None


class _Overwrite(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        x_before: Tensor | None,
        activation: Activation,
        gradient: Gradient | None,
        scalars: Scalars,
    ) -> Tensor:
        assert activation.inplace is not None
        activation.inplace(x, *scalars)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x if x_before is None else x_before)
        ctx.gradient, ctx.scalars = gradient, scalars
        return x

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None, None]:
        (kept,) = ctx.saved_tensors
        return differentiate(dy, kept, ctx.gradient, ctx.scalars), None, None, None, None


class _Copy(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y: Tensor = copy(x)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        return dy


def differentiate(dy: Tensor, kept: Tensor, gradient: Gradient, scalars: Scalars = ()) -> Tensor:
    """f'(x) dy, where f' is found from what was kept."""
    # Without a graph of the backward there is no need for a node in it.
    if torch.is_grad_enabled():
        dx: Tensor = _Gradient.apply(dy, kept, gradient, scalars)
    else:
        dx = gradient.backward(dy, kept, *scalars)
    return dx


class _Gradient(Function):
    """(dy, kept) -> dx. Linear in dy: its derivative in dy is itself."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, kept: Tensor, gradient: Gradient, scalars: Scalars) -> Tensor:
        ctx.save_for_backward(kept, None if gradient.double_backward is None else dy)
        ctx.gradient, ctx.scalars = gradient, scalars
        dx: Tensor = gradient.backward(dy, kept, *scalars)
        return dx

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        kept, dy = ctx.saved_tensors
        ddy, of_kept = None, None
        if ctx.needs_input_grad[0]:
            ddy = differentiate(ddx, kept, ctx.gradient, ctx.scalars)
        if ctx.needs_input_grad[1] and dy is not None:
            of_kept = _SecondGradient.apply(ddx, dy, kept, ctx.gradient, ctx.scalars)
        return ddy, of_kept, None, None


class _SecondGradient(Function):
    """(ddx, dy, kept) -> the gradient of ddx . dx with respect to what was kept."""

    @staticmethod
    def forward(ctx: Any, ddx: Tensor, dy: Tensor, kept: Tensor, gradient: Gradient, scalars: Scalars) -> Tensor:
        assert gradient.double_backward is not None
        ctx.name = gradient.backward.name.removesuffix("_of_y").removesuffix("_backward")
        of_kept: Tensor = gradient.double_backward(ddx, dy, kept, *scalars)
        return of_kept

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise BackwardError(f"{ctx.name}: its third derivative is not offered (create_graph=True, twice)")


class ReluGradient:
    """(dy, y = relu(x)) -> dx, differentiable."""

    @staticmethod
    def apply(dy: Tensor, y: Tensor) -> Tensor:
        gradient = ACTIVATIONS["relu"].of_y
        assert gradient is not None
        return differentiate(dy, y, gradient)
