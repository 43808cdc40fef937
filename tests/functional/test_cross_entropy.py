"""functional.cross_entropy: gradients, autocast, and what is refused."""

import warnings

import pytest
import torch

from tritonnet.errors import BackwardError, ClassIndexError
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
        dims={"N": [1, 5, 128], "C": [2, 10]},
        hyper=[{"reduction": "sum"}, {"reduction": "none", "label_smoothing": 0.1}],
        grad=["x"],
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


def test_a_class_out_of_bounds():
    with pytest.raises(ClassIndexError, match=r"the class index 4; for 4 classes it lies in \[0, 3\]"):
        cross_entropy(torch.randn(3, 4, requires_grad=True), torch.tensor([0, 4, 2]))
