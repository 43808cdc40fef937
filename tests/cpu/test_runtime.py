"""The headers that generated C is written in, called from here: conversions, arithmetic, math, tiles and products."""

import ctypes
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tritonnet.kernels.cpu import compiler, features

INT_MIN, INT_MAX = -(2**31), 2**31 - 1
STORED = {"f32": torch.float32, "f64": torch.float64, "bf16": torch.bfloat16, "f16": torch.float16}
COMPUTED = {"f32": torch.float32, "f64": torch.float64, "bf16": torch.float32, "f16": torch.float32}
C_TYPE = {torch.float32: "float", torch.float64: "double", torch.int32: "int32_t", torch.int64: "int64_t"}
C_TYPE |= {torch.int8: "int8_t", torch.int16: "uint16_t", torch.bfloat16: "bf16", torch.float16: "f16"}
C_TYPE |= {torch.uint8: "uint8_t", torch.uint16: "uint16_t", torch.uint32: "uint32_t"}


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ctypes.CDLL]:
    """Compiles C with the flags of a kernel and loads it."""
    folder, numbers, libraries = tmp_path_factory.mktemp("runtime"), itertools.count(), {}

    def load(body: str, fp_fusion: bool = True, *more: str) -> ctypes.CDLL:
        key = (body, fp_fusion, more)
        if key not in libraries:
            path = Path(folder) / f"{next(numbers)}.so"
            flags = (*compiler.flags(fp_fusion), *more)
            options = (*flags, compiler.linked(*flags), "-lm")
            path.write_bytes(compiler.build("test", f'#include "runtime.h"\n{body}', *options))
            libraries[key] = ctypes.CDLL(str(path))
        return libraries[key]

    return load


def elementwise(c: Callable[..., ctypes.CDLL], expression: str, *inputs: Tensor, out: torch.dtype) -> Tensor:
    """expression(x, y, ...) of every element, in a loop that the compiler may vectorise."""
    names = "xyzw"[: len(inputs)]
    values = [one.contiguous() for one in inputs]
    parameters = [f"const {C_TYPE[v.dtype]} *{n}s" for n, v in zip(names, values, strict=True)]
    locals_ = " ".join(f"{C_TYPE[v.dtype]} {n} = {n}s[i];" for n, v in zip(names, values, strict=True))
    body = f"void run(int n, {', '.join(parameters)}, {C_TYPE[out]} *out) {{"
    body += f"for (int i = 0; i < n; i++) {{ {locals_} out[i] = {expression}; }} }}"
    result = torch.empty(values[0].shape, dtype=out)
    c(body).run(result.numel(), *[ctypes.c_void_p(v.data_ptr()) for v in (*values, result)])
    return result


def same_bits(a: Tensor, b: Tensor) -> Tensor:
    """Equal, a NaN to any NaN and zeros with their signs."""
    return (a.isnan() & b.isnan()) | ((a == b) & (a.signbit() == b.signbit()))


def float_bits(start: int, stop: int, step: int) -> Tensor:
    bits = torch.arange(start, stop, step, dtype=torch.int64)
    return torch.where(bits > INT_MAX, bits - 2**32, bits).to(torch.int32).view(torch.float32)


@pytest.mark.parametrize("name", ["bf16", "f16"])
def test_widening_is_exact_for_all_values(c, name):
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    got = elementwise(c, f"tn_{name}_to_f32(x)", every, out=torch.float32)
    assert same_bits(got, every.view(STORED[name]).float()).all()


@pytest.mark.parametrize("name", ["bf16", "f16"])
def test_narrowing_rounds_to_nearest_even(c, name):
    # Every exponent, sign and rounding position: the step is odd, and runs of neighbours surround the ties.
    samples = [float_bits(0, 2**32, 99_991)]
    for bits in range(0, 2**32, 1 << 23):
        samples += [float_bits(bits + tie - 1, bits + tie + 2, 1) for tie in (0x8000, 0x18000, 0x1000, 0x3000)]
    x = torch.cat(samples)
    got = elementwise(c, f"tn_f32_to_{name}(x)", x, out=torch.int16).view(STORED[name])
    assert same_bits(got, x.to(STORED[name])).all()


