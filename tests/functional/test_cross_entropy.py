"""functional.cross_entropy: gradients, autocast, and what is refused."""

import warnings

import pytest
import torch

from tritonnet.errors import BackwardError, ClassIndexError, DtypeError, ShapeError
from tritonnet.functional import cross_entropy
from tritonnet.kernels.cross_entropy import cross_entropy_reference
from tritonnet.testing import check


def test_gradient():
    def target(sizes, generator):
        return torch.randint(0, sizes["C"], (sizes["N"],), generator=generator)

    check(
        cross_entropy,
        lambda x, target, **options: cross_entropy_reference(x, target, **options)[0],
        {"x": ("N", "C"), "target": target},
        dims={"N": [5, 128], "C": [10]},
        hyper=[{"reduction": "none", "label_smoothing": 0.1}],
        grad=["x"],
        dtypes=[torch.float32, torch.bfloat16],
    )


def test_gradcheck():
    x = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[0, 1], [2, -100], [1, 1], [0, 2]])
    weight = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    for reduction in ("mean", "sum", "none"):
        assert torch.autograd.gradcheck(
            lambda x, r=reduction: cross_entropy(x, target, weight, reduction=r, label_smoothing=0.1), x
        )


@pytest.mark.parametrize("size_average", [None, True, False])
@pytest.mark.parametrize("reduce", [None, True, False])
def test_arguments_are_torchs_in_their_places(size_average, reduce):
    x, target = torch.randn(6, 4), torch.tensor([0, 1, 2, 1, 3, 0])
    args = (x, target, torch.rand(4), size_average, 1, reduce, "sum", 0.1)
    if size_average is reduce is None:
        loss = cross_entropy(*args)
    else:
        with pytest.warns(DeprecationWarning, match="size_average and reduce are deprecated; use reduction=") as warned:
            loss = cross_entropy(*args)
        assert warned[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torch.nn.functional.cross_entropy(*args)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_autocast_widens_the_loss(dtype):
    x = torch.randn(6, 4, dtype=dtype, requires_grad=True)
    target = torch.arange(6) % 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = cross_entropy(x, target)
        expected = torch.nn.functional.cross_entropy(x, target)
    assert loss.dtype == expected.dtype
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert x.grad.dtype == dtype
    probabilities = torch.rand(6, 4, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert cross_entropy(x, probabilities).dtype == expected.dtype


def test_the_gradient_of_the_gradient_is_refused():
    x = torch.randn(3, 4, requires_grad=True)
    (dx,) = torch.autograd.grad(cross_entropy(x, torch.tensor([0, 1, 2])), x, create_graph=True)
    assert dx.requires_grad
    with pytest.raises(BackwardError, match="cross_entropy: the gradient of its gradient is not offered"):
        (dx * dx).sum().backward()


def test_a_weight_that_requires_a_gradient_is_refused():
    weight = torch.ones(4, requires_grad=True)
    x, target = torch.randn(3, 4), torch.tensor([0, 1, 2])
    with pytest.raises(BackwardError, match="cross_entropy: weight requires a gradient, which is not computed"):
        cross_entropy(x, target, weight)
    with torch.no_grad():
        assert cross_entropy(x, target, weight).isfinite()


def test_gradcheck_of_class_probabilities():
    x = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    target = torch.rand(4, 3, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    for reduction in ("mean", "sum", "none"):
        assert torch.autograd.gradcheck(
            lambda x, t, r=reduction: cross_entropy(x, t, weight, reduction=r, label_smoothing=0.1), (x, target)
        )


@pytest.mark.parametrize("shape", [(7, 5), (5,), (2, 5, 3), (2, 5, 3, 2, 4), (0, 4), (3, 4200)], ids=str)
def test_class_probabilities_against_torch(shape):
    x, target = (torch.randn(shape, dtype=torch.float64) for _ in range(2))
    weight = torch.rand(shape[1 if len(shape) > 1 else 0], dtype=torch.float64)
    for options in ({}, {"weight": weight, "label_smoothing": 0.2}, {"reduction": "sum"}, {"reduction": "none"}):
        results = []
        for function in (cross_entropy, torch.nn.functional.cross_entropy):
            leaves = [tensor.clone().requires_grad_() for tensor in (x, target)]
            loss = function(*leaves, **options)
            loss.backward(torch.full_like(loss, 2.0))
            results.append([loss, *(leaf.grad for leaf in leaves)])
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs, equal_nan=True)


def test_the_gradient_that_class_probabilities_do_not_need():
    x, target = torch.randn(4, 3, requires_grad=True), torch.rand(4, 3)
    cross_entropy(x, target).backward()
    expected = x.detach().requires_grad_()
    torch.nn.functional.cross_entropy(expected, target).backward()
    torch.testing.assert_close(x.grad, expected.grad)
    (dtarget,) = torch.autograd.grad(cross_entropy(x.detach(), target.requires_grad_(), reduction="sum"), target)
    torch.testing.assert_close(dtarget, -torch.log_softmax(x.detach(), 1))


def test_an_ignored_index_of_class_probabilities():
    x, target = torch.randn(4, 3), torch.rand(4, 3)
    with pytest.raises(ShapeError, match="ignore_index is 1; class probabilities have no index"):
        cross_entropy(x, target, ignore_index=1)
    assert cross_entropy(x, target, ignore_index=-1) == cross_entropy(x, target)


def test_targets_of_other_dtypes():
    x, target = torch.randn(4, 3), torch.tensor([0, 2, 1, 0])
    assert cross_entropy(x, target.byte()) == cross_entropy(x, target)
    with pytest.raises(DtypeError, match="cross_entropy: target is int32"):
        cross_entropy(x, target.int())


def test_a_class_out_of_bounds():
    with pytest.raises(ClassIndexError, match=r"the class index 4; for 4 classes it lies in \[0, 3\]"):
        cross_entropy(torch.randn(3, 4, requires_grad=True), torch.tensor([0, 4, 2]))
