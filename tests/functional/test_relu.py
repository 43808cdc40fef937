"""functional.relu: gradients of two orders, in place, incoming gradients of any layout."""

import pytest
import torch

from tritonnet.errors import BackwardError
from tritonnet.functional import relu
from tritonnet.kernels.relu import relu_reference
from tritonnet.testing import check


def test_gradient():
    check(relu, relu_reference, {"x": ("M", "N")}, dims={"M": [1, 3], "N": [1, 64, 1025]}, grad=["x"])


def test_gradients_of_two_orders():
    x = torch.randn(4, 5, dtype=torch.float64)
    x = torch.where(x.abs() < 0.1, 0.5, x).requires_grad_()
    assert torch.autograd.gradcheck(relu, x)
    assert torch.autograd.gradgradcheck(relu, x)


def test_in_place():
    x = torch.randn(4, 6, requires_grad=True)
    z = x * 2
    y = relu(z[:, ::2], inplace=True)
    z.sum().backward()
    doubled = x.detach() * 2
    assert torch.equal(y, torch.relu(doubled[:, ::2]))
    expected = torch.full_like(doubled, 2)
    expected[:, ::2] = 2.0 * (doubled[:, ::2] > 0)
    assert torch.equal(x.grad, expected)


def test_in_place_on_a_value_that_a_gradient_needs():
    x = torch.randn(3, requires_grad=True)
    z = x * 1
    square = z * z
    relu(z, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        square.sum().backward()


def test_in_place_on_a_leaf():
    x = torch.tensor([-1.0, 1.0], requires_grad=True)
    with pytest.raises(BackwardError, match="relu: inplace would overwrite a leaf that requires a gradient"):
        relu(x, inplace=True)
    assert x.tolist() == [-1, 1]
    with torch.no_grad():
        assert relu(x, inplace=True) is x
    assert x.tolist() == [0, 1]


def test_in_place_on_a_view_of_a_leaf():
    x = torch.tensor([-1.0, 1.0], requires_grad=True)
    for view in (x[:1], x[:][:1]):
        with pytest.raises(BackwardError, match="relu: inplace would overwrite a view of a leaf"):
            relu(view, inplace=True)
    assert x.tolist() == [-1, 1]
    with torch.no_grad():
        relu(x[:1], inplace=True)
    relu(x.detach()[:1], inplace=True)
    assert x.tolist() == [0, 1]
