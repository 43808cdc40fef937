"""functional.dropout: one mask both ways, seeds from torch's generator, in place, evaluation."""

import pytest
import torch

from tritonnet.errors import BackwardError, ShapeError
from tritonnet.functional import dropout, dropout1d, dropout2d, dropout3d


def test_the_gradient_has_the_mask_of_the_value():
    x = torch.randn(50, 70, requires_grad=True)
    y = dropout(x, 0.3)
    dy = torch.randn(70, 50).t()
    y.backward(dy)
    kept = y != 0
    assert 0.6 < float(kept.float().mean()) < 0.8
    torch.testing.assert_close(y, torch.where(kept, x / 0.7, 0))
    torch.testing.assert_close(x.grad, torch.where(kept, dy / 0.7, 0))


def test_the_gradient_of_an_expanded_scalar():
    x = torch.ones(3000, requires_grad=True)
    y = dropout(x, 0.5)
    y.sum().backward()
    assert torch.equal(x.grad, y)


def test_gradients_of_two_orders():
    def fixed(x):
        torch.manual_seed(3)
        return dropout(x, 0.4)

    x = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fixed, x)
    assert torch.autograd.gradgradcheck(fixed, x)


def test_manual_seed_repeats_the_masks():
    x = torch.ones(1000)
    torch.manual_seed(5)
    first = [dropout(x), dropout(x)]
    torch.manual_seed(5)
    assert torch.equal(dropout(x), first[0]) and torch.equal(dropout(x), first[1])
    assert not torch.equal(*first)


def test_the_mask_does_not_depend_on_the_layout():
    x = torch.randn(2, 3, 8, 8)
    torch.manual_seed(5)
    y = dropout(x)
    torch.manual_seed(5)
    z = dropout(x.to(memory_format=torch.channels_last))
    assert z.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(y, z)


def test_evaluation_and_no_dropping():
    x = torch.randn(5, requires_grad=True)
    before = torch.get_rng_state()
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0) is x
    assert torch.equal(torch.get_rng_state(), before)


def test_everything_dropped():
    x = torch.randn(5, requires_grad=True)
    y = dropout(x, 1.0)
    y.sum().backward()
    assert (y == 0).all() and (x.grad == 0).all()


def test_in_place():
    x = torch.randn(100, requires_grad=True)
    z = x * 1
    y = dropout(z, 0.5, inplace=True)
    assert y is z
    y.sum().backward()
    torch.testing.assert_close(x.grad, (y != 0) * 2.0)


def test_errors():
    x = torch.ones(3, requires_grad=True)
    with pytest.raises(ShapeError, match=r"dropout: p is -0.1; a probability lies in \[0, 1\]"):
        dropout(x, -0.1)
    with pytest.raises(BackwardError, match="dropout: inplace would overwrite a leaf"):
        dropout(x, inplace=True)
    with pytest.raises(BackwardError, match="dropout: inplace would overwrite a view of a leaf"):
        dropout(x[1:], inplace=True)
    assert x.tolist() == [1, 1, 1]


CHANNELS = [
    (dropout1d, (20, 30, 4), False),
    (dropout1d, (600, 4), True),
    (dropout2d, (20, 30, 2, 3), False),
    (dropout3d, (20, 30, 2, 1, 3), False),
    (dropout3d, (600, 2, 1, 3), True),
]


@pytest.mark.parametrize("function, shape, single", CHANNELS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_whole_channels(function, shape, single):
    x = torch.rand(shape).add(1).requires_grad_()
    y = function(x, 0.3)
    flat = (y != 0).reshape(600, -1)
    assert y.shape == x.shape
    assert torch.equal(flat.all(1), flat.any(1))
    assert 0.6 < flat.all(1).float().mean() < 0.8
    torch.testing.assert_close(y, torch.where(y != 0, x / 0.7, 0))
    dy = torch.rand(shape).add(1)
    y.backward(dy)
    torch.testing.assert_close(x.grad, torch.where(y != 0, dy / 0.7, 0))

    z = x.detach() * 1
    assert function(z, 0.3, inplace=True) is z
    gone = (z == 0).reshape(600, -1)
    assert torch.equal(gone.all(1), gone.any(1)) and 0.2 < gone.all(1).float().mean() < 0.4
    before = torch.get_rng_state()
    assert function(x, 0.3, training=False) is x and function(x, 0.0) is x
    assert torch.equal(torch.get_rng_state(), before)
    assert not function(x, 1.0).any()


@pytest.mark.parametrize("function, shape", [(dropout1d, (6, 5)), (dropout2d, (2, 3, 2, 2)), (dropout3d, (5, 2, 2, 1))])
def test_channels_in_place_and_gradients_of_two_orders(function, shape):
    def fixed(x):
        torch.manual_seed(3)
        return function(x, 0.4)

    def in_place(x):
        torch.manual_seed(3)
        return function(x * 1, 0.4, inplace=True)

    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.equal(fixed(x), in_place(x))
    assert torch.autograd.gradcheck(fixed, x) and torch.autograd.gradcheck(in_place, x)
    assert torch.autograd.gradgradcheck(fixed, x)


@pytest.mark.parametrize("name, shape", [("dropout2d", (2, 3)), ("dropout2d", (2, 3, 4)), ("dropout3d", (2, 3, 4))])
def test_inputs_that_torch_warns_of(name, shape):
    x = torch.ones(shape)
    with pytest.warns(UserWarning, match=name) as warned:
        y = {"dropout2d": dropout2d, "dropout3d": dropout3d}[name](x, 0.5)
    assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match=name):
        theirs = getattr(torch.nn.functional, name)(x, 0.5)
    assert y.shape == theirs.shape
    channels = 1 if name == "dropout3d" else 2
    assert torch.equal(y.reshape(*shape[:channels], -1).amax(-1), y.reshape(*shape[:channels], -1).amin(-1))


def test_errors_of_channels():
    x = torch.ones(2, 3, 4, requires_grad=True)
    with pytest.raises(ShapeError, match=r"dropout1d: input is \(2, 3, 4, 1\); it takes \[N, C, L\] or \[C, L\]"):
        dropout1d(x[..., None])
    with pytest.warns(UserWarning), pytest.raises(ShapeError, match=r"dropout2d: input is \(4,\); it has no channels"):
        dropout2d(x[0, 0])
    with pytest.raises(ShapeError, match="dropout3d: p is 2; a probability"):
        dropout3d(x[None], 2)
    with pytest.raises(BackwardError, match="dropout1d: inplace would overwrite a leaf"):
        dropout1d(x, inplace=True)
    assert (x == 1).all()
