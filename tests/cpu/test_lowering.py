"""The lowering of TTIR to C: what is fused stays right where memory overlaps, arithmetic wraps, masks cut lanes off."""

import ctypes
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from tritonnet.kernels import cpu
from tritonnet.kernels._errors import UnsupportedKernelError
from tritonnet.kernels.cpu import compiler
from tritonnet.kernels.cpu.lower import lower

pytestmark = [
    pytest.mark.skipif(bool(cpu.unavailable()), reason=f"no kernel can be compiled here: {cpu.unavailable()}"),
    pytest.mark.usefixtures("activated"),
]

ROOT = Path(__file__).parents[2]
FLOATS = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


@triton.jit
def _copy(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.load(x_ptr + i, mask=i < n), mask=i < n)


@pytest.mark.parametrize("shift", [-64, -1, 0, 1, 3, 64, 256])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_overlapping_arguments(dtype: torch.dtype, shift: int) -> None:
    x = torch.arange(600).to(dtype)
    expected = x.clone()
    expected[64 + shift : 64 + shift + 200] = x[64:264]
    _copy[(1,)](x[64:], x[64 + shift :], 200, 256)
    assert torch.equal(x, expected)


@triton.jit
def _copy_box(x_ptr, y_ptr, n0, n1, n2, sx1, sx2, sy1, sy2, B0: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr):
    pid = tl.program_id(0).to(tl.int64)
    i0 = pid % tl.cdiv(n0, B0) * B0 + tl.arange(0, B0)[None, None, :]
    i1 = pid // tl.cdiv(n0, B0) * B1 + tl.arange(0, B1)[None, :, None]
    i2 = tl.arange(0, B2)[:, None, None]
    mask = (i0 < n0) & (i1 < n1) & (i2 < n2)
    tl.store(y_ptr + i1 * sy1 + i2 * sy2 + i0, tl.load(x_ptr + i1 * sx1 + i2 * sx2 + i0, mask=mask), mask=mask)


def test_the_bounds_of_a_box_are_bounds_of_loops() -> None:
    x, y = torch.randn(5, 11, 70), torch.zeros(6, 12, 71)
    blocks = (32, 8, 8)
    _copy_box[(6,)](x, y, 70, 11, 5, 70, 770, 71, 852, *blocks)
    assert torch.equal(y[:5, :11, :70], x)
    assert not y[5].any() and not y[:, 11].any() and not y[:, :, 70].any()
    made = _copy_box.warmup(x, y, 70, 11, 5, 70, 770, 71, 852, *blocks, grid=(1,)).asm["c"]
    fast, slow = re.split(r"\n +else \{\n", made, maxsplit=1)
    assert "_Bool" not in fast and "_Bool" in slow


@triton.jit
def _swap_halves(x_ptr, y_ptr):
    i = tl.arange(0, 128)
    a, b = tl.load(x_ptr + i), tl.load(y_ptr + i)
    tl.store(x_ptr + i, b)
    tl.store(y_ptr + i, a * 2)


@pytest.mark.parametrize("shift", [0, 1, 50, 128])
def test_stores_of_one_group_keep_their_order(shift: int) -> None:
    x = torch.arange(256.0)
    a, b = x[:128].clone(), x[shift : shift + 128].clone()
    expected = x.clone()
    expected[:128] = b
    expected[shift : shift + 128] = a * 2
    _swap_halves[(1,)](x, x[shift:])
    assert torch.equal(x, expected)


@triton.jit
def _add_to_row(x_ptr, stride_m, stride_n):
    m, n = tl.arange(0, 16)[:, None], tl.arange(0, 32)[None, :]
    p = x_ptr + m * stride_m + n * stride_n
    tl.store(p, tl.load(p) + 1 + n)


