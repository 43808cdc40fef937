"""Reductions of masked tiles: what is passed over, tiles that are written on the way, loads that are read twice."""

import pytest
import torch
import triton
import triton.language as tl

from tritonnet.kernels import cpu

pytestmark = [
    pytest.mark.skipif(bool(cpu.unavailable()), reason=f"no kernel can be compiled here: {cpu.unavailable()}"),
    pytest.mark.usefixtures("activated"),
]


@triton.jit
def _reduce(
    x_ptr, y_ptr, M, N, low, OP: tl.constexpr, AXIS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    m, n = tl.arange(0, BLOCK_M)[:, None], tl.arange(0, BLOCK_N)[None, :]
    mask = (m < M) & (n < N) & (n >= low)
    x = tl.load(x_ptr + m * BLOCK_N + n)
    if OP == "sum":
        y = tl.sum(tl.where(mask, x, 0.0), AXIS)
    elif OP == "max":
        y = tl.max(tl.where(mask, x, float("-inf")), AXIS)
    else:
        y = tl.min(tl.where(mask, x, float("inf")), AXIS)
    tl.store(y_ptr + tl.arange(0, BLOCK_N if AXIS == 0 else BLOCK_M), y)


OUTSIDE = {"sum": 0.0, "max": -torch.inf, "min": torch.inf}


@pytest.mark.parametrize("op", OUTSIDE)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lanes_that_change_nothing(op, axis, dtype):
    x = torch.randn(8, 256, dtype=dtype)
    for M, N, low in ((8, 256, 0), (8, 200, 0), (5, 130, 70), (1, 3, 0), (0, 256, 0), (8, 0, 0), (8, 64, 64)):
        y = torch.full((256 if axis == 0 else 8,), torch.nan, dtype=dtype)
        _reduce[(1,)](x, y, M, N, low, op, axis, 8, 256)
        inside = torch.zeros(8, 256, dtype=torch.bool)
        inside[:M, low:N] = True
        filled = torch.where(inside, x, OUTSIDE[op])
        expected = filled.sum(axis) if op == "sum" else getattr(filled, "a" + op)(axis)
        torch.testing.assert_close(y, expected, msg=lambda m, case=(M, N, low): f"{case}: {m}")


@pytest.mark.parametrize("axis", [0, 1])
def test_signs_of_zero_and_nan(axis):
    x, y = torch.full((8, 256), -0.0), torch.empty(256 if axis == 0 else 8)
    _reduce[(1,)](x, y, 8, 256, 0, "sum", axis, 8, 256)
    assert y.signbit().all() and (y == 0).all()
    _reduce[(1,)](x, y, 7, 255, 0, "sum", axis, 8, 256)
    assert not y.signbit().any() and (y == 0).all()
    # One row or column less leaves the others as they are.
    M, N = (8, 255) if axis == 0 else (7, 256)
    _reduce[(1,)](x, y, M, N, 0, "sum", axis, 8, 256)
    assert y[:-1].signbit().all() and not y[-1].signbit()
    # tl.max prefers any number to a NaN, also one that only a masked lane has.
    _reduce[(1,)](x.fill_(torch.nan), y, 8, 256, 0, "max", axis, 8, 256)
    assert y.isnan().all()
    _reduce[(1,)](x, y, 7, 255, 0, "max", axis, 8, 256)
    assert (y == -torch.inf).all()
    _reduce[(1,)](x, y, M, N, 0, "max", axis, 8, 256)
    assert y[:-1].isnan().all() and y[-1] == -torch.inf


@triton.jit
def _sum_of_exp(x_ptr, e_ptr, y_ptr, M, N, stride, AXIS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    m, n = tl.arange(0, BLOCK_M)[:, None], tl.arange(0, BLOCK_N)[None, :]
    x = tl.load(x_ptr + m * stride + n, mask=(m < M) & (n < N), other=0.0)
    e = tl.where((m < M) & (n < N), tl.exp(x), 0.0)
    total = tl.expand_dims(tl.sum(e, AXIS), AXIS)
    tl.store(y_ptr + m * BLOCK_N + n, x - tl.log(total + 1.0))
    tl.store(e_ptr + m * BLOCK_N + n, e)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_tile_that_is_written_by_its_sum(axis):
    for M, N in ((8, 128), (5, 100), (8, 1), (0, 0)):
        x, e, y = torch.randn(8, 200), torch.full((8, 128), torch.nan), torch.full((8, 128), torch.nan)
        _sum_of_exp[(1,)](x, e, y, M, N, 200, axis, 8, 128)
        inside = torch.zeros(8, 128, dtype=torch.bool)
        inside[:M, :N] = True
        given = torch.where(inside, x[:, :128], 0)
        expected = torch.where(inside, given.exp(), 0)
        torch.testing.assert_close(e, expected)
        torch.testing.assert_close(y, given - (expected.sum(axis, keepdim=True) + 1).log())


@triton.jit
def _exp_of_one(x_ptr, e_ptr, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)[:, None]
    e = tl.exp(tl.load(x_ptr + n))
    total = tl.sum(e, 1)
    tl.store(x_ptr + tl.arange(0, BLOCK), total + 1)
    tl.store(e_ptr + n, e)


def test_a_sum_over_one():
    x, e = torch.randn(64), torch.empty(64)
    expected = x.exp()
    _exp_of_one[(1,)](x, e, 64)
    torch.testing.assert_close(e, expected)
    torch.testing.assert_close(x, expected + 1)


@triton.jit
def _sums_around_a_store(x_ptr, to_ptr, y_ptr, N, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + n, mask=n < N, other=1.0)
    before = tl.sum(x, 0)
    tl.store(to_ptr + n, x - before, mask=n < N)
    tl.store(y_ptr, before)
    tl.store(y_ptr + 1, tl.sum(x * x, 0))


@pytest.mark.parametrize("shift", [0, 7, 300])
def test_a_load_that_is_needed_after_a_store(shift):
    memory, y = torch.randn(600), torch.empty(2)
    x = memory[:100].clone()
    _sums_around_a_store[(1,)](memory, memory[shift:], y, 100, 128)
    torch.testing.assert_close(y, torch.stack([x.sum() + 28, (x * x).sum() + 28]))
    torch.testing.assert_close(memory[shift : shift + 100], x - (x.sum() + 28))


@triton.jit
def _normalise(x_ptr, to_ptr, N, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + n, mask=n < N, other=0.0)
    tl.store(to_ptr + n, x - tl.sum(x, 0) / N, mask=n < N)


@pytest.mark.parametrize("shift", [-40, -1, 0, 1, 64, 300])
def test_a_load_that_is_read_twice_where_memory_overlaps(shift):
    memory = torch.randn(800)
    expected = memory.clone()
    expected[64 + shift : 64 + shift + 200] = memory[64:264] - memory[64:264].mean()
    _normalise[(1,)](memory[64:], memory[64 + shift :], 200, 256)
    torch.testing.assert_close(memory, expected)


@triton.jit
def _lanes(x_ptr, y_ptr, BLOCK: tl.constexpr):
    m, n = tl.arange(0, 4)[:, None], tl.arange(0, BLOCK)[None, :]
    x = tl.load(x_ptr + m * BLOCK + n)
    tl.store(y_ptr + tl.arange(0, 4), tl.sum(x, 1))
    tl.store(y_ptr + 4 + tl.arange(0, 4), tl.max(x, 1))
    tl.store(y_ptr + 8 + tl.arange(0, 4), tl.min(x, 1))


@pytest.mark.parametrize("size", [2, 4, 8, 16, 32, 64, 128])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_number_of_lanes(size, dtype):
    x, y = torch.randn(4, size, dtype=dtype), torch.empty(12, dtype=dtype)
    x[0, 1::2] = torch.nan
    x[1, ::2] = torch.nan
    x[2] = torch.nan
    _lanes[(1,)](x, y, size)
    numbers = [row[~row.isnan()] for row in x]
    assert y[:3].isnan().all()
    torch.testing.assert_close(y[3], x[3].sum())
    for at, extreme in ((4, torch.max), (8, torch.min)):
        assert [extreme(row).item() if len(row) else None for row in numbers] == [
            None if value.isnan() else value.item() for value in y[at : at + 4]
        ]


@triton.jit
def _first_largest(x_ptr, y_ptr, M, AXIS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    m, n = tl.arange(0, BLOCK_M)[:, None], tl.arange(0, BLOCK_N)[None, :]
    x = tl.load(x_ptr + m * BLOCK_N + n, mask=m < M, other=-1.0)
    y = tl.argmax(x, AXIS)
    tl.store(y_ptr + tl.arange(0, BLOCK_N if AXIS == 0 else BLOCK_M), y)


@pytest.mark.parametrize("n", [1, 4])
def test_places_of_the_largest_in_masked_columns(n):
    x, y = torch.rand(64, n), torch.empty(n, dtype=torch.int32)
    x[30] = 2
    for M in (64, 31, 20):
        _first_largest[(1,)](x, y, M, 0, 64, n)
        assert y.tolist() == x[:M].argmax(0).tolist()
