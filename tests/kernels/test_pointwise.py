"""The activations' kernels: against their references, at tails, at NaN and infinities, in any layout, errors."""

import math

import pytest
import torch

from tritonnet.errors import DtypeError, ShapeError
from tritonnet.kernels import OPS, relu, relu_, relu_backward, use
from tritonnet.kernels.pointwise.ops import ACTIVATIONS, copy
from tritonnet.testing import check

# Off their defaults.
SCALARS = {
    "leaky_relu": (0.3,),
    "threshold": (0.25, -0.75),
    "hardtanh": (-0.75, 0.875),
    "hardshrink": (0.375,),
    "softshrink": (0.3,),
    "softplus": (1.3, 3.1),
    "elu": (0.7,),
    "celu": (1.3,),
}
# What each has besides `name` and `name_backward`.
IN_PLACE = """
    relu_ leaky_relu_ threshold_ hardtanh_ hardsigmoid_ hardswish_ elu_ celu_ selu_ silu_ mish_
""".split()  # noqa: SIM905
SECOND = """
    hardswish_double_backward sigmoid_double_backward tanh_double_backward logsigmoid_double_backward
    softplus_double_backward elu_double_backward elu_double_backward_of_y celu_double_backward
    celu_double_backward_of_y selu_double_backward selu_double_backward_of_y silu_double_backward gelu_double_backward
    gelu_tanh_double_backward mish_double_backward softsign_double_backward tanhshrink_double_backward
    rsqrt_double_backward
""".split()  # noqa: SIM905
FIRST = """
    relu_backward leaky_relu_backward threshold_backward hardtanh_backward hardsigmoid_backward hardswish_backward
    hardshrink_backward softshrink_backward sigmoid_backward tanh_backward logsigmoid_backward softplus_backward
    elu_backward elu_backward_of_y celu_backward celu_backward_of_y selu_backward selu_backward_of_y silu_backward
    gelu_backward gelu_tanh_backward mish_backward softsign_backward tanhshrink_backward
    rsqrt_backward
""".split()  # noqa: SIM905


def test_the_table_declares_these_operations():
    found = {name for name, op in OPS.items() if op.launcher.__module__.endswith("pointwise.ops")}
    assert found == {*ACTIVATIONS, *IN_PLACE, *FIRST, *SECOND, "copy"}


def wide(sizes, generator):
    """Into the tails."""
    return 4 * torch.randn(3, sizes["N"], generator=generator, dtype=torch.float64)


def positive(sizes, generator):
    """From far below 1 to far above."""
    return torch.exp(wide(sizes, generator))


def normal(sizes, generator):
    return torch.randn(3, sizes["N"], generator=generator, dtype=torch.float64)


def operation_checks(name, **options):
    """check of every operation of an activation, hyper-parameters off their defaults."""
    activation, scalars = ACTIVATIONS[name], SCALARS.get(name, ())
    domain = positive if name == "rsqrt" else wide

    def kept_y(sizes, generator):
        return activation.forward.reference(domain(sizes, generator), *scalars)

    def compare(op, inputs, inplace=()):
        check(
            lambda *tensors: op(*tensors, *scalars),
            lambda *tensors: op.reference(*tensors, *scalars),
            inputs,
            inplace=inplace,
            **options,
        )

    compare(activation.forward, {"x": domain})
    if activation.inplace is not None:
        compare(activation.inplace, {"x": domain}, inplace=["x"])
    for gradient, kept in ((activation.of_x, domain), (activation.of_y, kept_y)):
        if gradient is not None:
            compare(gradient.backward, {"dy": normal, "kept": kept})
            if gradient.double_backward is not None:
                compare(gradient.double_backward, {"ddx": normal, "dy": normal, "kept": kept})


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_operations(name):
    operation_checks(name, dims={"N": [0, 1, 301]}, dtypes=[torch.float32, torch.float64], layouts=["contiguous"])


@pytest.mark.parametrize("name", ["relu", "softplus"])
def test_operations_of_half_precision(name):
    dtypes = [torch.float16, torch.bfloat16]
    operation_checks(name, dims={"N": [301]}, dtypes=dtypes, layouts=["contiguous"])


def test_operations_in_every_layout():
    operation_checks("relu", dims={"N": [33]}, dtypes=[torch.float32])


@pytest.mark.parametrize("name, x, exact", [
    ("gelu", -8.0, -4.9767684594174272988e-15),
    ("gelu", -1e-3, -1e-3 * math.erfc(1e-3 / math.sqrt(2)) / 2),
    ("gelu_tanh", -6.0, -6 / (1 + math.exp(2 * math.sqrt(2 / math.pi) * (6 + 0.044715 * 216)))),
    ("silu", -60.0, -60 / (1 + math.exp(60))),
    ("mish", -30.0, -30 * math.tanh(math.log1p(math.exp(-30)))),
    ("tanh", 1e-4, math.tanh(1e-4)),
    ("logsigmoid", 30.0, -math.log1p(math.exp(-30))),
    ("sigmoid", -80.0, 1 / (1 + math.exp(80))),
    ("elu", -1e-5, 0.7 * math.expm1(-1e-5)),
    ("softplus", -20.0, math.log1p(math.exp(-26)) / 1.3),
])  # fmt: skip
def test_small_results_keep_their_digits(name, x, exact):
    """An argument of exp errs by half a unit in the last place, which exp multiplies by the argument."""
    for dtype in (torch.float32, torch.float64):
        y = ACTIVATIONS[name].forward(torch.full((3,), x, dtype=dtype), *SCALARS.get(name, ()))
        assert ((y.double() - exact).abs() <= (40 + x * x) * torch.finfo(dtype).eps / 8 * abs(exact)).all()


