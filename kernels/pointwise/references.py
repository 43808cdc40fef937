"""What the formulas mean, in plain torch and right in float64. Their derivatives are what torch finds for them."""

from collections.abc import Callable

import torch
from torch import Tensor

aten = torch.ops.aten


def hardsigmoid(x: Tensor) -> Tensor:
    return aten.hardtanh(x + 3, 0, 6) / 6


def celu(x: Tensor, alpha: float) -> Tensor:
    return aten.elu(x, alpha, 1.0, 1 / alpha)


def gelu(x: Tensor) -> Tensor:
    # Not 1 + erf(x / sqrt(2)), which cancels.
    return x * torch.special.erfc(x * -(0.5**0.5)) / 2


def gelu_tanh(x: Tensor) -> Tensor:
    return x * torch.sigmoid((8 / torch.pi) ** 0.5 * (x + 0.044715 * x * x * x))


def silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def mish(x: Tensor) -> Tensor:
    return x * torch.tanh(aten.softplus(x))


def softsign(x: Tensor) -> Tensor:
    return x / (1 + x.abs())


def tanhshrink(x: Tensor) -> Tensor:
    return x - torch.tanh(x)


def sigmoid_backward(dy: Tensor, y: Tensor) -> Tensor:
    return dy * (y * (1 - y))


def tanh_backward(dy: Tensor, y: Tensor) -> Tensor:
    return dy * (1 - y * y)


def rsqrt_backward(dy: Tensor, y: Tensor) -> Tensor:
    return dy * (-0.5 * (y * y * y))


def elu_backward_of_y(dy: Tensor, y: Tensor, alpha: float) -> Tensor:
    return torch.where(y <= 0, dy * (y + alpha), dy)


def celu_backward_of_y(dy: Tensor, y: Tensor, alpha: float) -> Tensor:
    return torch.where(y <= 0, dy * (y / alpha + 1), dy)


def selu_backward_of_y(dy: Tensor, y: Tensor) -> Tensor:
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return torch.where(y <= 0, dy * (y + scale * alpha), dy * scale)


def derivative(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """(d, x, ...) -> the gradient of d . function(x, ...) with respect to x; differentiable in x once more."""

    def backward(d: Tensor, x: Tensor, *scalars: float) -> Tensor:
        again = torch.is_grad_enabled() and x.requires_grad
        with torch.enable_grad():
            leaf = x if again else x.detach().requires_grad_()
            (dx,) = torch.autograd.grad(function(leaf, *scalars), leaf, d, create_graph=again)
        return dx

    return backward


def second_derivative(backward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """(ddx, dy, x, ...) -> the gradient of ddx . backward(dy, x, ...) with respect to x."""

    def double_backward(ddx: Tensor, dy: Tensor, x: Tensor, *scalars: float) -> Tensor:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (gx,) = torch.autograd.grad(backward(dy, leaf, *scalars), leaf, ddx)
        return gx

    return double_backward
