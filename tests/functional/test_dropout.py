"""functional.dropout: one mask both ways, seeds from torch's generator, in place, evaluation."""

import pytest
import torch

from tritonnet.errors import BackwardError, ShapeError
from tritonnet.functional import dropout


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
