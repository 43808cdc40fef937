"""matmul: torch.matmul's shapes, gradients through broadcasting, second derivatives, autocast, errors."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from tritonnet.errors import DtypeError, ShapeError
from tritonnet.functional import matmul
from tritonnet.testing import check

SIZES = {"X": [2], "Y": [3], "Z": [0, 4], "M": [5], "K": [0, 7], "N": [6]}
SHAPES = [
    (("K",), ("K",)),
    (("K",), ("K", "N")),
    (("M", "K"), ("K",)),
    (("Z", "M", "K"), ("K",)),
    (("K",), ("Z", "K", "N")),
    (("M", "K"), ("K", "N")),
    (("Z", "M", "K"), ("K", "N")),
    (("M", "K"), ("Z", "K", "N")),
    (("Z", "M", "K"), ("Z", "K", "N")),
    ((1, "M", "K"), ("Z", "K", "N")),
    (("Y", "Z", "M", "K"), ("Z", "K", "N")),
    (("Z", "Y", "M", "K"), ("Z", 1, "K", "N")),
    (("Z", 1, "Y", 1, "M", "K"), ("X", 1, "Z", "K", "N")),
]


@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_matmul(a, b):
    check(
        matmul,
        torch.matmul,
        {"a": a, "b": b},
        dims={name: sizes for name, sizes in SIZES.items() if name in a + b},
        dtypes=[torch.float32],
        grad=("a", "b"),
        layouts=("contiguous", "transposed", "expanded"),
    )


def test_other_dtypes():
    check(
        matmul,
        torch.matmul,
        {"a": ("M", "K"), "b": ("K", "N")},
        dims={"M": [5], "K": [300], "N": [33]},
        dtypes=[torch.float16, torch.bfloat16, torch.float64],
        grad=("a", "b"),
        layouts=("contiguous", "transposed"),
    )


@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_gradients_of_gradients(a, b):
    sizes = {"X": 2, "Y": 2, "Z": 2, "M": 2, "K": 3, "N": 2}
    a, b = (
        torch.randn([sizes.get(name, name) for name in shape], dtype=torch.float64, requires_grad=True)
        for shape in (a, b)
    )
    assert gradcheck(matmul, (a, b))
    assert gradgradcheck(matmul, (a, b))


def test_autocast():
    a, b = torch.randn(2, 4, 3, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        c = matmul(a, b)
        assert matmul(a, b.bfloat16()).dtype == torch.bfloat16
        assert matmul(a.double(), b.double()).dtype == torch.float64
    exact = a.detach().bfloat16().double() @ b.detach().bfloat16().double()
    torch.testing.assert_close(c.double(), exact, rtol=2.0**-8, atol=1e-5)
    assert all(gradient.dtype == torch.float32 for gradient in torch.autograd.grad(c.sum(), (a, b)))


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ((), (3,), "each needs at least one dimension"),
        ((3,), (), "each needs at least one dimension"),
        ((3,), (4,), "inner sizes 3 and 4 differ"),
        ((2, 3), (4, 3), "a is (2, 3) and b is (4, 3); inner sizes 3 and 4 differ"),
        ((2, 2, 3), (4, 3, 5), "batch sizes 2 and 4 do not broadcast"),
    ],
)
def test_wrong_shapes(a, b, said):
    with pytest.raises(ShapeError) as raised:
        matmul(torch.ones(a), torch.ones(b))
    assert str(raised.value).startswith("matmul: ") and said in str(raised.value)


def test_wrong_dtypes():
    with pytest.raises(DtypeError, match="got float32, float64; a, b and bias need to have one dtype"):
        matmul(torch.ones(2, 3), torch.ones(3, 4, dtype=torch.float64))
    with pytest.raises(DtypeError, match="got int64"):
        matmul(torch.ones(2, 3).long(), torch.ones(3, 4).long())