@pytest.mark.parametrize(("name", "digits"), [("bf16", 8), ("f16", 11)])
def test_narrowing_from_double_rounds_once(c, name, digits):
    """Just beside a tie, rounding to float first would make it a tie and then round the wrong way."""
    lower = 1 + torch.arange(200, dtype=torch.float64) * 2.0 ** (1 - digits)
    tie, step = lower + 2.0**-digits, 2.0 ** (1 - digits)
    for sign in (1, -1):
        above = elementwise(c, f"tn_f64_to_{name}(x)", sign * (tie + 1e-15), out=torch.int16).view(STORED[name])
        below = elementwise(c, f"tn_f64_to_{name}(x)", sign * (tie - 1e-15), out=torch.int16).view(STORED[name])
        inside = lower + step < 2
        assert torch.equal(above.double()[inside], sign * (lower + step)[inside])
        assert torch.equal(below.double()[inside], sign * lower[inside])
    special = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e300, -1e300, 1e-300, -1e-300]).double()
    got = elementwise(c, f"tn_f64_to_{name}(x)", special, out=torch.int16).view(STORED[name])
    assert same_bits(got.double(), special.to(STORED[name]).double()).all()


def truncated(a: int, b: int) -> int:
    return 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@pytest.mark.parametrize("signed", [True, False])
def test_division_never_traps(c, bits, signed):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    edge = [v for v in (low, low + 1, low + 7, -7, -3, -1, 0, 1, 2, 3, 7, 100, high // 2, high - 1, high) if low <= v]
    pairs = list(itertools.product(edge, edge))
    kind = f"{'' if signed else 'u'}int{bits}_t"
    prefix = "s" if signed else "u"
    body = f"void run(int n, const {kind} *x, const {kind} *y, {kind} *q, {kind} *r) {{ for (int i = 0; i < n; i++) {{"
    body += f"q[i] = tn_{prefix}div_i{bits}(x[i], y[i]); r[i] = tn_{prefix}rem_i{bits}(x[i], y[i]); }} }}"
    array = getattr(ctypes, f"c_{'' if signed else 'u'}int{bits}") * len(pairs)
    q, r = array(), array()
    c(body).run(len(pairs), array(*[a for a, _ in pairs]), array(*[b for _, b in pairs]), q, r)
    for (a, b), quotient, remainder in zip(pairs, q, r, strict=True):
        wrapped = array(truncated(a, b))[0]
        assert quotient == wrapped, (a, b)
        assert remainder == (0 if b == 0 else a - truncated(a, b) * b), (a, b)


@pytest.mark.parametrize("divisor", [-7, -1, 0, 1, 3, 16])
def test_division_by_a_literal(c, divisor):
    x = torch.tensor([INT_MIN, INT_MIN + 1, -17, -1, 0, 1, 16, 17, INT_MAX], dtype=torch.int32)
    got = elementwise(c, f"tn_sdiv_i32(x, {divisor})", x, out=torch.int32)
    want = [truncated(v, divisor) for v in x.tolist()]
    assert got.tolist() == [v - 2**32 if v > INT_MAX else v for v in want]


@pytest.mark.parametrize("name", ["f32", "f64"])
def test_extremes_are_exact_in_nan_and_signed_zeros(c, name):
    edge = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.5, -1.5], dtype=STORED[name])
    x, y = (t.flatten() for t in torch.meshgrid(edge, edge, indexing="ij"))
    nan = x.isnan() | y.isnan()
    order = lambda t: t.double() + torch.where(t == 0, torch.where(t.signbit(), -1e-3, 1e-3), 0.0)  # noqa: E731
    larger, smaller = torch.where(order(x) > order(y), x, y), torch.where(order(x) < order(y), x, y)
    for function, best in (("maximum", larger), ("minimum", smaller)):
        got = elementwise(c, f"tn_{function}_{name}(x, y)", x, y, out=STORED[name])
        assert same_bits(got, torch.where(nan, math.nan, best)).all(), function
    for function, best in (("maxnum", larger), ("minnum", smaller)):
        got = elementwise(c, f"tn_{function}_{name}(x, y)", x, y, out=STORED[name])
        want = torch.where(x.isnan(), y, torch.where(y.isnan(), x, best))
        assert ((got == want) | (got.isnan() & want.isnan())).all(), function