@pytest.mark.parametrize("strides", [(32, 1), (1, 16), (0, 1), (1, 1), (64, 2), (2, 40)])
def test_in_place_with_any_strides(strides: tuple[int, int]) -> None:
    x = torch.randint(100, (1300,)).float()
    before = x.clone()
    _add_to_row[(1,)](x, *strides)
    m, n = torch.arange(16)[:, None], torch.arange(32)[None, :]
    places = (m * strides[0] + n * strides[1]).flatten()
    wanted = (before[places].view(16, 32) + 1 + n).flatten()
    # Where lanes share a place, any one of them may be the last to write; none may read what another wrote.
    for place in places.unique().tolist():
        assert x[place] in wanted[places == place]
    rest = torch.ones(1300, dtype=torch.bool)
    rest[places] = False
    assert torch.equal(x[rest], before[rest])


@triton.jit
def _add_to_box(x_ptr, n0, n1, n2, s0, s1, s2):
    i0, i1, i2 = tl.arange(0, 64)[None, None, :], tl.arange(0, 16)[None, :, None], tl.arange(0, 4)[:, None, None]
    mask = (i0 < n0) & (i1 < n1) & (i2 < n2)
    p = x_ptr + i2 * s2 + i1 * s1 + i0 * s0
    tl.store(p, tl.load(p, mask=mask, other=0.0) + 1 + i0, mask=mask)


@pytest.mark.parametrize(
    "sizes, strides",
    [((28, 11, 3), (1, 28, 308)), ((28, 11, 3), (1, 30, 5)), ((50, 9, 1), (1, 50, 0)), ((5, 4, 3), (12, 3, 1)),
     ((40, 3, 2), (2, 1, 80)), ((40, 3, 2), (0, 1, 3))],
)  # fmt: skip
def test_a_box_in_place_with_any_strides(sizes: tuple[int, ...], strides: tuple[int, ...]) -> None:
    x = torch.randint(100, (1300,)).float()
    before = x.clone()
    _add_to_box[(1,)](x, *sizes, *strides)
    i0, i1, i2 = (torch.arange(n) for n in sizes)
    i1, i2 = i1[:, None], i2[:, None, None]
    places = (i0 * strides[0] + i1 * strides[1] + i2 * strides[2]).flatten()
    wanted = (before[places].view(*reversed(sizes)) + 1 + i0).flatten()
    for place in places.unique().tolist():
        assert x[place] in wanted[places == place]
    rest = torch.ones(1300, dtype=torch.bool)
    rest[places] = False
    assert torch.equal(x[rest], before[rest])


@triton.jit
def _scatter(x_ptr, i_ptr, n):
    k = tl.arange(0, 64)
    i = tl.load(i_ptr + k, mask=k < n, other=0)
    tl.store(x_ptr + i, tl.load(x_ptr + k) + 1, mask=k < n)


def test_scatter_over_what_is_read() -> None:
    x = torch.arange(64.0)
    i = torch.roll(torch.arange(64), 5)
    expected = x.clone()
    expected[i[:60]] = x[:60] + 1
    _scatter[(1,)](x, i, 60)
    assert torch.equal(x, expected)


@triton.jit
def _adam_table(table_ptr, chunk_ptr, n, lr, BLOCK: tl.constexpr):
    row = tl.load(chunk_ptr + tl.program_id(0))
    p_ptr = tl.load(table_ptr + row * 4).to(tl.pointer_type(tl.float32))
    g_ptr = tl.load(table_ptr + row * 4 + 1).to(tl.pointer_type(tl.float32))
    m_ptr = tl.load(table_ptr + row * 4 + 2).to(tl.pointer_type(tl.float32))
    v_ptr = tl.load(table_ptr + row * 4 + 3).to(tl.pointer_type(tl.float32))
    i = tl.arange(0, BLOCK)
    ok = i < n
    p, g = tl.load(p_ptr + i, mask=ok), tl.load(g_ptr + i, mask=ok)
    m, v = tl.load(m_ptr + i, mask=ok), tl.load(v_ptr + i, mask=ok)
    m = 0.9 * m + 0.1 * g
    v = 0.99 * v + 0.01 * g * g
    tl.store(p_ptr + i, p - lr * m / (tl.sqrt(v) + 1e-8), mask=ok)
    tl.store(m_ptr + i, m, mask=ok)
    tl.store(v_ptr + i, v, mask=ok)


