"""Windows over the edge: rows that a mask excludes, borders of the innermost loop, masks that count in steps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from tritonnet.kernels import cpu

pytestmark = [
    pytest.mark.skipif(bool(cpu.unavailable()), reason=f"no kernel can be compiled here: {cpu.unavailable()}"),
    pytest.mark.usefixtures("activated"),
]

ROOT = Path(__file__).parents[2]
FLOATS = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


@triton.jit
def _windows(
    x_ptr, y_ptr, H, W, P, Q, sxh, sxw, syp, syq, PAD: tl.constexpr, STRIDE: tl.constexpr, TAPS: tl.constexpr,
    OTHER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """y[p, q] is the largest x[p * STRIDE + r - PAD, q * STRIDE + s - PAD] times the number of its tap from the end."""
    p, q = tl.arange(0, BLOCK)[:, None], tl.arange(0, BLOCK)[None, :]
    best = tl.full((BLOCK, BLOCK), float("-inf"), tl.float32)
    last = tl.zeros((BLOCK, BLOCK), tl.int32)
    for r in tl.static_range(TAPS):
        for s in tl.static_range(TAPS):
            h, w = p * STRIDE + r - PAD, q * STRIDE + s - PAD
            inside = (h >= 0) & (h < H) & (w >= 0) & (w < W)
            x = tl.load(x_ptr + h * sxh + w * sxw, mask=inside, other=OTHER).to(tl.float32)
            last = tl.where(x > best, r * TAPS + s + 1, last)
            best = tl.where(x > best, x, best)
    tl.store(y_ptr + p * syp + q * syq, best * last, mask=(p < P) & (q < Q))


def _expected(x: Tensor, pad: int, stride: int, taps: int, other: float) -> Tensor:
    padded = torch.nn.functional.pad(x.float(), (pad,) * 4, value=other)
    windows = padded.unfold(0, taps, stride).unfold(1, taps, stride).flatten(2)
    best, last = windows.max(-1)
    return (best * (last + 1)).to(x.dtype)


@pytest.mark.parametrize(
    ("dtype", "pad", "stride", "taps", "other"),
    [*((dtype, 1, 2, 3, float("-inf")) for dtype in FLOATS), (torch.bfloat16, 1, 3, 2, -2.5)],
    ids=str,
)
def test_windows_over_the_edge(dtype: torch.dtype, pad: int, stride: int, taps: int, other: float) -> None:
    for H, W in ((13, 16), (2, 20), (31, 5)):
        x = torch.randn(H, W).to(dtype)
        expected = _expected(x, pad, stride, taps, other)
        for turned in (False, True) if dtype == torch.float32 else (False,):
            source = x.t().contiguous().t() if turned else x
            y = torch.full((32, 32), torch.nan, dtype=dtype)
            y = y.t() if turned else y
            sizes = (H, W, *expected.shape)
            _windows[(1,)](source, y, *sizes, *source.stride(), *y.stride(), pad, stride, taps, other, 32)
            assert torch.equal(y[: expected.shape[0], : expected.shape[1]], expected)
            assert y[expected.shape[0] :].isnan().all() and y[:, expected.shape[1] :].isnan().all()


def test_what_is_over_the_edge_is_not_read() -> None:
    """A picture between two pages that cannot be read, in a process of its own."""
    script = """
import ctypes, mmap, os, torch
from tritonnet.kernels import cpu
from tests.cpu import test_borders as tests
cpu.activate()
page = mmap.PAGESIZE
memory = mmap.mmap(-1, 3 * page)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
x = torch.frombuffer(memory, dtype=torch.float32, count=3 * page // 4)[page // 4 :][: page // 4].view(-1, 32)
x.copy_(torch.randn(x.shape))
for guard in (address, address + 2 * page):
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(guard), page, 0) == 0
y = torch.empty(32, 32)
tests._windows[(1,)](x, y, 32, 32, 32, 32, 32, 1, 32, 1, 1, 1, 3, 0.0, 32)
assert torch.equal(y, tests._expected(x, 1, 1, 3, 0.0))
print("read")
os._exit(0)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == "read\n", done.stderr[-2000:]


@triton.jit
def _every_third(x_ptr, y_ptr, n, first, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.load(x_ptr + i), mask=(first + 3 * i >= 0) & (n - 3 * i > 0))


@pytest.mark.parametrize(("first", "n"), [(0, 100), (-7, 28), (-6, 27), (5, 0), (-1, 1), (3, -4), (-200, 9)])
def test_masks_that_count_in_steps(first: int, n: int) -> None:
    x, y = torch.randn(32), torch.zeros(32)
    i = torch.arange(32)
    _every_third[(1,)](x, y, n, first, 32)
    assert torch.equal(y, torch.where((first + 3 * i >= 0) & (n - 3 * i > 0), x, 0))
