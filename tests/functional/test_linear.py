"""linear: values and gradients in every size, dtype and layout; second derivatives, autocast, frozen inputs, errors."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from tritonnet import kernels
from tritonnet.errors import BackwardError, DeviceError, DtypeError, ShapeError
from tritonnet.functional import linear
from tritonnet.kernels._activations import ACTIVATIONS
from tritonnet.testing import check

BENDING = ["gelu", "gelu_tanh", "silu"]


def reference(x, weight, bias, activation=None):
    return ACTIVATIONS[activation or "none"].reference(x @ weight.mT + bias)


def test_linear():
    check(
        linear,
        reference,
        {"x": ("B", "I"), "weight": ("O", "I"), "bias": ("O",)},
        dims={"B": [0, 1, 5, 130], "I": [0, 1, 19, 70], "O": [0, 1, 7, 65]},
        dtypes=[torch.float32],
        grad=("x", "weight", "bias"),
        hyper=[{"activation": "relu"}],
    )


def test_other_dtypes():
    check(
        linear,
        reference,
        {"x": ("B", "I"), "weight": ("O", "I"), "bias": ("O",)},
        dims={"B": [5], "I": [19], "O": [7]},
        dtypes=[torch.float16, torch.bfloat16, torch.float64],
        grad=("x", "weight", "bias"),
        hyper=[{"activation": "relu"}],
        layouts=("contiguous", "transposed"),
    )


def test_activations_that_bend():
    check(
        linear,
        reference,
        {"x": ("B", "I"), "weight": ("O", "I"), "bias": ("O",)},
        dims={"B": [5], "I": [19], "O": [7]},
        dtypes=[torch.float32, torch.float64],
        grad=("x", "weight", "bias"),
        hyper=[{"activation": name} for name in BENDING],
        layouts=("contiguous", "transposed"),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("activation", BENDING)
def test_activations_that_bend_in_half_precision(activation, dtype):
    """What lies between the kernels, the pre-activation and its gradient, is rounded to their dtype."""
    x, weight, bias = (torch.randn(size).to(dtype).requires_grad_() for size in ((5, 19), (7, 19), (7,)))
    y = linear(x, weight, bias, activation=activation)
    dy = torch.randn_like(y)
    gradients = torch.autograd.grad(y, (x, weight, bias), dy)
    with torch.no_grad():
        result, z = kernels.matmul(x, weight.mT, bias, activation=activation, with_pre=True)
        dz, dbias = kernels.matmul_epilogue_backward(dy, z, activation, dtype)
        expected = kernels.matmul(dz, weight), kernels.matmul(dz.mT, x), dbias
    assert torch.equal(y, result)
    assert all(map(torch.equal, gradients, expected))


@pytest.mark.parametrize("shape", [("I",), ("T", "B", "I"), ("S", "T", "B", "I")], ids=len)
def test_leading_dimensions(shape):
    sizes = {"S": [2], "T": [0, 3], "B": [4], "I": [6]}
    check(
        linear,
        reference,
        {"x": shape, "weight": ("O", "I"), "bias": ("O",)},
        dims={**{name: sizes[name] for name in shape}, "O": [5]},
        dtypes=[torch.float32],
        grad=("x", "weight", "bias"),
        layouts=("contiguous", "transposed", "sliced", "expanded"),
    )


def test_without_bias():
    check(
        lambda x, weight: linear(x, weight),
        lambda x, weight: x @ weight.mT,
        {"x": ("B", "I"), "weight": ("O", "I")},
        dims={"B": [3], "I": [4], "O": [5]},
        dtypes=[torch.float32],
        grad=("x", "weight"),
        layouts=("contiguous",),
    )


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("leading", [(), (4,), (2, 3), (2, 1, 3)])
def test_gradients_of_gradients(activation, leading):
    x, weight, bias = (
        torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((*leading, 3), (5, 3), (5,))
    )

    def function(*tensors):
        return linear(*tensors, activation=activation)

    assert gradcheck(function, (x, weight, bias))
    assert gradgradcheck(function, (x, weight, bias))


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("activation", BENDING)
def test_two_gradients_of_activations_that_bend(activation, biased):
    sizes = ((2, 4, 3), (5, 3), (5,))[: 2 + biased]
    tensors = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes]

    def function(*tensors):
        return linear(*tensors, activation=activation)

    assert gradcheck(function, tensors)
    assert gradgradcheck(function, tensors)
    y = function(*tensors)
    gradients = torch.autograd.grad(y, tensors, torch.randn_like(y), create_graph=True)
    (second,) = torch.autograd.grad(sum(one.square().sum() for one in gradients), tensors[:1], create_graph=True)
    with pytest.raises(BackwardError, match=f"{activation}: its third derivative is not offered"):
        second.sum().backward()


def test_nothing_is_kept_for_a_gradient_that_nobody_asks_for(monkeypatch):
    x, weight = torch.randn(4, 3), torch.randn(5, 3, requires_grad=True)
    product, kept = kernels.matmul, []

    def watched(*args, with_pre=False, **options):
        kept.append(with_pre)
        return product(*args, with_pre=with_pre, **options)

    monkeypatch.setattr(kernels, "matmul", watched)
    with torch.no_grad():
        linear(x, weight, activation="gelu")
    linear(x, weight.detach(), activation="gelu")
    linear(x, weight, activation="gelu")
    assert kept == [False, False, True]


def test_only_the_gradients_asked_for_are_computed(monkeypatch):
    x, weight, bias = torch.randn(4, 3), torch.randn(5, 3, requires_grad=True), torch.randn(5)
    y = linear(x, weight, bias)
    products = []
    monkeypatch.setattr(kernels, "matmul", lambda a, b, **_: products.append((a.shape, b.shape)) or a.new_zeros(5, 3))
    monkeypatch.setattr(kernels, "column_sum", lambda *_, **__: pytest.fail("nobody asked for bias's gradient"))
    y.backward(torch.ones_like(y))
    assert products == [((5, 4), (4, 3))]
    assert x.grad is None and bias.grad is None


def test_a_weight_changed_between_forward_and_backward_is_noticed():
    x, weight = torch.randn(4, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    y = linear(x, weight)
    with torch.no_grad():
        weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_autocast(dtype, activation):
    x, weight, bias = (torch.randn(*size, requires_grad=True) for size in ((9, 40), (8, 40), (8,)))
    with torch.autocast("cpu", dtype):
        y = linear(x, weight, bias, activation=activation)
    assert y.dtype == dtype
    gradients = torch.autograd.grad(y, (x, weight, bias), torch.ones_like(y))
    assert all(gradient.dtype == torch.float32 for gradient in gradients)

    rounded = [t.detach().to(dtype).double().requires_grad_() for t in (x, weight)]
    expected = reference(*rounded, bias.double(), activation=activation)
    expected_gradients = torch.autograd.grad(expected, (*rounded, bias), torch.ones_like(expected))
    torch.testing.assert_close(y.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-5)
    for gradient, exact in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient.double(), exact.double(), rtol=1e-5, atol=1e-5)


def test_autocast_takes_mixed_dtypes_and_leaves_float64_alone():
    x, weight = torch.randn(4, 3), torch.randn(5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x.bfloat16(), weight).dtype == torch.bfloat16
        assert linear(x.double(), weight.double()).dtype == torch.float64
        with pytest.raises(DtypeError, match="linear: got float64, float32"):
            linear(x.double(), weight)


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (((2, 3), (5, 4), None), "input is (2, 3) and weight is (5, 4); their last sizes 3 and 4 differ"),
        (((), (5, 4), None), "input needs at least one dimension, and weight two"),
        (((2, 3), (3,), None), "input needs at least one dimension, and weight two"),
        (((2, 3), (2, 5, 3), None), "input needs at least one dimension, and weight two"),
        (((2, 3), (5, 3), (3,)), "bias is (3,); it needs to be (5,)"),
        (((2, 3), (5, 3), (2, 5)), "bias is (2, 5); it needs to be (5,)"),
    ],
)
def test_wrong_shapes(shapes, said):
    with pytest.raises(ShapeError) as raised:
        linear(*(shape if shape is None else torch.ones(shape) for shape in shapes))
    assert str(raised.value).startswith("linear: ") and said in str(raised.value)


def test_wrong_activation():
    with pytest.raises(ShapeError, match="activation is 'swish'"):
        linear(torch.ones(2, 3), torch.ones(5, 3), activation="swish")


def test_wrong_dtypes_and_devices():
    x, weight = torch.ones(2, 3), torch.ones(5, 3)
    with pytest.raises(DtypeError, match="linear: got float32, float16; input, weight and bias need to have one dtype"):
        linear(x, weight.half())
    with pytest.raises(DtypeError, match="linear: got float32, float32, float64"):
        linear(x, weight, torch.ones(5, dtype=torch.float64))
    with pytest.raises(DtypeError, match="got int64"):
        linear(x.long(), weight.long())
    with pytest.raises(DeviceError, match="tensors on cpu and meta"):
        linear(x, weight.to("meta"))