FUNCTIONS = {
    "exp": (torch.exp, -90, 88.7),
    "exp2": (torch.exp2, -126, 127.9),
    "expm1": (torch.expm1, -10, 10),
    "log": (torch.log, 1e-30, 1e30),
    "log2": (torch.log2, 1e-30, 1e30),
    "log1p": (torch.log1p, -0.999, 1e5),
    "sin": (torch.sin, -1e4, 1e4),
    "cos": (torch.cos, -1e4, 1e4),
    "tanh": (torch.tanh, -12, 12),
    "erf": (torch.erf, -5, 5),
    "sqrt": (torch.sqrt, 0, 1e30),
    "rsqrt": (torch.rsqrt, 1e-30, 1e30),
    "atan": (torch.atan, -1e3, 1e3),
    "floor": (torch.floor, -100, 100),
    "ceil": (torch.ceil, -100, 100),
}


INLINED = ("exp", "exp2", "log", "log2", "tanh", "erf")


@pytest.fixture(scope="module")
def evaluate(c: Callable[..., ctypes.CDLL]) -> Callable[[str, str, Tensor], Tensor]:
    """tn_<function>_<name> of every element; all of them in one library."""
    body = ""
    for function, name in itertools.product(FUNCTIONS, ("f32", "f64")):
        kind = C_TYPE[STORED[name]]
        body += f"void {function}_{name}(int n, const {kind} *x, {kind} *out) "
        body += f"{{ for (int i = 0; i < n; i++) out[i] = tn_{function}_{name}(x[i]); }}\n"
    library = c(body.replace("void ", "void run_"))

    def run(function: str, name: str, x: Tensor) -> Tensor:
        out = torch.empty_like(x)
        pointers = ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(out.data_ptr())
        getattr(library, f"run_{function}_{name}")(x.numel(), *pointers)
        return out

    return run


