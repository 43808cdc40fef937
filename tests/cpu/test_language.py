"""Triton's language on the CPU backend: one small kernel for each construct, compared with torch."""

import ctypes
import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice

from tritonnet.kernels import cpu
from tritonnet.kernels._errors import KernelAssertionError, UnsupportedKernelError

pytestmark = [
    pytest.mark.skipif(bool(cpu.unavailable()), reason=f"no kernel can be compiled here: {cpu.unavailable()}"),
    pytest.mark.usefixtures("activated"),
]

FLOATS = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
TOLERANCES = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float64: 1e-14}


@triton.jit
def load_2d(x_ptr, R: tl.constexpr, C: tl.constexpr):
    return tl.load(x_ptr + tl.arange(0, R)[:, None] * C + tl.arange(0, C)[None, :])


@triton.jit
def store_2d(y_ptr, y, R: tl.constexpr, C: tl.constexpr):
    tl.store(y_ptr + tl.arange(0, R)[:, None] * C + tl.arange(0, C)[None, :], y)


@triton.jit
def product(a, b):
    return a * b


@triton.jit
def _sort(x_ptr, y_ptr):
    store_2d(y_ptr, tl.sort(load_2d(x_ptr, 4, 32), dim=1), 4, 32)


@triton.jit
def _topk(x_ptr, y_ptr):
    store_2d(y_ptr, tl.topk(load_2d(x_ptr, 4, 32), 4), 4, 4)


@triton.jit
def _flip(x_ptr, y_ptr):
    store_2d(y_ptr, tl.flip(load_2d(x_ptr, 4, 32), 1), 4, 32)


@triton.jit
def _trans(x_ptr, y_ptr):
    store_2d(y_ptr, tl.trans(load_2d(x_ptr, 16, 32)), 32, 16)


@triton.jit
def _permute(x_ptr, y_ptr):
    x = tl.reshape(load_2d(x_ptr, 16, 32), (4, 16, 8))
    store_2d(y_ptr, tl.reshape(tl.permute(x, (2, 0, 1)), (16, 32)), 16, 32)


@triton.jit
def _reshape(x_ptr, y_ptr):
    store_2d(y_ptr, tl.reshape(load_2d(x_ptr, 16, 32), (32, 16)), 32, 16)


@triton.jit
def _interleave(x_ptr, y_ptr):
    i = tl.arange(0, 16)
    tl.store(y_ptr + tl.arange(0, 32), tl.interleave(tl.load(x_ptr + i), tl.load(x_ptr + 16 + i)))


@triton.jit
def _split(x_ptr, y_ptr):
    a, b = tl.split(tl.reshape(tl.load(x_ptr + tl.arange(0, 32)), (16, 2)))
    tl.store(y_ptr + tl.arange(0, 16), a)
    tl.store(y_ptr + 16 + tl.arange(0, 16), b)


@triton.jit
def _cat(x_ptr, y_ptr):
    i = tl.arange(0, 16)
    joined = tl.cat(tl.load(x_ptr + i), tl.load(x_ptr + 16 + i), can_reorder=True)
    tl.store(y_ptr + tl.arange(0, 32), joined)


@triton.jit
def _cumsum(x_ptr, y_ptr, AXIS: tl.constexpr, REVERSE: tl.constexpr):
    store_2d(y_ptr, tl.cumsum(load_2d(x_ptr, 16, 32).to(tl.float64), AXIS, reverse=REVERSE), 16, 32)


@triton.jit
def _associative_scan(x_ptr, y_ptr):
    store_2d(y_ptr, tl.associative_scan(load_2d(x_ptr, 16, 32).to(tl.float64), 1, product), 16, 32)


@triton.jit
def _reduce_product(x_ptr, y_ptr, AXIS: tl.constexpr):
    y = tl.reduce(load_2d(x_ptr, 16, 32).to(tl.float64), AXIS, product)
    tl.store(y_ptr + tl.arange(0, 16 if AXIS == 1 else 32), y)


