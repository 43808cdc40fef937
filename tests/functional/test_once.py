"""once_differentiable: a second derivative is refused on every way back to an input, whatever else leads there."""

import pytest
import torch

from tritonnet.errors import BackwardError
from tritonnet.functional._once import once_differentiable


class _Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @once_differentiable("cube")
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * dy


REFUSED = pytest.raises(BackwardError, match="cube: the gradient of its gradient is not offered")


def gradient(x, dy):
    (dx,) = torch.autograd.grad(_Cube.apply(x), x, dy, create_graph=True)
    return dx


def test_backward_through_the_gradient():
    x = torch.tensor([2.0], requires_grad=True)
    dx = gradient(x, torch.ones(1))
    assert dx.tolist() == [12] and dx.requires_grad
    with REFUSED:
        dx.backward()


def test_the_gradient_of_one_input_that_is_reached_on_another_way_too():
    x, dy = torch.tensor([2.0], requires_grad=True), torch.ones(1, requires_grad=True)
    with REFUSED:
        torch.autograd.grad(gradient(x, dy) + x**2, x)
    with REFUSED:
        torch.autograd.grad(gradient(x, dy) + dy, dy)


def test_the_first_derivative_is_left_alone():
    x = torch.tensor([2.0], requires_grad=True)
    _Cube.apply(x).backward()
    assert x.grad.tolist() == [12] and not x.grad.requires_grad
