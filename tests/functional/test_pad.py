"""functional.pad: gradients of two orders, torch's arguments, integers, errors."""

import pytest
import torch

from tritonnet.errors import ShapeError
from tritonnet.functional import pad

CASES = [
    ((2, 3, 4), (1, 2, -1, 1), "constant", 0.5),
    ((1, 2, 4, 3), (2, 1, -1, 3), "reflect", None),
    ((2, 2, 3), (1, 4), "replicate", None),
    ((1, 2, 3, 3), (2, -1, 0, 3), "replicate", 0),
    ((1, 1, 2, 3, 2), (1, 2, 1, 2, 0, 1), "circular", None),
]


@pytest.mark.parametrize("shape, pads, mode, value", CASES, ids=str)
def test_gradients_of_two_orders(shape, pads, mode, value):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y = pad(x, pads, mode, value)
    assert torch.equal(y, torch.nn.functional.pad(x, pads, mode, value))
    assert torch.autograd.gradcheck(lambda x: pad(x, pads, mode, value), x)
    assert torch.autograd.gradgradcheck(lambda x: pad(x, pads, mode, value), x)


def test_the_gradient_of_a_sum_is_expanded():
    x = torch.randn(2, 3, 4, 5, requires_grad=True)
    pad(x, [1, 2, 3, 0], "reflect").sum().backward()
    (expected,) = torch.autograd.grad(torch.nn.functional.pad(x, [1, 2, 3, 0], "reflect").sum(), x)
    torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_summed_in_float32(dtype):
    dy = torch.ones(1, 1, 3001, dtype=dtype)
    x = torch.zeros(1, 1, 1, dtype=dtype, requires_grad=True)
    pad(x, (1500, 1500), "replicate").backward(dy)
    assert x.grad.item() == torch.tensor(3001.0).to(dtype)


def test_integers_and_an_empty_batch():
    assert pad(torch.tensor([1, 2]), (1, 1), value=7).tolist() == [7, 1, 2, 7]
    x = torch.ones(0, 3, 4, requires_grad=True)
    y = pad(x, (1, 1), "reflect")
    y.sum().backward()
    assert y.shape == (0, 3, 6) and x.grad.shape == x.shape


def test_autocast_leaves_dtypes_alone():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert pad(torch.ones(2), (1, 1)).dtype == torch.float32


def test_errors():
    x = torch.ones(1, 2, 3)
    with pytest.raises(ShapeError, match="pad: value is 1.0; mode 'reflect' takes none"):
        pad(x, (1, 1), "reflect", 1.0)
    with pytest.raises(NotImplementedError, match="pad: mode is 'mirror'"):
        pad(x, (1, 1), "mirror")
    with pytest.raises(ShapeError, match="to reflect, they must be smaller than the dimension"):
        pad(x, (3, 0), "reflect")
