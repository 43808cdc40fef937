"""The activations: values and gradients of two orders beside torch's, in place, autocast, errors."""

import inspect
import math
import re

import pytest
import torch

import tritonnet.functional as F
from tritonnet.errors import BackwardError, DtypeError, ShapeError
from tritonnet.functional import relu
from tritonnet.kernels import OPS
from tritonnet.testing import check

CASES = [
    ("relu", {}),
    ("relu6", {}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("leaky_relu", {"negative_slope": -0.3}),
    ("threshold", {"threshold": 0.2, "value": -1.0}),
    ("threshold", {"threshold": 0.2, "value": 1.5}),
    ("hardtanh", {}),
    ("hardtanh", {"min_val": -0.3, "max_val": 2.2}),
    ("hardsigmoid", {}),
    ("hardswish", {}),
    ("hardshrink", {}),
    ("hardshrink", {"lambd": -0.3}),
    ("softshrink", {}),
    ("softshrink", {"lambd": 0.2}),
    ("sigmoid", {}),
    ("tanh", {}),
    ("tanhshrink", {}),
    ("softsign", {}),
    ("logsigmoid", {}),
    ("softplus", {}),
    ("softplus", {"beta": 2.1, "threshold": 3.0}),
    ("softplus", {"beta": -1.3}),
    ("elu", {}),
    ("elu", {"alpha": 0.7}),
    ("elu", {"alpha": -0.5}),
    ("celu", {"alpha": 2.0}),
    ("celu", {"alpha": -0.5}),
    ("selu", {}),
    ("silu", {}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("mish", {}),
]
SPECIAL = [0.0, -0.0, 0.2, 0.5, -0.5, 1, -1, 2, 3, -3, 6, 20, 30, -30, 300, -300, math.inf, -math.inf, math.nan]
# torch does not differentiate hardsigmoid's gradient, and refuses in place what can only be found from the input.
LACKING = "derivative for aten::hardsigmoid_backward|In-place .* backward calculation is triggered"


def outcome(function, x, keywords):
    """y, dx, and the gradients of v . dx with respect to x and dy; the last two None where torch lacks them."""
    x = x.clone().requires_grad_()
    dy = torch.linspace(-1, 2, len(x), dtype=x.dtype).requires_grad_()
    y = function(x * 1, **keywords)
    dx = None
    try:
        (dx,) = torch.autograd.grad(y, x, dy, create_graph=True)
        found = torch.autograd.grad(dx, [x, dy], torch.cos(torch.arange(len(x)).to(x.dtype)), allow_unused=True)
    except RuntimeError as error:
        assert function.__module__.startswith("torch") and re.search(LACKING, str(error))
        return y.detach(), dx, []
    return y.detach(), dx.detach(), [torch.zeros_like(x) if one is None else one for one in found]


def same(ours, theirs, rtol=1e-11):
    return torch.allclose(ours, theirs, rtol=rtol, atol=1e-13, equal_nan=True)


def compare(name, keywords):
    ours, theirs = getattr(F, name), getattr(torch.nn.functional, name)
    random = 3 * torch.randn(200, dtype=torch.float64)
    for x in (random, torch.tensor(SPECIAL, dtype=torch.float64)):
        (y, dx, more), (y_torch, dx_torch, more_torch) = outcome(ours, x, keywords), outcome(theirs, x, keywords)
        assert same(y, y_torch)
        if dx_torch is None:
            continue
        # Where torch multiplies 0 by infinity, as 1 / exp(-300) nearly is.
        defined = torch.ones_like(x, dtype=torch.bool)
        if name == "softsign":
            defined = ~x.isinf()
        if name == "mish":
            defined = x < 100
        # torch has 1 / 6 in float32 there.
        assert same(dx[defined], dx_torch[defined], 1e-7 if name == "hardsigmoid" else 1e-11)
        for one, other in zip(more, more_torch, strict=bool(more_torch)):
            assert same(one[defined], other[defined])


@pytest.mark.parametrize("name, keywords", CASES, ids=str)
def test_is_torchs(name, keywords):
    compare(name, keywords)


@pytest.mark.parametrize("name, keywords", [
    case for case in CASES if "inplace" in inspect.signature(getattr(F, case[0])).parameters
], ids=str)  # fmt: skip
def test_is_torchs_in_place(name, keywords):
    compare(name, keywords | {"inplace": True})


@pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))
def test_arguments_are_torchs(name):
    theirs = getattr(torch.nn.functional, name)
    try:
        expected = inspect.signature(theirs)
    except ValueError:
        # Written in C++, described in words: "softplus(input, beta=1, threshold=20) -> Tensor".
        listed = theirs.__doc__.strip().splitlines()[0].split("(")[1].split(")")[0]
        assert [p.name for p in inspect.signature(getattr(F, name)).parameters.values()] == [
            one.split("=")[0].strip() for one in listed.split(",")
        ]
        return
    parameters = [list(one.parameters.values()) for one in (inspect.signature(getattr(F, name)), expected)]
    ours, torchs = ([(p.name, p.kind, p.default) for p in each] for each in parameters)
    assert ours == torchs