@triton.jit
def _max(x_ptr, y_ptr, AXIS: tl.constexpr):
    tl.store(y_ptr + tl.arange(0, 16 if AXIS == 1 else 32), tl.max(load_2d(x_ptr, 16, 32), AXIS))


@triton.jit
def _sum(x_ptr, y_ptr, AXIS: tl.constexpr):
    tl.store(y_ptr + tl.arange(0, 16 if AXIS == 1 else 32), tl.sum(load_2d(x_ptr, 16, 32).to(tl.float64), AXIS))


@triton.jit
def _sum_middle(x_ptr, y_ptr):
    x = tl.reshape(load_2d(x_ptr, 16, 32), (16, 4, 8))
    store_2d(y_ptr, tl.sum(x.to(tl.float64), 1), 16, 8)


@triton.jit
def _sum_all(x_ptr, y_ptr):
    tl.store(y_ptr, tl.sum(load_2d(x_ptr, 16, 32).to(tl.float64)))


@triton.jit
def _argmin(x_ptr, y_ptr):
    tl.store(y_ptr + tl.arange(0, 16), tl.argmin(load_2d(x_ptr, 16, 32), 1))


@triton.jit
def _max_with_index(x_ptr, y_ptr):
    value, index = tl.max(load_2d(x_ptr, 16, 32), 0, return_indices=True)
    tl.store(y_ptr + tl.arange(0, 32), value.to(tl.float64) + 100 * index)


@triton.jit
def _erf(x_ptr, y_ptr):
    store_2d(y_ptr, tl.erf(load_2d(x_ptr, 16, 32).to(tl.float64)), 16, 32)


@triton.jit
def _functions(x_ptr, y_ptr):
    x = load_2d(x_ptr, 16, 32).to(tl.float64)
    y = tl.sigmoid(x) + tl.cos(x) + tl.sin(x) + tl.rsqrt(tl.abs(x) + 1) + tl.floor(x) + tl.ceil(x)
    store_2d(
        y_ptr, y + tl.exp(x) + tl.exp2(x) + tl.log(tl.abs(x) + 1) + tl.log2(tl.abs(x) + 1) + tl.sqrt(tl.abs(x)), 16, 32
    )


@triton.jit
def _library(x_ptr, y_ptr):
    x = load_2d(x_ptr, 16, 32).to(tl.float64)
    store_2d(y_ptr, libdevice.tanh(x) + libdevice.expm1(x) + libdevice.pow(tl.abs(x), x), 16, 32)


@triton.jit
def _static_range(x_ptr, y_ptr):
    x = load_2d(x_ptr, 16, 32)
    for j in tl.static_range(3):
        x += j
    store_2d(y_ptr, x, 16, 32)


@triton.jit(noinline=True)
def _twice_plus(a, b):
    return a * 2 + b


@triton.jit
def _noinline(x_ptr, y_ptr):
    for j in range(8):
        tl.store(y_ptr + j, _twice_plus(tl.load(x_ptr + j), 1.0) + _twice_plus(1.0, j))


@triton.jit
def _tensor_if(x_ptr, y_ptr, n):
    i = tl.arange(0, 512)
    x = tl.load(x_ptr + i)
    if n > 3:
        x = x * 2
        p = x_ptr + i
    else:
        x = x + 1
        p = x_ptr + 511 - i
    tl.store(y_ptr + i, x + tl.load(p))


@triton.jit
def _tensor_while(x_ptr, y_ptr):
    i = tl.arange(0, 512)
    x = tl.load(x_ptr + i)
    largest = tl.max(x, 0)
    while largest < 100.0:
        x = x * 2
        largest = tl.max(x, 0)
    tl.store(y_ptr + i, x)


@triton.jit
def _swap(x_ptr, y_ptr, n):
    i = tl.arange(0, 512)
    a = tl.load(x_ptr + i)
    b = a + 1
    for _ in range(n):
        a, b = b, a * 2
    tl.store(y_ptr + i, a)


