"""softmax and its gradients: against float64, along every dimension; long rows, extremes, other dtypes, errors."""

import functools
import math

import pytest
import torch

from tritonnet.errors import DtypeError, ShapeError
from tritonnet.kernels import softmax, softmax_backward, softmax_double_backward, use
from tritonnet.kernels.softmax import (
    softmax_backward_reference,
    softmax_double_backward_reference,
    softmax_reference,
)
from tritonnet.testing import check

FORWARD = softmax, softmax_reference
BACKWARD = softmax_backward, softmax_backward_reference
DOUBLE = softmax_double_backward, softmax_double_backward_reference
KINDS = [{"log": True}, {"negate": True}]
PAIR = {"dy": ("M", "N"), "y": ("M", "N")}
OTHERS = [torch.float16, torch.bfloat16, torch.float64]


def along(dim, functions, **options):
    return [functools.partial(function, dim=dim, **options) for function in functions]


def test_softmax():
    check(*FORWARD, {"x": ("M", "N")}, dims={"M": [1, 5, 70], "N": [1, 10, 65]}, hyper=KINDS, dtypes=[torch.float32])


def test_other_dtypes():
    check(*FORWARD, {"x": ("M", "N")}, dims={"M": [5], "N": [65]}, hyper=KINDS[:1], dtypes=OTHERS)
    check(*BACKWARD, PAIR, dims={"M": [5], "N": [65]}, hyper=KINDS[:1], dtypes=OTHERS)


def test_gradient():
    check(*BACKWARD, PAIR, dims={"M": [1, 5, 70], "N": [10, 65]}, hyper=KINDS, dtypes=[torch.float32])


def test_gradient_of_the_gradient():
    inputs = {"v": ("M", "N"), **PAIR}
    check(*DOUBLE, inputs, dims={"M": [5, 70], "N": [10]}, hyper=KINDS, dtypes=[torch.float32])
    check(*DOUBLE, inputs, dims={"M": [5], "N": [10]}, dtypes=[torch.bfloat16], layouts=["contiguous"])


def test_columns():
    dims, dtypes = {"M": [7, 33, 150], "N": [150]}, [torch.float32]
    check(*along(0, FORWARD), {"x": ("M", "N")}, dims=dims, dtypes=dtypes, layouts=["contiguous", "sliced"])
    check(*along(0, BACKWARD, log=True), PAIR, dims=dims, dtypes=dtypes, layouts=["contiguous", "sliced"])


def test_rows_longer_than_a_tile():
    dims, dtypes = {"M": [2], "N": [2049, 20_000]}, [torch.float32]
    check(*FORWARD, {"x": ("M", "N")}, dims=dims, hyper=KINDS[:1], dtypes=dtypes, layouts=["contiguous"])
    check(*BACKWARD, PAIR, dims=dims, hyper=KINDS[:1], dtypes=dtypes, layouts=["contiguous"])


@pytest.mark.parametrize("shape", [(), (1,), (7,), (0, 4), (4, 0), (3, 1, 5), (2, 3, 4, 5, 6)], ids=str)
def test_every_dimension(shape):
    x = torch.randn(shape, dtype=torch.float64)
    dy = torch.randn(shape, dtype=torch.float64)
    for dim in range(-max(len(shape), 1), max(len(shape), 1)):
        for log, theirs in ((False, torch.softmax), (True, torch.log_softmax)):
            leaf = x.clone().requires_grad_()
            expected = theirs(leaf, dim)
            y = softmax(x, dim, log)
            torch.testing.assert_close(y, expected.detach())
            (dx,) = torch.autograd.grad(expected, leaf, dy)
            torch.testing.assert_close(softmax_backward(dy, y, dim, log), dx)


def _views():
    base = torch.randn(6, 5, 7, 9, 4)
    yield base[1:5, 1:3, ::2, ::2, 1:]
    yield base.permute(4, 1, 0, 3, 2)
    yield base[0, 0, 0, :1].expand(8, 4)
    yield base[0].to(memory_format=torch.channels_last)


@pytest.mark.parametrize("x", list(_views()), ids=lambda x: f"{tuple(x.shape)}-{x.stride()}")
def test_any_layout(x):
    for dim in range(x.dim()):
        y = softmax(x, dim)
        torch.testing.assert_close(y, torch.softmax(x, dim))
        assert y.stride() == torch.empty_like(x).stride()
        dy = torch.randn(x.shape[::-1]).permute(*reversed(range(x.dim())))
        dx = softmax_backward(dy, y, dim)
        torch.testing.assert_close(dx, softmax_backward_reference(dy, y, dim))
        assert dx.stride() == y.stride()


@pytest.mark.parametrize("n", [5, 9000])
def test_rows_that_are_not_finite(n):
    x = torch.randn(6, n)
    x[0] = -math.inf
    x[1, -1] = math.inf
    x[2, 0] = math.nan
    x[3, : n - 1] = -math.inf
    x[4, 1:] = -math.inf
    x[5, 2] = -math.inf
    for log, theirs in ((False, torch.softmax), (True, torch.log_softmax)):
        for given, dim in ((x, 1), (x.t().contiguous(), 0)):
            torch.testing.assert_close(softmax(given, dim, log), theirs(given, dim), equal_nan=True)


def test_far_from_zero():
    x = torch.randn(64, 10) + 10_000
    torch.testing.assert_close(softmax(x, 1, True).double(), torch.log_softmax(x.double(), 1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("backend", ["triton", "reference"])
@pytest.mark.parametrize("given", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64])
def test_another_dtype_of_the_result(given, backend):
    x = (3 * torch.randn(5, 7)).to(given)
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        with use(backend):
            y = softmax(x, 1, dtype=dtype)
        torch.testing.assert_close(y, torch.softmax(x, 1, dtype=dtype))
    with use(backend):
        dx = softmax_backward(torch.ones_like(y), y, dtype=torch.float16)
    assert dx.dtype == torch.float16


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_errors(backend):
    x = torch.randn(4, 3)
    with use(backend):
        with pytest.raises(ShapeError, match=r"softmax: dim is 2; for a tensor of shape \(4, 3\) it lies in \[-2, 1\]"):
            softmax(x, 2)
        with pytest.raises(ShapeError, match=r"dim is -2; for a tensor of shape \(\) it lies in \[-1, 0\]"):
            softmax(torch.ones(()), -2)
        with pytest.raises(DtypeError, match="softmax: x is int64; pass dtype="):
            softmax(x.long())
        with pytest.raises(DtypeError, match="softmax: x is complex64"):
            softmax(x.to(torch.complex64), dtype=torch.float32)
        with pytest.raises(DtypeError, match="softmax: dtype is int32"):
            softmax(x, dtype=torch.int32)
        with pytest.raises(ShapeError, match=r"softmax_backward: dy is \(3, 4\) and y is \(4, 3\)"):
            softmax_backward(x.t(), x)
        with pytest.raises(DtypeError, match="softmax_backward: dy is float64 and y is float32"):
            softmax_backward(x.double(), x)
        with pytest.raises(ShapeError, match=r"softmax_double_backward: v is \(3, 4\) and y is \(4, 3\)"):
            softmax_double_backward(x.t(), x, x)
        with pytest.raises(DtypeError, match="softmax_double_backward: v is int64 and y is float32"):
            softmax_double_backward(x.long(), x, x)