def _adam_step(p: Tensor, g: Tensor, m: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    m = 0.9 * m + 0.1 * g
    v = 0.99 * v + 0.01 * g * g
    return p - 0.1 * m / (v.sqrt() + 1e-8), m, v


def test_pointers_from_a_table() -> None:
    rows = [[torch.rand(1000) for _ in range(4)] for _ in range(3)]
    wanted = [_adam_step(*(tensor.double() for tensor in row)) for row in rows]
    table = torch.tensor([[tensor.data_ptr() for tensor in row] for row in rows])
    _adam_table[(3,)](table, torch.tensor([2, 0, 1]), 1000, 0.1, 1024)
    for row, expected in zip(rows, wanted, strict=True):
        for k, value in zip((0, 2, 3), expected, strict=True):
            torch.testing.assert_close(row[k].double(), value, rtol=1e-6, atol=1e-6)


@triton.jit
def _scatter_twice(x_ptr, i_ptr):
    k = tl.arange(0, 64)
    i = tl.load(i_ptr + k)
    x = tl.load(x_ptr + k)
    tl.store(x_ptr + i * i % 64, x + 1)
    tl.store(x_ptr + k, x + 2)


def test_scattered_stores_keep_their_order() -> None:
    x = torch.arange(64.0)
    _scatter_twice[(1,)](x, torch.roll(torch.arange(64), 5))
    assert torch.equal(x, torch.arange(64.0) + 2)


def test_a_table_of_pointers_that_overlap() -> None:
    x = torch.rand(300)
    p, g, m, v = x[:256], x[1:257], x[2:258], x[40:296]
    new_p, new_m, new_v = _adam_step(p, g, m, v)
    expected = x.clone()
    # All loads come first, then the stores one after the other.
    expected[:256] = new_p
    expected[2:258] = new_m
    expected[40:296] = new_v
    table = torch.tensor([[tensor.data_ptr() for tensor in (p, g, m, v)]])
    _adam_table[(1,)](table, torch.tensor([0]), 256, 0.1, 256)
    torch.testing.assert_close(x, expected, rtol=1e-6, atol=1e-6)


@triton.jit
def _rows_times_their_sum(x_ptr, y_ptr, T, BLOCK: tl.constexpr):
    t, d = tl.arange(0, BLOCK), tl.arange(0, 64)
    ok = (t < T)[:, None] & (d < 48)[None, :]
    i = t[:, None] * 48 + d[None, :]
    x = tl.load(x_ptr + i, mask=ok, other=0.0)
    tl.store(y_ptr + i, x * tl.sum(x, 1)[:, None], mask=ok)


def test_a_masked_load_used_twice() -> None:
    """gcc 12 stored zeros here under -fno-trapping-math."""
    x, y = torch.randn(50, 48), torch.full((50, 48), torch.nan)
    _rows_times_their_sum[(1,)](x, y, 50, 64)
    torch.testing.assert_close(y.double(), x.double() * x.double().sum(1, keepdim=True), rtol=1e-5, atol=1e-5)


@triton.jit
def _wrapping_offset(x_ptr, y_ptr, start, step):
    i = start + tl.arange(0, 64) * step
    tl.store(y_ptr + tl.arange(0, 64), i.to(tl.int64))
    tl.store(x_ptr + i, 1.0, mask=(i >= 0) & (i < 64))


@pytest.mark.parametrize(
    ("start", "step"), [(0, 1), (2**31 - 30, 1), (-(2**31) + 8, -1), (1, 2**29), (2**31 - 1, 2**31 - 1)]
)
def test_32_bit_offsets_wrap(start: int, step: int) -> None:
    exact = start + torch.arange(64) * step
    wrapped = (exact + 2**31) % 2**32 - 2**31
    x, y = torch.zeros(64), torch.empty(64, dtype=torch.int64)
    _wrapping_offset[(1,)](x, y, start, step)
    assert torch.equal(y, wrapped)
    expected = torch.zeros(64)
    expected[wrapped[(wrapped >= 0) & (wrapped < 64)]] = 1
    assert torch.equal(x, expected)


@triton.jit
def _masked_divide(x_ptr, y_ptr, divisor_ptr, n):
    i = tl.arange(0, 64)
    ok = i < n
    divisor = tl.load(divisor_ptr + i, mask=ok, other=0)
    quotient = tl.load(x_ptr + i, mask=ok, other=-2147483648) // divisor
    tl.store(y_ptr + i, quotient, mask=ok)


def test_lanes_that_are_masked_off_do_not_trap() -> None:
    x, divisor = torch.randint(-99, 99, (64,), dtype=torch.int32), torch.randint(1, 9, (64,), dtype=torch.int32)
    y = torch.zeros(64, dtype=torch.int32)
    _masked_divide[(1,)](x, y, divisor, 10)
    assert torch.equal(y[:10], torch.div(x[:10], divisor[:10], rounding_mode="trunc"))
    assert not y[10:].any()


@triton.jit
def _beyond_the_page(x_ptr, y_ptr, M, N, stride, BLOCK: tl.constexpr, TURN: tl.constexpr):
    m, n = tl.arange(0, BLOCK), tl.arange(0, BLOCK)
    ok = (m < M)[:, None] & (n < N)[None, :]
    x = tl.load(x_ptr + m[:, None] * stride + n[None, :], mask=ok, other=0.0)
    if TURN:
        x = tl.trans(x)
    tl.store(y_ptr + m[:, None] * BLOCK + n[None, :], tl.dot(x, x, input_precision="ieee"))


@pytest.mark.parametrize("turn", [False, True])
def test_lanes_that_are_masked_off_touch_no_memory(turn: bool) -> None:
    """Rows of a page before one that cannot be read, in a process of its own."""
    script = f"""
import ctypes, mmap, torch
from tritonnet.kernels import cpu
from tests.cpu import test_lowering as tests
cpu.activate()
page = mmap.PAGESIZE
memory = mmap.mmap(-1, 2 * page)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address + page), page, 0) == 0
x = torch.frombuffer(memory, dtype=torch.float32, count=page // 4)[-7 * 11:].view(7, 11)
x.copy_(torch.randn(7, 11))
y = torch.empty(16, 16)
tests._beyond_the_page[(1,)](x, y, 7, 11, 11, 16, {turn})
whole = torch.zeros(16, 16)
whole[:7, :11] = x
whole = whole.T if {turn} else whole
torch.testing.assert_close(y, whole @ whole, rtol=1e-5, atol=1e-5)
print("read")
import os; os._exit(0)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == "read\n", done.stderr[-2000:]


@triton.jit
def _pixels(x_ptr, y_ptr, C, H, W, r, s, BLOCK: tl.constexpr):
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    n, h, w = pixel // (H * W), pixel // W % H + r, pixel % W + s
    c = tl.arange(0, 16)
    ok = (h >= 0) & (h < H) & (w >= 0) & (w < W) & (n < 2)
    place = n * (C * H * W) + h * W + w
    x = tl.load(x_ptr + c[:, None] * (H * W) + place[None, :], mask=(c < C)[:, None] & ok[None, :], other=0.0)
    tl.store(y_ptr + c[:, None] * 1024 + pixel[None, :], x)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(("C", "H", "W"), [(16, 16, 16), (5, 9, 31), (3, 28, 3)])
def test_runs_of_pixels(C: int, H: int, W: int, dtype: torch.dtype) -> None:
    x = torch.randn(2, C, H, W).to(dtype)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    for r, s in ((-1, -1), (0, 0), (1, 1), (0, -1)):
        y = torch.full((16, 1024), torch.nan, dtype=dtype)
        _pixels[(8,)](x, y, C, H, W, r, s, 128)
        expected = torch.zeros(16, 1024, dtype=dtype)
        tap = padded[:, :, 1 + r : 1 + r + H, 1 + s : 1 + s + W]
        expected[:C, : 2 * H * W] = tap.permute(1, 0, 2, 3).reshape(C, -1)
        assert torch.equal(y, expected)


@triton.jit
def _tile_product(
    a_ptr, b_ptr, c_ptr, M, N, K, sam, sak, sbk, sbn, BLOCK: tl.constexpr, WRAP: tl.constexpr, ROUND: tl.constexpr
):
    m, n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    rows, cols = (m % M, n % N) if WRAP else (m, n)
    k = tl.arange(0, BLOCK)
    a_ptrs, b_ptrs = a_ptr + rows[:, None] * sam + k[None, :] * sak, b_ptr + k[:, None] * sbk + cols[None, :] * sbn
    c = tl.zeros((BLOCK, BLOCK), tl.float64 if ROUND else tl.float32)
    for start in range(0, K, BLOCK):
        a_ok, b_ok = k[None, :] < K - start, k[:, None] < K - start
        if not WRAP:
            a_ok, b_ok = a_ok & (m < M)[:, None], b_ok & (n < N)[None, :]
        a, b = tl.load(a_ptrs, mask=a_ok, other=0.0), tl.load(b_ptrs, mask=b_ok, other=0.0)
        c = tl.dot(a, b, c, input_precision="ieee", out_dtype=c.dtype)
        a_ptrs += BLOCK * sak
        b_ptrs += BLOCK * sbk
    tl.store(c_ptr + m[:, None] * N + n[None, :], c, mask=(m < M)[:, None] & (n < N)[None, :])


def _in_layout(x: Tensor, layout: str) -> Tensor:
    return {
        "rows": lambda: x,
        "columns": lambda: x.T.contiguous().T,
        "every second": lambda: torch.stack([x, x * torch.nan], 2).flatten(1)[:, ::2],
    }[layout]()


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("layouts", [("rows", "rows"), ("columns", "columns"), ("every second", "every second")])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_products_of_any_layout_and_size(dtype: torch.dtype, layouts: tuple[str, str], wrap: bool) -> None:
    M, N, K = 50, 45, 70
    a, b = (torch.randint(-4, 5, shape).to(dtype) for shape in ((M, K), (K, N)))
    left, right = _in_layout(a, layouts[0]), _in_layout(b, layouts[1])
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    c = torch.full((M, N), torch.nan, dtype=wide)
    _tile_product[(2, 2)](left, right, c, M, N, K, *left.stride(), *right.stride(), 32, wrap, dtype == torch.float64)
    assert torch.equal(c, a.to(wide) @ b.to(wide))


def test_the_rows_a_mask_cuts_off_are_zero_times_infinity() -> None:
    """What `other` puts there is multiplied like anything else: 0 * inf is NaN, in the rows that are cut off too."""
    a, b = torch.ones(16, 16), torch.full((16, 16), torch.inf)
    c = torch.empty(16, 16)
    _whole_product[(1,)](a, b, c, 9)
    assert (c[:9] == torch.inf).all()
    assert c[9:].isnan().all()


@triton.jit
def _whole_product(a_ptr, b_ptr, c_ptr, M):
    i, j = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
    a = tl.load(a_ptr + i * 16 + j, mask=i < M, other=0.0)
    tl.store(c_ptr + i * 16 + j, tl.dot(a, tl.load(b_ptr + i * 16 + j), input_precision="ieee"))


@triton.jit
def _attention(q_ptr, k_ptr, v_ptr, o_ptr, T, D: tl.constexpr, BLOCK: tl.constexpr):
    m, d = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, D)
    q = tl.load(q_ptr + m[:, None] * D + d[None, :], mask=m[:, None] < T, other=0.0) * 0.125
    acc = tl.zeros((BLOCK, D), tl.float32)
    largest, total = tl.full((BLOCK,), -1e30, tl.float32), tl.zeros((BLOCK,), tl.float32)
    for start in range(0, (tl.program_id(0) + 1) * BLOCK, BLOCK):
        n = start + tl.arange(0, BLOCK)
        k = tl.load(k_ptr + n[None, :] * D + d[:, None], mask=n[None, :] < T, other=0.0)
        scores = tl.where(m[:, None] >= n[None, :], tl.dot(q, k, input_precision="ieee"), -1e30)
        larger = tl.maximum(largest, tl.max(scores, 1))
        p, shrunk = tl.exp(scores - larger[:, None]), tl.exp(largest - larger)
        total = total * shrunk + tl.sum(p, 1)
        v = tl.load(v_ptr + n[:, None] * D + d[None, :], mask=n[:, None] < T, other=0.0)
        acc = tl.dot(p.to(v.dtype), v, acc * shrunk[:, None], input_precision="ieee")
        largest = larger
    tl.store(o_ptr + m[:, None] * D + d[None, :], acc / total[:, None], mask=m[:, None] < T)


def test_attention() -> None:
    """Carried values that are read by each other's new values, and a product whose tile is scaled in place."""
    q, k, v = (torch.randn(150, 64) for _ in range(3))
    o = torch.full((150, 64), torch.nan)
    _attention[(3,)](q, k, v, o, 150, 64, 64)
    expected = torch.nn.functional.scaled_dot_product_attention(q.double(), k.double(), v.double(), is_causal=True)
    torch.testing.assert_close(o.double(), expected, rtol=1e-5, atol=1e-5)


@triton.jit
def _entropy(x_ptr, y_ptr):
    i = tl.arange(0, 256)
    x = tl.load(x_ptr + i)
    tl.store(y_ptr + i, x * tl.log(tl.where(x == 0.0, 1.0, x)))


def test_a_choice_with_a_constant_does_not_branch() -> None:
    x, y = torch.rand(256), torch.empty(256)
    x[::3] = 0
    compiled = _entropy[(1,)](x, y)
    torch.testing.assert_close(y, torch.xlogy(x, x))
    assert "tn_choose_f32" in compiled.asm["c"]


@triton.jit
def _masked_sums(x_ptr, y_ptr, low, high, rows, R: tl.constexpr, C: tl.constexpr):
    i, j = tl.arange(0, R)[:, None], tl.arange(0, C)[None, :]
    inside = (i < rows) & (j >= low) & (j < high)
    x = tl.load(x_ptr + i * C + j, mask=inside, other=0.0)
    # A division that a condition guards keeps a loop from being vectorised, unless the condition is known to hold.
    tl.store(y_ptr + tl.arange(0, R), tl.sum(tl.where(inside, 1.0 / (1.0 + x * x), 0.0), 1))


@pytest.mark.parametrize("low, high", [(0, 256), (0, 255), (0, 1), (0, 0), (1, 256), (63, 130), (64, 192), (200, 100)])
def test_sums_of_lanes_within_bounds(low: int, high: int) -> None:
    x = torch.randn(4, 256)
    for rows in (0, 3, 4):
        y = torch.full((4,), torch.nan)
        _masked_sums[(1,)](x, y, low, high, rows, 4, 256)
        expected = torch.zeros(4)
        expected[:rows] = (1 / (1 + x.double() ** 2))[:rows, low:high].sum(1)
        torch.testing.assert_close(y, expected, rtol=1e-6, atol=0)


def test_sums_have_a_loop_without_masks() -> None:
    compiled = _masked_sums.warmup(torch.float32, torch.float32, 0, 7, 3, 4, 256, grid=(1,))
    whole, _, masked = compiled.asm["c"].partition("continue;")
    assert "? ((float *)" in masked and "? ((float *)" not in whole


@triton.jit
def _mean(x_ptr, y_ptr, n, scale: "fp64", BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n, other=0.0)
    tl.store(y_ptr, tl.sum(x, 0) * scale + 0.1)


def test_float64_is_computed_in_double() -> None:
    x, y = torch.randn(1000, dtype=torch.float64), torch.empty(1, dtype=torch.float64)
    _mean[(1,)](x, y, 1000, 1e-3, 1024)
    assert (y[0] - (x.sum() * 1e-3 + 0.1)).abs() < 1e-15


@triton.jit
def _softmax(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    row = tl.program_id(0) * n
    x = tl.load(x_ptr + row + i, mask=i < n, other=-float("inf"))
    e = tl.exp(x - tl.max(x, 0))
    tl.store(y_ptr + row + i, e / tl.sum(e, 0), mask=i < n)


def test_every_run_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(64, 1001)
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3, 1):
            torch.set_num_threads(count)
            # Another address, and another alignment of the rows, for every run.
            y = torch.empty(64 * 1001 + count)[count:].view(64, 1001)
            _softmax[(64,)](x, y, 1001, 1024)
            results.append(y)
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(results[0].double(), x.double().softmax(1), rtol=1e-5, atol=1e-8)
    assert all(torch.equal(results[0], other) for other in results[1:])


def _ttir(kernel: Any, *args: Any, **constexprs: Any) -> str:
    """A kernel's TTIR without the places in its source."""
    text = str(kernel.warmup(*args, grid=(1,), **constexprs).asm["ttir"])
    lines = [line for line in text.splitlines() if not line.startswith("#loc")]
    return re.sub(r" ?loc\((?:[^()]|\([^()]*\))*\)", "", "\n".join(lines))


def test_the_same_text_gives_the_same_c() -> None:
    x = torch.zeros(64)
    ttir = _ttir(_softmax, x, x, 64, BLOCK=64)
    lowered = lower(ttir)
    assert lowered == lower(ttir)
    assert lowered.name == "_softmax"
    assert lowered.args == ("ptr<f32>", "ptr<f32>", "i32")
    assert lowered.arena % 64 == 0 < lowered.arena


def test_tiles_are_not_on_the_stack() -> None:
    x = torch.zeros(64)
    args = (x, x, x, 64, 64, 64, 64, 1, 64, 1)
    ttir = _ttir(_tile_product, *args, BLOCK=256, WRAP=False, ROUND=False)
    lowered = lower(ttir)
    assert lowered.arena >= 256 * 256 * 4
    assert "[65536]" not in lowered.source


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the baseline is one of x86-64")
def test_products_of_bfloat16_without_an_instruction_for_them() -> None:
    """The same C for a processor of ten years ago."""
    a, b = (torch.randint(-4, 5, (16, 16)).to(torch.bfloat16) for _ in range(2))
    c = torch.empty(16, 16)
    lowered = lower(_ttir(_whole_product, a, b, c, 9))
    flags = [flag for flag in compiler.flags(True) if not flag.startswith("-march")] + ["-march=x86-64-v3"]
    library = compiler.build("old", lowered.source, *flags, compiler.linked(*flags), "-lm")
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(library)
        file.flush()
        program = ctypes.CDLL(file.name).tn_program
    slots = (ctypes.c_int64 * 4)(a.data_ptr(), b.data_ptr(), c.data_ptr(), 9)
    arena = torch.empty(lowered.arena + 64, dtype=torch.uint8)
    aligned = arena.data_ptr() + -arena.data_ptr() % 64
    assert program(0, 0, 0, 1, 1, 1, slots, ctypes.c_void_p(aligned)) == 0
    a[9:] = 0
    assert torch.equal(c, a.float() @ b.float())


UNKNOWN = """module {
  tt.func public @strange(%arg0: !tt.ptr<f8E5M2>) attributes {noinline = false} {
    %0 = tt.load %arg0 : !tt.ptr<f8E5M2>
    %1 = tt.dot_scaled %0 : f8E5M2
    tt.return
  }
}"""


def test_refusals_name_kernel_line_and_operation() -> None:
    with pytest.raises(
        UnsupportedKernelError, match="strange: TTIR line 3: tt.load: the element type f8E5M2 is not supp"
    ):
        lower(UNKNOWN)
    with pytest.raises(
        UnsupportedKernelError, match="strange: TTIR line 4: tt.dot_scaled: the operation is not supported"
    ):
        lower(UNKNOWN.replace("f8E5M2", "f32"))