@triton.jit
def _carried_transpose(x_ptr, y_ptr, n):
    x = load_2d(x_ptr, 16, 16)
    for _ in range(n):
        x = tl.trans(x) + 1
    store_2d(y_ptr, x, 16, 16)


@triton.jit
def _carried_pointers(x_ptr, y_ptr, n):
    i = tl.arange(0, 512)
    p = x_ptr + i
    for _ in range(n):
        p = p + (i % 2) * 2 - i % 2 * 2
    tl.store(y_ptr + i, tl.load(p))


@triton.jit
def _negative_step(x_ptr, y_ptr, n):
    for j in range(n, 0, -1):
        tl.store(y_ptr + j, tl.load(x_ptr + j) * j)


@triton.jit
def _nested_loops(x_ptr, y_ptr, n):
    acc = tl.zeros((16, 32), tl.float64)
    for i in range(n):
        for j in range(i):
            acc += load_2d(x_ptr, 16, 32).to(tl.float64) * (j + 1)
        acc = acc * 2
    store_2d(y_ptr, acc, 16, 32)


@triton.jit
def _one_argument_twice(xs, y_ptr):
    i = tl.arange(0, 512)
    tl.store(y_ptr + i, tl.load(xs[0] + i) + tl.load(xs[1] + i))


@triton.jit
def _marks(x_ptr, y_ptr, n):
    tl.assume(n > 0)
    x = load_2d(x_ptr, 16, 32)
    tl.debug_barrier()
    store_2d(y_ptr, x, 16, 32)


@triton.jit
def _descriptor(x_ptr, y_ptr):
    x = tl.make_tensor_descriptor(x_ptr, [15, 32], [32, 1], [8, 32])
    y = tl.make_tensor_descriptor(y_ptr, [15, 32], [32, 1], [8, 32])
    y.store([8, 0], x.load([8, 0]) * 2)


def _matrix(x: Tensor) -> Tensor:
    return x.view(16, 32).double()


def _swapped(x: Tensor, n: int = 3) -> Tensor:
    a, b = x, x + 1
    for _ in range(n):
        a, b = b, a * 2
    return a


def _doubled(x: Tensor) -> Tensor:
    while x.max() < 100:
        x = x * 2
    return x


def _all_functions(x: Tensor) -> Tensor:
    y = x.sigmoid() + x.cos() + x.sin() + (x.abs() + 1).rsqrt() + x.floor() + x.ceil()
    return y + x.exp() + x.exp2() + (x.abs() + 1).log() + (x.abs() + 1).log2() + x.abs().sqrt()


def _turned(x: Tensor, n: int = 3) -> Tensor:
    x = x[:256].view(16, 16)
    for _ in range(n):
        x = x.T + 1
    return x