@pytest.mark.parametrize("name", ["f32", "f64"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_math_is_within_four_units_in_the_last_place(evaluate, function, name):
    reference, low, high = FUNCTIONS[function]
    x = torch.cat([torch.linspace(low, high, 10_001), torch.linspace(max(low, -1), 1, 1_001)]).to(STORED[name])
    x = x[(x >= low) & (x <= high)]
    got = evaluate(function, name, x)
    # Float against double; double against double, whose own error is one more unit.
    want, units = reference(x.double()), 5 if name == "f64" else 2 if function in INLINED else 4
    tiny = torch.finfo(STORED[name]).tiny
    spacing = torch.finfo(STORED[name]).eps * want.abs().clamp_min(tiny)
    assert ((got.double() - want).abs() / spacing).max() <= units


@pytest.mark.parametrize("function", INLINED)
def test_inlined_math_is_the_same_in_a_lane_and_alone(evaluate, function):
    _, low, high = FUNCTIONS[function]
    x = torch.linspace(low, high, 301)
    alone = torch.cat([evaluate(function, "f32", x[i : i + 1].clone()) for i in range(len(x))])
    assert torch.equal(evaluate(function, "f32", x), alone)


@pytest.mark.parametrize("function", INLINED)
def test_inlined_math_over_the_whole_range(evaluate, function):
    """Every exponent, subnormals too: the spacing of a result is that of its own exponent."""
    x = float_bits(0, 2**32, 40_503)
    got, want = evaluate(function, "f32", x).double(), FUNCTIONS[function][0](x.double())
    rounded = want.float()
    special = ~rounded.isfinite()
    assert same_bits(got.float()[special], rounded[special]).all()
    got, want = got[~special], want[~special]
    spacing = 2.0 ** (want.abs().clamp_min(2.0**-126).log2().floor() - 23)
    assert ((got - want).abs() <= 2 * spacing).all()


@pytest.mark.parametrize("name", ["f32", "f64"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_math_of_special_values(evaluate, function, name):
    special = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0, 1e38, -1e38], dtype=STORED[name])
    # Once alone and once among others: a vector's lanes must agree with a scalar's.
    for x in (special, torch.cat([torch.full((64,), 0.5, dtype=STORED[name]), special.repeat(8)])):
        got = evaluate(function, name, x)
        want = FUNCTIONS[function][0](x)
        if function in ("sin", "cos"):
            want = torch.where(x.abs() < 1e30, want, got)
        close = (got - want).abs() <= 1e-5 * want.abs()
        assert (same_bits(got, want) | close).all(), (x, got, want)


LAYOUTS = {
    "row": lambda r, c, t: torch.randn(r, c).to(t),
    "column": lambda r, c, t: torch.randn(c, r).to(t).t(),
    "wide rows": lambda r, c, t: torch.randn(r, c + 19).to(t)[:, 3 : 3 + c],
    "wide columns": lambda r, c, t: torch.randn(c, r + 19).to(t).t()[3 : 3 + r],
    "strided": lambda r, c, t: torch.randn(3 * r, 2 * c).to(t)[::3, ::2],
    "expanded": lambda r, c, t: torch.randn(r, 1).to(t).expand(r, c),
}


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (16, 16), (32, 64), (9, 21), (64, 8)])
def test_load_tile(c, name, layout, rows, columns):
    kind, stored = C_TYPE[COMPUTED[name]], C_TYPE[STORED[name]]
    body = f"void run({kind} *d, const {stored} *s, int64_t s0, int64_t s1, int r, int c, int vr, int vc) "
    run = c(body + f"{{ tn_load_tile_{name}(d, s, s0, s1, r, c, vr, vc); }}").run
    source = LAYOUTS[layout](rows, columns, STORED[name])
    for valid in {(rows, columns), (rows - 1, columns), (rows, max(columns - 3, 0)), (rows // 2, columns // 2), (0, 0)}:
        guarded = torch.full((rows * columns + 32,), 7.0, dtype=COMPUTED[name])
        tile = guarded[16:-16].view(rows, columns)
        s0, s1 = (ctypes.c_int64(s) for s in source.stride())
        pointers = ctypes.c_void_p(tile.data_ptr()), ctypes.c_void_p(source.data_ptr())
        run(*pointers, s0, s1, rows, columns, *valid)
        want = torch.zeros(rows, columns, dtype=COMPUTED[name])
        want[: valid[0], : valid[1]] = source[: valid[0], : valid[1]].to(COMPUTED[name])
        assert torch.equal(tile, want), valid
        assert (guarded[:16] == 7).all() and (guarded[-16:] == 7).all()


SIZES = [(1, 1, 1), (2, 16, 8), (16, 16, 16), (33, 47, 19), (64, 256, 64), (7, 5, 300), (40, 24, 513), (64, 8, 33)]


@pytest.mark.parametrize("name", ["f32", "f64", "i8", "u8"])
@pytest.mark.parametrize("layout", ["row", "column", "wide rows", "strided"])
def test_dot(c, name, layout):
    floating = name in STORED
    dtype = STORED.get(name) or {"i8": torch.int8, "u8": torch.uint8}[name]
    kind, total = C_TYPE[dtype], STORED.get(name, torch.int32)
    run = c(
        f"void run(int m, int n, int k, const {kind} *a, int64_t sam, int64_t sak, const {kind} *b, int64_t sbk,"
        f"{C_TYPE[total]} *c) {{ tn_dot_{name}(m, n, k, a, sam, sak, b, sbk, c); }}"
    ).run
    for m, n, k in SIZES:
        draw = lambda r, c, t: torch.randint(0, 127, (r, c)).to(t)  # noqa: E731
        a = (
            LAYOUTS[layout](m, k, dtype)
            if floating
            else draw(k, m, dtype).t()
            if layout == "column"
            else draw(m, k, dtype)
        )
        b = LAYOUTS["wide rows" if layout == "wide rows" else "row"](k, n, dtype) if floating else draw(k, n, dtype)
        guarded = torch.full((m * n + 32,), 7, dtype=total)
        tile = guarded[16:-16].view(m, n)
        tile.copy_(torch.randn(m, n) * 8)
        want = tile.double() + a.double() @ b.double()
        scale = tile.double().abs() + a.double().abs() @ b.double().abs()
        strides = [ctypes.c_int64(s) for s in (*a.stride(), b.stride(0))]
        at = [ctypes.c_void_p(t.data_ptr()) for t in (a, b, tile)]
        run(m, n, k, at[0], strides[0], strides[1], at[1], strides[2], at[2])
        bound = (k + 2) * torch.finfo(total).eps * scale if floating else 0
        assert ((tile.double() - want).abs() <= bound).all(), (m, n, k)
        assert (guarded[:16] == 7).all() and (guarded[-16:] == 7).all()


@pytest.mark.parametrize("options", [("-mno-avx512f",), ("-mno-avx",)])
def test_dot_on_narrower_vectors(c, options):
    """The narrower blocks of the product, on a processor that has wider ones."""
    if features.machine() != "x86_64":
        pytest.skip("only x86 processors have vectors of several widths")
    body = "void run(int m, int n, int k, const float *a, const float *b, float *c) "
    run = c(body + "{ tn_dot_f32(m, n, k, a, k, 1, b, n, c); }", True, *options).run
    for m, n, k in SIZES:
        a, b, total = torch.randn(m, k), torch.randn(k, n), torch.zeros(m, n)
        run(m, n, k, *[ctypes.c_void_p(t.data_ptr()) for t in (a, b, total)])
        bound = (k + 2) * torch.finfo(torch.float32).eps * (a.double().abs() @ b.double().abs())
        assert ((total.double() - a.double() @ b.double()).abs() <= bound).all(), (m, n, k)


def test_flags_keep_signed_zeros_nan_and_the_order_of_operations(c):
    zero = torch.tensor([0.0, -0.0])
    assert same_bits(elementwise(c, "x + 0.0f", zero, out=torch.float32), torch.tensor([0.0, 0.0])).all()
    assert same_bits(elementwise(c, "0.0f - x", zero, out=torch.float32), torch.tensor([0.0, 0.0])).all()
    nan = torch.tensor([math.nan, 1.0])
    assert elementwise(c, "x != x", nan, out=torch.int32).tolist() == [1, 0]
    assert elementwise(c, "x * 0.0f", torch.tensor([math.inf, 2.0]), out=torch.float32).isnan().tolist() == [
        True,
        False,
    ]
    big = torch.tensor([1e8])
    assert elementwise(c, "(x + 1.0f) - x", big, out=torch.float32).item() == 0


def test_contraction_follows_fp_fusion(c):
    body = "void run(const float *x, float *out) { for (int i = 0; i < 64; i++) out[i] = x[i] * x[i] - 1.0f; }"
    x = torch.full((64,), 1 + 2.0**-12)
    for fused in (True, False):
        out = torch.empty(64)
        c(body, fused).run(ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(out.data_ptr()))
        exact = 2.0**-11 + 2.0**-24
        assert (out.double() == exact).all() == fused
        assert (out == 2.0**-11).all() != fused
