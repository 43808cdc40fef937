"""Loads and stores at places that were loaded themselves, in tiles of many lanes and of one."""

import pytest
import torch
import triton
import triton.language as tl

from tritonnet.kernels import cpu
from tritonnet.kernels._launch import launch

pytestmark = pytest.mark.skipif(bool(cpu.unavailable()), reason=f"no kernel can be compiled here: {cpu.unavailable()}")


@triton.jit
def _gather_kernel(at_ptr, x_ptr, y_ptr, n, stride, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    at = tl.load(at_ptr + lanes, mask=lanes < n, other=0)
    tl.store(y_ptr + lanes, tl.load(x_ptr + at * stride, mask=lanes < n, other=0.0), mask=lanes < n)


@triton.jit
def _gather_rows_kernel(at_ptr, x_ptr, y_ptr, n, stride, BLOCK: tl.constexpr, COLUMNS: tl.constexpr):
    lanes, columns = tl.arange(0, BLOCK), tl.arange(0, COLUMNS)
    at = tl.load(at_ptr + lanes, mask=lanes < n, other=0)
    x = tl.load(x_ptr + at[:, None] * stride + columns[None, :], mask=lanes[:, None] < n, other=0.0)
    tl.store(y_ptr + lanes[:, None] * COLUMNS + columns[None, :], x, mask=lanes[:, None] < n)


@triton.jit
def _scatter_kernel(at_ptr, x_ptr, y_ptr, n, stride, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    at = tl.load(at_ptr + lanes, mask=lanes < n, other=0)
    tl.store(y_ptr + at * stride, tl.load(x_ptr + lanes, mask=lanes < n, other=0.0), mask=lanes < n)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize(("n", "block"), [(1, 1), (1, 2), (5, 8), (16, 16)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32], ids=str)
def test_gather_and_scatter(n: int, block: int, stride: int, dtype: torch.dtype) -> None:
    at = torch.randperm(20)[:n].to(dtype)
    x = torch.randn(60)
    y = torch.zeros(n)
    launch(_gather_kernel, (1,), at, x, y, n, stride, BLOCK=block)
    assert torch.equal(y, x[at.long() * stride])

    spread, expected = torch.zeros(60), torch.zeros(60)
    expected[at.long() * stride] = x[:n]
    launch(_scatter_kernel, (1,), at, x, spread, n, stride, BLOCK=block)
    assert torch.equal(spread, expected)


@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize(("n", "block"), [(1, 1), (5, 8)])
def test_gather_of_rows(n: int, block: int, columns: int) -> None:
    at = torch.randperm(20)[:n]
    x = torch.randn(20, columns)
    y = torch.zeros(n, columns)
    launch(_gather_rows_kernel, (1,), at, x, y, n, columns, BLOCK=block, COLUMNS=columns)
    assert torch.equal(y, x[at])