# kernel, further arguments, reference of the 512 elements of x; the result's leading elements are compared.
CASES: dict[str, tuple[Any, tuple[Any, ...], Callable[[Tensor], Tensor]]] = {
    "sort": (_sort, (), lambda x: x[:128].view(4, 32).sort(1)[0]),
    "topk": (_topk, (), lambda x: x[:128].view(4, 32).topk(4, 1)[0]),
    "flip": (_flip, (), lambda x: x[:128].view(4, 32).flip(1)),
    "trans": (_trans, (), lambda x: x.view(16, 32).T),
    "permute": (_permute, (), lambda x: x.view(4, 16, 8).permute(2, 0, 1)),
    "reshape": (_reshape, (), lambda x: x),
    "interleave": (_interleave, (), lambda x: torch.stack([x[:16], x[16:32]], 1)),
    "split": (_split, (), lambda x: torch.cat([x[:32:2], x[1:32:2]])),
    "cat": (_cat, (), lambda x: x[:32]),
    "cumsum": (_cumsum, (1, False), lambda x: _matrix(x).cumsum(1)),
    "cumsum reverse": (_cumsum, (1, True), lambda x: _matrix(x).flip(1).cumsum(1).flip(1)),
    "cumsum of columns": (_cumsum, (0, False), lambda x: _matrix(x).cumsum(0)),
    "cumsum of columns reverse": (_cumsum, (0, True), lambda x: _matrix(x).flip(0).cumsum(0).flip(0)),
    "associative scan": (_associative_scan, (), lambda x: _matrix(x).cumprod(1)),
    "reduce rows": (_reduce_product, (1,), lambda x: _matrix(x).prod(1)),
    "reduce columns": (_reduce_product, (0,), lambda x: _matrix(x).prod(0)),
    "max of rows": (_max, (1,), lambda x: x.view(16, 32).amax(1)),
    "max of columns": (_max, (0,), lambda x: x.view(16, 32).amax(0)),
    "sum of rows": (_sum, (1,), lambda x: _matrix(x).sum(1)),
    "sum of columns": (_sum, (0,), lambda x: _matrix(x).sum(0)),
    "sum of the middle": (_sum_middle, (), lambda x: x.double().view(16, 4, 8).sum(1)),
    "sum of all": (_sum_all, (), lambda x: x.double().sum()[None]),
    "argmin": (_argmin, (), lambda x: x.view(16, 32).argmin(1)),
    "max with index": (_max_with_index, (), lambda x: _matrix(x).amax(0) + 100 * x.view(16, 32).argmax(0)),
    "erf": (_erf, (), lambda x: x.double().erf()),
    "functions": (_functions, (), lambda x: _all_functions(x.double())),
    "library functions": (
        _library,
        (),
        lambda x: x.double().tanh() + x.double().expm1() + x.double().abs() ** x.double(),
    ),
    "static range": (_static_range, (), lambda x: (x + 0) + 1 + 2),
    "noinline": (_noinline, (), lambda x: x[:8].double() * 2 + 3 + torch.arange(8)),
    "if": (_tensor_if, (5,), lambda x: x * 2 + x),
    "else": (_tensor_if, (2,), lambda x: x + 1 + x.flip(0)),
    "while": (_tensor_while, (), _doubled),
    "carried swap": (_swap, (3,), _swapped),
    "carried transpose": (_carried_transpose, (3,), _turned),
    "carried pointers": (_carried_pointers, (3,), lambda x: x),
    "negative step": (_negative_step, (5,), lambda x: torch.cat([x.new_zeros(1), x[1:6] * torch.arange(1, 6)])),
    "nested loops": (_nested_loops, (3,), lambda x: x.double() * 10),
    "assume and barrier": (_marks, (1,), lambda x: x),
    "descriptor": (_descriptor, (), lambda x: torch.cat([x.new_zeros(256), x[256:480] * 2, x.new_zeros(32)])),
}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_construct(name: str, dtype: torch.dtype) -> None:
    kernel, arguments, reference = CASES[name]
    x = torch.randn(512).to(dtype)
    expected = reference(x)
    y = torch.zeros(512, dtype=dtype)
    kernel[(1,)](x, y, *arguments)
    # One rounding of the result is allowed; what is computed in the dtype itself has to agree exactly or nearly so.
    tolerance = TOLERANCES[dtype]
    torch.testing.assert_close(
        y[: expected.numel()].double(), expected.flatten().to(dtype).double(), rtol=tolerance, atol=tolerance
    )