def test_softplus_is_within_two_units_in_the_last_place():
    x = torch.linspace(-3, 3, 200_001)
    exact = torch.nn.functional.softplus(x.double())
    unit = 2.0 ** (exact.log2().floor() - 23)
    assert ((ACTIVATIONS["softplus"].forward(x, 1.0, 20.0).double() - exact).abs() <= 2 * unit).all()


def test_the_gradient_of_gelu_where_its_terms_cancel():
    """Within what roundings of x, dy and the result move it by, as in tritonnet.testing, without samples of them."""
    x = torch.linspace(-6, 6, 200_001)
    wide = x.double()
    below, density = torch.special.erfc(wide * -(0.5**0.5)) / 2, torch.exp(-wide * wide / 2) / math.sqrt(2 * math.pi)
    exact, moved = below + wide * density, wide * density * (2 - wide * wide)
    distance = (ACTIVATIONS["gelu"].of_x.backward(torch.ones_like(x), x).double() - exact).abs()
    roundoff = torch.finfo(torch.float32).eps / 2
    assert (distance <= roundoff * (exact.abs() + 4 * (2 * exact**2 + moved**2).sqrt())).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_what_is_not_positive(dtype):
    x = torch.tensor([math.nan, -math.inf, math.inf, -0.0, 0.0, -1.0, 2.0], dtype=dtype)
    y = relu(x)
    assert y.isnan().tolist() == [True] + [False] * 6
    assert y[1:].tolist() == [0, math.inf, 0, 0, 0, 2]
    assert not y[1:].signbit().any()
    dx = relu_backward(torch.full_like(x, 3), y)
    assert dx.tolist() == [3, 0, 3, 0, 0, 0, 3]


def _views():
    base = torch.randn(6, 5, 7, 9, 4)
    yield base[1:5, 1:3, ::2, ::2, 1:]
    yield base.permute(4, 1, 0, 3, 2)
    yield base[0, 0, 0, :1].expand(8, 4)
    yield base[0, 0, 0, 0, 0]
    yield base[0].to(memory_format=torch.channels_last)
    yield base[:, :3, 1:-1, 1:-1, 1:3]


@pytest.mark.parametrize("x", list(_views()), ids=lambda x: f"{tuple(x.shape)}-{x.stride()}")
def test_any_rank_and_layout(x):
    y = relu(x)
    assert torch.equal(y, torch.relu(x))
    assert y.stride() == torch.relu(x).stride()
    for dy in (torch.randn(x.shape), torch.ones(()).expand(x.shape)):
        dx = relu_backward(dy, y)
        assert torch.equal(dx, torch.where(y > 0, dy, 0))
        assert dx.stride() == y.stride()


def test_in_place_writes_the_view_alone_and_bumps_the_version():
    base = torch.randn(6, 8)
    expected = base.clone()
    torch.relu_(expected[1:4, ::3])
    view = base[1:4, ::3]
    version = base._version
    assert relu_(view) is view
    assert torch.equal(base, expected)
    assert base._version == version + 1


def test_integers():
    x = torch.tensor([-(2**62) - 1, -3, 0, 2**62 + 1])
    assert torch.equal(relu(x), torch.relu(x))
    assert torch.equal(relu_(x.clone()), torch.relu(x))
    small = torch.arange(-100, 100, dtype=torch.int8)
    hardtanh, sigmoid = ACTIVATIONS["hardtanh"].forward, ACTIVATIONS["sigmoid"].forward
    assert torch.equal(hardtanh(small, -3.0, 70.0), torch.nn.functional.hardtanh(small, -3, 70))
    torch.testing.assert_close(sigmoid(small), torch.sigmoid(small))
    torch.testing.assert_close(sigmoid(small > 3), torch.sigmoid(small > 3))
    with use("reference"):
        assert torch.equal(relu(x), torch.relu(x))
        assert sigmoid(small).dtype == torch.float32


def test_copy():
    x = torch.randn(5, 7).half().t()
    y = copy(x)
    assert torch.equal(x, y) and y.data_ptr() != x.data_ptr() and y.stride() == x.stride()


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_errors(backend):
    x = torch.ones(3)
    with use(backend):
        with pytest.raises(ShapeError, match=r"relu_: x of shape \(2, 3\) and strides \(0, 1\) is expanded"):
            relu_(x.expand(2, 3))
        with pytest.raises(ShapeError, match=r"relu_backward: dy is \(2,\) and y is \(3,\)"):
            relu_backward(torch.ones(2), x)
        with pytest.raises(DtypeError, match="relu_backward: dy is float64 and y is float32"):
            relu_backward(x.double(), x)
        with pytest.raises(DtypeError, match="relu: got bool; it takes float32, .*int64"):
            relu(x > 0)
        with pytest.raises(DtypeError, match="silu: got int64; it takes float32, float16, bfloat16, float64$"):
            ACTIVATIONS["silu"].forward(x.long())
        with pytest.raises(DtypeError, match="sigmoid: got complex64"):
            ACTIVATIONS["sigmoid"].forward(x + 0j)


def test_strides_past_32_bits():
    # A lazily allocated tensor: only two of its pages are ever touched.
    x = torch.empty(2**31 + 8, dtype=torch.float16).as_strided((2, 2), (2**31, 3))
    x.copy_(torch.tensor([[-1.0, 2.0], [3.0, -4.0]]))
    assert relu(x).tolist() == [[0, 2], [3, 0]]
    assert relu_backward(x, x).tolist() == [[0, 2], [3, 0]]
    assert relu_(x).tolist() == [[0, 2], [3, 0]]
