"""matmul's activations and pre-activations, and matmul_epilogue_backward, against their references."""

import pytest
import torch

from tritonnet.errors import DtypeError, ShapeError
from tritonnet.kernels import matmul, matmul_epilogue_backward
from tritonnet.kernels._activations import ACTIVATIONS
from tritonnet.kernels.matmul import matmul_reference
from tritonnet.kernels.matmul.epilogue import matmul_epilogue_backward_reference
from tritonnet.testing import check

WITH_GRADIENT = [name for name, one in ACTIVATIONS.items() if one.gradient is not None]


def of(function, **fixed):
    return lambda *args, **hyper: function(*args, **{**fixed, **hyper})


@pytest.mark.parametrize("with_pre", [False, True])
def test_every_activation(with_pre):
    check(
        of(matmul, with_pre=with_pre),
        of(matmul_reference, with_pre=with_pre),
        {"a": ("M", "K"), "b": ("K", "N"), "bias": ("N",)},
        dims={"M": [5], "K": [19], "N": [7]},
        hyper=[{"activation": name} for name in WITH_GRADIENT],
        layouts=("contiguous", "transposed"),
    )


def operands(case):
    if case == "a split K":
        return torch.randn(3, 5000), torch.randn(5000, 7)
    return torch.randn(4, 3, 2, 5, 6).permute(2, 0, 1, 3, 4), torch.randn(2, 3, 4, 6, 7).permute(0, 2, 1, 3, 4)


@pytest.mark.parametrize("case", ["a split K", "batches that no stride walks"])
def test_pre_activation(case):
    a, b = (each.double() for each in operands(case))
    options = {"bias": torch.randn(7).double(), "activation": "silu", "with_pre": True}
    for found, exact in zip(matmul(a, b, **options), matmul_reference(a, b, **options), strict=True):
        torch.testing.assert_close(found, exact)


@pytest.mark.parametrize("name", ["relu", "gelu", "gelu_tanh", "silu"])
def test_activations_are_torchs(name):
    z = torch.linspace(-12, 12, 301, dtype=torch.float64).reshape(7, 43)
    torchs = {
        "relu": torch.relu,
        "gelu": torch.nn.functional.gelu,
        "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        "silu": torch.nn.functional.silu,
    }[name]
    eye = torch.eye(43, dtype=torch.float64)
    torch.testing.assert_close(matmul(z, eye, activation=name), torchs(z))
    leaf = z.clone().requires_grad_()
    dy = torch.randn_like(z)
    torchs(leaf).backward(dy)
    kept = torchs(z) if ACTIVATIONS[name].keeps == "y" else z
    dz, dbias = matmul_epilogue_backward(dy, kept, name, torch.float64)
    torch.testing.assert_close(dz, leaf.grad)
    torch.testing.assert_close(dbias, leaf.grad.sum(0))


def test_gradient():
    check(
        of(matmul_epilogue_backward, activation="gelu"),
        of(matmul_epilogue_backward_reference, activation="gelu"),
        {"dy": ("M", "N"), "kept": ("M", "N")},
        dims={"M": [0, 1, 5, 300], "N": [0, 1, 7, 65]},
        hyper=[
            {"activation": "silu", "bias_dtype": torch.float32},
            {"activation": "relu", "bias_dtype": torch.float32},
        ],
    )


def test_gradient_of_batches():
    check(
        of(matmul_epilogue_backward, activation="silu", bias_dtype=torch.float32),
        of(matmul_epilogue_backward_reference, activation="silu", bias_dtype=torch.float32),
        {"dy": ("Y", "Z", "M", "N"), "kept": ("Y", "Z", "M", "N")},
        dims={"Y": [0, 2], "Z": [3], "M": [4], "N": [5]},
        dtypes=[torch.float32],
    )


def test_rows_that_no_two_strides_walk():
    dy = torch.randn(4, 3, 2, 5, 6, dtype=torch.float64).permute(2, 0, 1, 3, 4)
    kept = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64).permute(0, 2, 1, 3, 4)
    found = matmul_epilogue_backward(dy, kept, "gelu", torch.float64)
    for one, exact in zip(found, matmul_epilogue_backward_reference(dy, kept, "gelu", torch.float64), strict=True):
        torch.testing.assert_close(one, exact)


def test_nan_and_infinity():
    kept = torch.tensor([[float("nan"), 0.0, 30.0, -30.0, 1e4, -1e4]])
    dy = torch.ones(1, 6)
    assert matmul_epilogue_backward(dy, kept, "relu")[0].tolist() == [[1, 0, 1, 0, 1, 0]]
    for name in ("gelu", "gelu_tanh", "silu"):
        dz, _ = matmul_epilogue_backward(dy, kept, name)
        assert dz[0, 0].isnan()
        torch.testing.assert_close(dz[0, 1:], torch.tensor([0.5, 1.0, 0.0, 1.0, 0.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("function", [matmul_epilogue_backward, matmul_epilogue_backward_reference])
def test_errors(function):
    x = torch.ones(2, 3)
    with pytest.raises(ShapeError, match=r"dy is \(2, 3\) and kept is \(3, 2\); they need to have one shape"):
        function(x, x.t(), "relu")
    with pytest.raises(ShapeError, match="one shape"):
        function(x[0], x[0], "relu")
    with pytest.raises(DtypeError, match="dy is float16 and kept is float32"):
        function(x.half(), x, "relu")
    with pytest.raises(ShapeError, match="activation is 'none', whose gradient is dy itself"):
        function(x, x, "none")
    with pytest.raises(
        ShapeError, match="matmul_epilogue_backward: activation is 'swish'; it is one of 'none', 'relu'"
    ):
        function(x, x, "swish")