@triton.jit
def _dot(a_ptr, b_ptr, c_ptr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    c = tl.dot(load_2d(a_ptr, M, K), load_2d(b_ptr, K, N), input_precision="ieee")
    store_2d(c_ptr, c, M, N)


@triton.jit
def _dot_of_columns(a_ptr, b_ptr, c_ptr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    a, b = load_2d(a_ptr, K, M), load_2d(b_ptr, N, K)
    store_2d(c_ptr, tl.dot(tl.trans(a), tl.trans(b), input_precision="ieee"), M, N)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", [(16, 16, 16), (32, 64, 128), (16, 128, 32)])
def test_dot(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    m, n, k = shape
    a, b = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    expected = a.double() @ b.double()
    bound = 4 * torch.finfo(wide).eps * (a.double().abs() @ b.double().abs())
    for kernel, left, right in ((_dot, a, b), (_dot_of_columns, a.T.contiguous(), b.T.contiguous())):
        c = torch.full((m, n), torch.nan, dtype=wide)
        kernel[(1,)](left, right, c, m, n, k)
        assert ((c.double() - expected).abs() <= bound).all()


def test_dot_of_integers() -> None:
    a, b = torch.randint(-128, 128, (16, 32), dtype=torch.int8), torch.randint(-128, 128, (32, 16), dtype=torch.int8)
    c = torch.empty(16, 16, dtype=torch.int32)
    _dot[(1,)](a, b, c, 16, 16, 32)
    assert torch.equal(c, (a.long() @ b.long()).int())


@triton.jit
def _batched_dot(a_ptr, b_ptr, c_ptr):
    batch, row, col = tl.arange(0, 4)[:, None, None], tl.arange(0, 16)[None, :, None], tl.arange(0, 16)[None, None, :]
    i = batch * 256 + row * 16 + col
    tl.store(c_ptr + i, tl.dot(tl.load(a_ptr + i), tl.load(b_ptr + i), input_precision="ieee"))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_batched_dot(dtype: torch.dtype) -> None:
    a, b = torch.randn(4, 16, 16).to(dtype), torch.randn(4, 16, 16).to(dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    c = torch.empty(4, 16, 16, dtype=wide)
    _batched_dot[(1,)](a, b, c)
    torch.testing.assert_close(c.double(), a.double() @ b.double(), rtol=TOLERANCES[wide], atol=20 * TOLERANCES[wide])


@triton.jit
def _gather(x_ptr, i_ptr, y_ptr):
    store_2d(y_ptr, tl.gather(load_2d(x_ptr, 16, 32), load_2d(i_ptr, 16, 32), 1), 16, 32)


def test_gather() -> None:
    x, i, y = torch.randn(16, 32), torch.randint(0, 32, (16, 32), dtype=torch.int32), torch.empty(16, 32)
    _gather[(1,)](x, i, y)
    assert torch.equal(y, x.gather(1, i.long()))


@triton.jit
def _histogram(i_ptr, y_ptr):
    tl.store(y_ptr + tl.arange(0, 32), tl.histogram(tl.load(i_ptr + tl.arange(0, 512)), 32))


@triton.jit
def _xor_sum(i_ptr, y_ptr):
    tl.store(y_ptr, tl.xor_sum(tl.load(i_ptr + tl.arange(0, 512)), 0))


def test_histogram_and_xor_sum() -> None:
    i, y = torch.randint(0, 32, (512,), dtype=torch.int32), torch.zeros(32, dtype=torch.int32)
    _histogram[(1,)](i, y)
    assert torch.equal(y, torch.bincount(i, minlength=32).int())
    _xor_sum[(1,)](i, y)
    assert y[0] == functools.reduce(operator.xor, i.tolist())


@triton.jit
def _half_steps(x_ptr, y_ptr, DTYPE: tl.constexpr):
    x = load_2d(x_ptr, 16, 32).to(DTYPE)
    store_2d(y_ptr, ((x * 3 + 1) * x).to(tl.float32), 16, 32)


@pytest.mark.parametrize(("dtype", "kind"), [(torch.float16, tl.float16), (torch.bfloat16, tl.bfloat16)], ids=str)
def test_halves_are_rounded_after_every_operation(dtype: torch.dtype, kind: Any) -> None:
    x, y = torch.randn(512), torch.empty(512)
    _half_steps[(1,)](x, y, kind)
    h = x.to(dtype)
    assert torch.equal(y, ((h * 3 + 1) * h).float())


@triton.jit
def _cast(x_ptr, y_ptr):
    i = tl.arange(0, 2048)
    tl.store(y_ptr + i, tl.load(x_ptr + i).to(y_ptr.dtype.element_ty))


@pytest.mark.parametrize("to", FLOATS, ids=str)
@pytest.mark.parametrize("source", FLOATS, ids=str)
def test_casts(source: torch.dtype, to: torch.dtype) -> None:
    bits = torch.randint(-(2**15), 2**15, (2048,), dtype=torch.int16)
    x = bits.view(torch.bfloat16).to(source) if source != torch.float16 else bits.view(torch.float16)
    if source in (torch.float32, torch.float64):
        x = torch.where(torch.arange(2048) % 2 == 0, x, torch.randn(2048, dtype=source) * 2.0**-16)
    y = torch.empty(2048, dtype=to)
    _cast[(1,)](x, y)
    # torch rounds float64 to float16 twice, by way of float32; NumPy once.
    twice = (source, to) == (torch.float64, torch.float16)
    with np.errstate(over="ignore"):
        expected = torch.from_numpy(x.numpy().astype(np.float16)) if twice else x.to(to)
    assert torch.equal(y.isnan(), expected.isnan())
    assert torch.equal(y.nan_to_num(), expected.nan_to_num())


@triton.jit
def _integers(i_ptr, y_ptr):
    i = tl.arange(0, 512)
    x = tl.load(i_ptr + i)
    unsigned = x.to(tl.uint32)
    y = (
        x * -1640531535
        + (unsigned >> 3).to(tl.int32)
        + (x >> 2)
        + (x << 5)
        + ((unsigned * 2654435761) % 97).to(tl.int32)
    )
    tl.store(y_ptr + i, y.to(tl.int32) + x // 7 + x % 7)


def _wrapped(x: Tensor) -> Tensor:
    """The int32 that 32 bits of the integers are."""
    return ((x + 2**31) % 2**32 - 2**31).int()


def test_integers_wrap() -> None:
    x = torch.randint(-(2**31), 2**31, (512,), dtype=torch.int64)
    y = torch.empty(512, dtype=torch.int32)
    _integers[(1,)](x.int(), y)
    unsigned = x % 2**32
    total = x * -1640531535 + unsigned // 8 + (x >> 2) + (x << 5) + (unsigned * 2654435761 % 2**32) % 97
    quotient = torch.div(x, 7, rounding_mode="trunc")
    assert torch.equal(y, _wrapped(total + quotient + (x - 7 * quotient)))


@triton.jit
def _bits(x_ptr, y_ptr, back_ptr, KIND: tl.constexpr):
    i = tl.arange(0, 512)
    bits = tl.load(x_ptr + i).to(KIND, bitcast=True)
    tl.store(y_ptr + i, bits)
    tl.store(back_ptr + i, bits.to(x_ptr.dtype.element_ty, bitcast=True))


@pytest.mark.parametrize(
    ("dtype", "bits", "kind"),
    [
        (torch.float32, torch.int32, tl.int32),
        (torch.float64, torch.int64, tl.int64),
        (torch.float16, torch.int16, tl.int16),
        (torch.bfloat16, torch.int16, tl.int16),
    ],
    ids=str,
)
def test_bitcasts(dtype: torch.dtype, bits: torch.dtype, kind: Any) -> None:
    x = torch.randn(512).to(dtype)
    y, back = torch.empty(512, dtype=bits), torch.empty(512, dtype=dtype)
    _bits[(1,)](x, y, back, kind)
    assert torch.equal(y, x.view(bits))
    assert torch.equal(back, x)


@triton.jit
def _narrow(x_ptr, y_ptr):
    i = tl.arange(0, 512)
    tl.store(y_ptr + i, (tl.load(x_ptr + i).to(tl.uint8) >> 1).to(tl.float32))


def test_narrow_integers() -> None:
    x, y = torch.rand(512) * 255, torch.empty(512)
    _narrow[(1,)](x, y)
    assert torch.equal(y, (x.to(torch.uint8) // 2).float())


@triton.jit
def _atomics(x_ptr, sum_ptr, max_ptr, min_ptr):
    i = tl.arange(0, 512)
    x = tl.load(x_ptr + i)
    tl.atomic_add(sum_ptr + i % 8, x)
    tl.atomic_max(max_ptr + i % 8, x)
    tl.atomic_min(min_ptr + i % 8, x, mask=i >= 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32], ids=str)
def test_atomics(dtype: torch.dtype) -> None:
    x = torch.randn(512).mul(1000).to(dtype)
    total, largest, least = (torch.zeros(8, dtype=dtype) for _ in range(3))
    _atomics[(1,)](x, total, largest, least)
    torch.testing.assert_close(total, x.view(-1, 8).sum(0).to(dtype), rtol=1e-4, atol=1e-1)
    assert torch.equal(largest, x.view(-1, 8).amax(0).clamp(min=0))
    assert torch.equal(least, x[8:].view(-1, 8).amin(0).clamp(max=0))


@triton.jit
def _compare_and_swap(x_ptr, old_ptr):
    i = tl.arange(0, 32)
    old = tl.atomic_cas(x_ptr + i, i % 2, tl.full((32,), 7, tl.int32))
    tl.store(old_ptr + i, old)
    tl.store(old_ptr + 32, tl.atomic_cas(x_ptr, 7, 8))
    tl.store(old_ptr + 33, tl.atomic_xchg(x_ptr + 1, 5))


def test_compare_and_swap() -> None:
    x, old = torch.zeros(32, dtype=torch.int32), torch.empty(34, dtype=torch.int32)
    _compare_and_swap[(1,)](x, old)
    assert old.tolist() == [0] * 32 + [7, 0]
    assert x.tolist() == [8, 5] + [7, 0] * 15


@triton.jit
def _early_return(y_ptr, n):
    pid = tl.program_id(0)
    if pid >= n:
        return
    tl.store(y_ptr + pid, 5.0)


def test_early_return() -> None:
    y = torch.zeros(8)
    _early_return[(8,)](y, 3)
    assert y.tolist() == [5.0] * 3 + [0.0] * 5


@triton.jit
def _grid(y_ptr):
    place = (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)) * tl.num_programs(0) + tl.program_id(0)
    tl.store(y_ptr + place, place)


def test_grid() -> None:
    y = torch.full((24,), -1, dtype=torch.int32)
    _grid[(2, 3, 4)](y)
    assert torch.equal(y, torch.arange(24, dtype=torch.int32))


@triton.jit
def _print(x_ptr, y_ptr):
    tl.device_print("100% of x", tl.load(x_ptr))
    tl.store(y_ptr, 1.0)


def test_print(capfd: pytest.CaptureFixture[str]) -> None:
    y = torch.zeros(1)
    _print[(1,)](torch.full((1,), 2.5), y)
    assert y[0] == 1
    # C's own buffer is written when the process ends, or here.
    ctypes.CDLL(None).fflush(None)
    assert "pid (0, 0, 0) 100% of x: 2.5" in capfd.readouterr().out


@triton.jit
def _assert(x_ptr, y_ptr):
    tl.device_assert(tl.load(x_ptr + tl.arange(0, 32)) < 1, "all of x below 1, 100 %d of it: yes")
    tl.store(y_ptr, 1.0)


def test_assert() -> None:
    x, y = torch.zeros(32), torch.zeros(1)
    _assert[(1,)](x, y, debug=True)
    assert y[0] == 1
    x[31] = 2
    with pytest.raises(KernelAssertionError, match="all of x below 1, 100 %d of it: yes"):
        _assert[(1,)](x, y, debug=True)
    _assert[(1,)](x, y, debug=False)


@triton.jit
def _inline_assembly(x_ptr, y_ptr):
    i = tl.arange(0, 512)
    x = tl.load(x_ptr + i)
    y = tl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [x], dtype=tl.float32, is_pure=True, pack=1)
    tl.store(y_ptr + i, y)


def test_what_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedKernelError, match=r"_inline_assembly: TTIR line \d+: tt.elementwise_inline_asm: .*"):
        _inline_assembly[(1,)](torch.zeros(512), torch.zeros(512))


@triton.jit
def _maximum(x_ptr, y_ptr, NAN: tl.constexpr):
    i = tl.arange(0, 64)
    x = tl.load(x_ptr + i)
    tl.store(y_ptr + i, tl.maximum(x, 0.0, propagate_nan=NAN))
    tl.store(y_ptr + 64 + i, tl.minimum(x, 0.0, propagate_nan=NAN))
    tl.store(y_ptr + 128 + i, tl.clamp(x, -1.0, 1.0, propagate_nan=NAN))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_maximum_of_nan(dtype: torch.dtype) -> None:
    x = torch.randn(64).to(dtype)
    x[::3], x[1::3] = torch.nan, torch.inf
    for nan in (tl.PropagateNan.ALL, tl.PropagateNan.NONE):
        y = torch.empty(192, dtype=dtype)
        _maximum[(1,)](x, y, nan)
        kept = x if nan == tl.PropagateNan.ALL else x.nan_to_num(0.0, torch.inf)
        assert torch.equal(y[:64].nan_to_num(9.0), kept.clamp(min=0).nan_to_num(9.0))
        assert torch.equal(y[64:128].nan_to_num(9.0), kept.clamp(max=0).nan_to_num(9.0))
        assert y[128::3].isnan().all() == (nan == tl.PropagateNan.ALL)


@triton.jit
def _reductions_of_nan(x_ptr, y_ptr):
    x = tl.load(x_ptr + tl.arange(0, 128))
    tl.store(y_ptr, tl.max(x, 0))
    tl.store(y_ptr + 1, tl.min(x, 0))
    tl.store(y_ptr + 2, tl.sum(x, 0))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_max_ignores_nan_unless_there_is_nothing_else(dtype: torch.dtype) -> None:
    x, y = torch.full((128,), torch.nan, dtype=dtype), torch.empty(3, dtype=dtype)
    _reductions_of_nan[(1,)](x, y)
    assert y.isnan().all()
    x[[5, 77]] = torch.tensor([-2.0, -3.0], dtype=dtype)
    _reductions_of_nan[(1,)](x, y)
    assert y[:2].tolist() == [-2.0, -3.0]
    x = torch.full((128,), -0.0, dtype=dtype)
    _reductions_of_nan[(1,)](x, y)
    assert torch.signbit(y).all()


@triton.jit
def _random(y_ptr, u_ptr, seed, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.randint(seed, i), mask=i < n)
    tl.store(u_ptr + i, tl.rand(seed, i), mask=i < n)


def _philox(seed: int, offset: int) -> int:
    """The first word of Philox 4x32-10 with counter (offset, 0, 0, 0)."""
    counter, key = [offset, 0, 0, 0], [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        low, high = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            (high >> 32) ^ counter[1] ^ key[0],
            high & 0xFFFFFFFF,
            (low >> 32) ^ counter[3] ^ key[1],
            low & 0xFFFFFFFF,
        ]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter[0]


def test_philox_is_exact() -> None:
    y, u = torch.zeros(1000, dtype=torch.int32), torch.zeros(1000)
    _random[(4,)](y, u, 0x123456789AB, 1000, 256)
    words = torch.tensor([_philox(0x123456789AB, i) for i in range(1000)])
    assert torch.equal(y, _wrapped(words))
    signed = _wrapped(words)
    assert torch.equal(u, torch.where(signed < 0, -signed - 1, signed).float() * 4.6566127342e-10)
