"""functional.softmax, log_softmax, softmin: gradients of two orders, torch's arguments, autocast."""

import pytest
import torch

from tritonnet import functional as F
from tritonnet.errors import BackwardError, DtypeError
from tritonnet.kernels.softmax import softmax_reference
from tritonnet.testing import check

NAMES = ["softmax", "log_softmax", "softmin"]


def test_gradient():
    # In half precision the gradient is that at the rounded y: what kernels.softmax_backward is checked for.
    check(
        lambda x: F.log_softmax(x, 1),
        lambda x: softmax_reference(x, 1, log=True),
        {"x": ("N", "C")},
        dims={"N": [5, 128], "C": [10]},
        grad=["x"],
        dtypes=[torch.float32],
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_gradients_of_two_orders(name, dim):
    x = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: getattr(F, name)(x, dim), x)
    assert torch.autograd.gradgradcheck(lambda x: getattr(F, name)(x, dim), x)


def test_a_third_derivative_is_refused():
    x = torch.randn(4, dtype=torch.float64, requires_grad=True)
    (dx,) = torch.autograd.grad(F.softmax(x, 0)[0], x, create_graph=True)
    (ddx,) = torch.autograd.grad(dx[1], x, create_graph=True)
    with pytest.raises(BackwardError, match="the gradient of softmax: the gradient of its gradient is not offered"):
        torch.autograd.grad(ddx[2], x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(), (5,), (3, 5), (2, 3, 5), (2, 3, 5, 2), (2, 3, 1, 2, 2)], ids=str)
def test_without_a_dimension(name, shape):
    x = torch.randn(shape)
    message = f"Implicit dimension choice for {name} has been deprecated"
    with pytest.warns(UserWarning, match=message) as warned:
        y = getattr(F, name)(x)
    assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match=message):
        expected = getattr(torch.nn.functional, name)(x)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_torchs_in_their_places(name):
    x = torch.randn(3, 5, dtype=torch.float16, requires_grad=True)
    y, expected = (getattr(space, name)(x, 1, 3, torch.float64) for space in (F, torch.nn.functional))
    torch.testing.assert_close(y, expected)
    dy = torch.randn_like(y)
    (dx,), (wanted,) = (torch.autograd.grad(result, x, dy) for result in (y, expected))
    assert dx.dtype == torch.float16
    torch.testing.assert_close(dx, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_autocast_widens_the_result(dtype):
    x = torch.randn(6, 4, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = F.softmax(x, 1)
        half = F.softmax(x, 1, dtype=torch.float16)
    assert y.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert half.dtype == torch.float16
    torch.testing.assert_close(y, torch.softmax(x, 1, dtype=y.dtype))
    y.backward(torch.randn_like(y))
    assert x.grad.dtype == dtype


def test_integers():
    x = torch.tensor([[0, 3, -1]])
    torch.testing.assert_close(F.softmax(x, 1, dtype=torch.float32), torch.softmax(x, 1, dtype=torch.float32))
    with pytest.raises(DtypeError, match="softmax: x is int64; pass dtype="):
        F.softmax(x, 1)
