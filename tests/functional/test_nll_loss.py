"""functional.nll_loss: gradients of every order, torch's arguments, autocast, and what is refused."""

import warnings

import pytest
import torch

from tritonnet.errors import BackwardError, ClassIndexError
from tritonnet.functional import log_softmax, nll_loss


@pytest.mark.parametrize("shape", [(7, 5), (5,), (2, 5, 3), (2, 5, 3, 2, 4), (0, 4), (4000, 3)], ids=str)
def test_against_torch(shape):
    x = torch.randn(shape, dtype=torch.float64)
    C = shape[1 if len(shape) > 1 else 0]
    target = torch.randint(0, C, shape[:1] + shape[2:] if len(shape) > 1 else ())
    weight = torch.rand(C, dtype=torch.float64)
    for options in ({}, {"weight": weight, "ignore_index": 1}, {"reduction": "sum"}, {"reduction": "none"}):
        results = []
        for function in (nll_loss, torch.nn.functional.nll_loss):
            leaf = x.clone().requires_grad_()
            loss = function(leaf, target, **options)
            loss.backward(torch.full_like(loss, 2.0))
            results.append([loss, leaf.grad])
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs, equal_nan=True)


def test_gradients_of_two_orders():
    x = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[0, 1], [2, -100], [1, 1], [0, 2]])
    weight = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    for reduction in ("mean", "sum", "none"):

        def loss(x, reduction=reduction):
            return nll_loss(log_softmax(x, 1), target, weight, reduction=reduction)

        assert torch.autograd.gradcheck(loss, x)
        assert torch.autograd.gradgradcheck(loss, x)


@pytest.mark.parametrize("size_average, reduce", [(None, None), (True, None), (False, True), (None, False)])
def test_arguments_are_torchs_in_their_places(size_average, reduce):
    x, target = torch.randn(6, 4), torch.tensor([0, 1, 2, 1, 3, 0])
    args = (x, target, torch.rand(4), size_average, 1, reduce, "sum")
    if size_average is reduce is None:
        loss = nll_loss(*args)
    else:
        with pytest.warns(DeprecationWarning, match="size_average and reduce are deprecated; use reduction=") as warned:
            loss = nll_loss(*args)
        assert warned[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torch.nn.functional.nll_loss(*args)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_autocast_widens_the_loss(dtype):
    x = torch.randn(6, 4, dtype=dtype, requires_grad=True)
    target = torch.arange(6) % 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nll_loss(x, target)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(loss, torch.nn.functional.nll_loss(x.to(loss.dtype), target))
    loss.backward()
    assert x.grad.dtype == dtype


def test_what_is_refused():
    x, target = torch.randn(3, 4), torch.tensor([0, 1, 2])
    weight = torch.ones(4, requires_grad=True)
    with pytest.raises(BackwardError, match="nll_loss: weight requires a gradient, which is not computed"):
        nll_loss(x, target, weight)
    with torch.no_grad():
        assert nll_loss(x, target, weight).isfinite()
    with pytest.raises(ClassIndexError, match=r"the class index 4; for 4 classes it lies in \[0, 3\]"):
        nll_loss(x, torch.tensor([0, 4, 2]))