@pytest.mark.parametrize("name, arguments", [
    ("relu_", ()), ("threshold_", (0.1, -2.0)), ("hardtanh_", (-0.2, 0.3)), ("elu_", (0.7,)), ("selu_", ()),
    ("celu_", (0.7,)), ("leaky_relu_", (0.2,)),
])  # fmt: skip
def test_names_that_end_in_an_underscore(name, arguments):
    x = torch.randn(50, dtype=torch.float64)
    ours, theirs = x.clone(), x.clone()
    assert getattr(F, name)(ours, *arguments) is ours
    getattr(torch.nn.functional, name)(theirs, *arguments)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_gradients_in_every_dtype_and_layout(name):
    check(
        getattr(F, name), OPS[name].reference, {"x": ("M", "N")}, dims={"M": [1, 3], "N": [1, 65]}, grad=["x"]
    )  # fmt: skip


@pytest.mark.parametrize("name", ["relu", "gelu", "elu"])
def test_gradients_of_two_orders(name):
    x = torch.randn(4, 5, dtype=torch.float64)
    x = torch.where(x.abs() < 0.1, 0.5, x).requires_grad_()
    assert torch.autograd.gradcheck(getattr(F, name), x)
    assert torch.autograd.gradgradcheck(getattr(F, name), x)


def test_gradients_of_three_orders():
    x, dy, v = (torch.randn(5, dtype=torch.float64, requires_grad=True) for _ in range(3))
    (dx,) = torch.autograd.grad(F.leaky_relu(x, 0.2), x, dy, create_graph=True)
    (ddy,) = torch.autograd.grad(dx, dy, v, create_graph=True)
    (dv,) = torch.autograd.grad(ddy.sum(), v)
    assert dv.tolist() == [1.0 if one > 0 else 0.2 for one in x.tolist()]
    (dx,) = torch.autograd.grad(F.silu(x), x, dy, create_graph=True)
    (gx,) = torch.autograd.grad(dx.sum(), x, create_graph=True)
    with pytest.raises(BackwardError, match="silu: its third derivative is not offered"):
        torch.autograd.grad(gx.sum(), x)


def test_an_integer_has_no_gradient():
    x = torch.arange(-5, 5)
    assert torch.equal(F.relu6(x), torch.nn.functional.relu6(x))
    torch.testing.assert_close(F.tanh(x), torch.tanh(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_was_clipped_has_no_gradient(dtype):
    """0.9 is not a number of 16 bits: what is clipped to it differs from it."""
    x = torch.linspace(-2, 2, 40).to(dtype).requires_grad_()
    for function, arguments in ((F.hardtanh, (-0.9, 0.9)), (F.threshold, (0.9, 0.3))):
        z = x * 1
        function(z, *arguments, inplace=True)
        grads = [
            torch.autograd.grad(y.sum(), x)[0]
            for y in (z, function(x, *arguments), getattr(torch.nn.functional, function.__name__)(x, *arguments))
        ]
        assert torch.equal(grads[0], grads[1]) and torch.equal(grads[0], grads[2])


def test_softplus_under_autocast_is_float32():
    x = torch.randn(6, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = F.softplus(x, 2, 15)
        assert F.gelu(x).dtype == torch.bfloat16
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, torch.nn.functional.softplus(x.float(), 2, 15))
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.sigmoid(2 * x.detach().float()).bfloat16())


def test_what_is_kept():
    """y where that does; the input where it does not, unless it is overwritten: then y again, or a copy."""

    def kept(y):
        return y.grad_fn.saved_tensors[0]

    x = torch.randn(5, requires_grad=True)
    for y in (F.relu(x), F.sigmoid(x), F.tanh(x)):
        assert kept(y).data_ptr() == y.data_ptr()
    for y in (F.silu(x), F.elu(x), F.leaky_relu(x)):
        assert kept(y).data_ptr() == x.data_ptr()
    for y in (F.elu_(x * 1), F.leaky_relu_(x * 1), F.hardtanh_(x * 1)):
        assert kept(y).data_ptr() == y.data_ptr()
    z = x * 1
    assert torch.equal(kept(F.silu(z, inplace=True)), x)


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


@pytest.mark.parametrize("function", [relu, F.silu])
def test_in_place_on_a_leaf(function):
    x = torch.tensor([-1.0, 1.0], requires_grad=True)
    with pytest.raises(BackwardError, match=f"{function.__name__}: inplace would overwrite a leaf"):
        function(x, inplace=True)
    assert x.tolist() == [-1, 1]
    with torch.no_grad():
        assert function(x, inplace=True) is x
    assert torch.equal(x.detach(), function(torch.tensor([-1.0, 1.0])))


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


def test_errors():
    x = torch.ones(2)
    with pytest.raises(ShapeError, match="hardtanh: min_val is 1 and max_val is -1"):
        F.hardtanh(x, 1, -1)
    with pytest.raises(ShapeError, match="hardtanh: min_val is -1.0; for an unsigned dtype it cannot be negative"):
        F.hardtanh(x.byte())
    with pytest.raises(ShapeError, match="softshrink: lambd is -1; it cannot be negative"):
        F.softshrink(x, -1)
    with pytest.raises(ShapeError, match="celu: alpha is 0"):
        F.celu(x, 0)
    with pytest.raises(ShapeError, match="gelu: approximate is 'erf'; it is 'none' or 'tanh'"):
        F.gelu(x, "erf")
    with pytest.raises(DtypeError, match="silu: got int64"):
        F.silu(x.long())
    with pytest.raises(DtypeError, match="relu_: got bool"):
        F.relu_(x > 0)
