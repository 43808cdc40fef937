"""The checker is checked: kernels that are wrong in one way each must fail, and say why; right ones pass."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tritonnet.testing import check

FLOAT32 = [torch.float32]
ROWS = {"B": [0, 1, 3, 8], "N": [1, 7, 16]}
X = {"x": ("B", "N")}
XW = {"x": ("B", "N"), "w": ("N",)}
MATMUL = {"a": ("M", "K"), "b": ("K", "N")}


def wide(x: Tensor) -> Tensor:
    """A tensor in the dtype that a right kernel accumulates in."""
    return x if x.dtype == torch.float64 else x.float()


def scaled(x: Tensor, w: Tensor, decay: float = 0.0) -> Tensor:
    return x * w - decay * x


def scaled_by_kernel(x: Tensor, w: Tensor, decay: float = 0.0) -> Tensor:
    y = torch.empty_like(x)
    y.copy_(scaled(wide(x), wide(w), decay))
    return y


def past_the_end(x: Tensor, distance: int = 0) -> Tensor:
    """The element that follows a contiguous tensor in memory."""
    return torch.as_strided(x, (1,), (1,), x.storage_offset() + x.numel() + distance)


class Scaled(torch.autograd.Function):
    """scaled() with a backward that a test may replace by a wrong one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, backward: Callable[..., Any]) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.formula = backward
        return scaled_by_kernel(x, w)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, w = ctx.saved_tensors
        return *ctx.formula(ctx, gradient, x, w), None


def right_backward(ctx: Any, g: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    return (wide(g) * wide(w)).to(g.dtype), (wide(g) * wide(x)).sum(0).to(g.dtype)


def scaled_with(backward: Callable[..., Any]) -> Callable[..., Tensor]:
    return lambda x, w: Scaled.apply(x, w, backward)


def rounded(bits: int) -> Callable[[Tensor], Tensor]:
    """float32 with this many bits of mantissa, to nearest."""
    drop = 23 - bits
    half, mask = 1 << (drop - 1), -(1 << drop)
    return lambda x: (x.contiguous().view(torch.int32) + half & mask).view(torch.float32)


# Right functions.


def test_a_right_kernel_passes_in_every_case() -> None:
    names = check(scaled_by_kernel, scaled, XW, dims=ROWS, hyper=[{"decay": 0.1}], seeds=[0, 1])
    for expected in (
        "float32 B=3 N=7 seed=0",
        "float16 B=0 N=7 seed=0",
        "bfloat16 B=3 N=16 seed=1",
        "float64 B=8 N=16 seed=1",
        "float64 B=3 N=7 decay=0.1 seed=0",
    ):
        assert expected in names
    assert len(names) == len(set(names)), "every case once"
    assert sum("layouts" in name for name in names) == 2 * (7 + 3)


def test_a_right_gradient_passes() -> None:
    names = check(scaled_with(right_backward), scaled, XW, dims=ROWS, grad=["x", "w"])
    assert any("gradients of w" in name for name in names), "each gradient alone as well"


def test_matmul_of_torch_passes_with_long_sums_in_every_dtype() -> None:
    check(torch.matmul, torch.matmul, MATMUL, dims={"M": [1, 3, 33], "K": [1, 100, 1000], "N": [1, 5]}, grad=["a", "b"])


@pytest.mark.parametrize(
    "function", [torch.sigmoid, torch.exp, torch.relu, torch.rsqrt, torch.tanh], ids=lambda f: f.__name__
)
def test_elementwise_functions_pass(function: Callable[[Tensor], Tensor]) -> None:
    def kernel(x: Tensor) -> Tensor:
        return function(wide(x)).to(x.dtype)

    positive = {"x": lambda sizes, generator: torch.rand(sizes["N"], generator=generator, dtype=torch.float64) + 0.1}
    check(kernel, function, positive, dims={"N": [0, 1, 5, 100]}, grad=["x"])


@pytest.mark.parametrize("hyper", [{}, {"reduction": "sum"}, {"label_smoothing": 0.1}, {"ignore_index": 1}], ids=str)
def test_cancellation_inside_a_formula_is_allowed_for(hyper: dict[str, Any]) -> None:
    def kernel(x: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(wide(x) * 20, target, **hyper).to(x.dtype)

    def reference(x: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(x * 20, target, **hyper)

    inputs = {"x": ("B", "C"), "target": lambda n, generator: torch.randint(n["C"], (n["B"],), generator=generator)}
    check(kernel, reference, inputs, dims={"B": [1, 4], "C": [2, 30]}, grad=["x"])


def test_normalisation_and_its_gradient_pass() -> None:
    def kernel(x: Tensor, w: Tensor) -> Tensor:
        return F.layer_norm(wide(x), x.shape[1:], wide(w)).to(x.dtype)

    check(kernel, lambda x, w: F.layer_norm(x, x.shape[1:], w), XW, dims={"B": [1, 4], "N": [2, 30, 300]}, grad=["x"])


def test_a_dimension_may_follow_from_others_and_four_dimensions_meet_channels_last() -> None:
    def kernel(x: Tensor, w: Tensor) -> Tensor:
        return F.conv2d(x.double(), w.double()).to(x.dtype)

    inputs = {"x": ("N", "C", "H", 6), "w": (5, "C", "R", 2)}
    dims = {"N": [1, 2], "C": [1, 3], "H": [4, 7], "R": lambda sizes: sizes["H"] - 2}
    names = check(kernel, F.conv2d, inputs, dims=dims, grad=["x"])
    assert any("H=7 R=5" in name for name in names)


def momentum(ps: list[Tensor], gs: list[Tensor], ms: list[Tensor], decay: float = 0.0) -> None:
    for p, g, m in zip(ps, gs, ms, strict=True):
        m.copy_(0.9 * wide(m) + wide(g) + decay * wide(p))
        p.copy_(wide(p) - 0.1 * wide(m))


def two_tensors(sizes: dict[str, int], generator: torch.Generator) -> list[Tensor]:
    return [torch.randn(n, sizes["N"], generator=generator, dtype=torch.float64) for n in (1, 3)]


LISTS = {"ps": two_tensors, "gs": two_tensors, "ms": two_tensors}


def momentum_reference(ps: list[Tensor], gs: list[Tensor], ms: list[Tensor], decay: float = 0.0) -> None:
    for p, g, m in zip(ps, gs, ms, strict=True):
        m.mul_(0.9).add_(g).add_(p, alpha=decay)
        p.sub_(m, alpha=0.1)


def momentum_by_kernel(ps: list[Tensor], gs: list[Tensor], ms: list[Tensor], decay: float = 0.0) -> None:
    for p, g, m in zip(ps, gs, ms, strict=True):
        moved = 0.9 * wide(m) + wide(g) + decay * wide(p)
        p.copy_(wide(p) - 0.1 * moved)
        m.copy_(moved)


def test_lists_of_tensors_written_in_place_pass() -> None:
    dims = {"N": [0, 1, 5, 100]}
    check(momentum_by_kernel, momentum_reference, LISTS, dims=dims, inplace=["ps", "ms"], hyper=[{"decay": 0.1}])


def test_integers_must_be_equal_and_may_be_results() -> None:
    check(lambda x: x.argmax(1), lambda x: x.argmax(1), X, dims={"B": [1, 3], "N": [1, 40]})
    with pytest.raises(AssertionError, match="result: 3 of 3 elements are wrong"):
        check(lambda x: x.argmax(1) + 1, lambda x: x.argmax(1), X, dims={"B": [3], "N": [40]}, dtypes=FLOAT32)


def test_infinities_and_nans_must_agree() -> None:
    def reference(x: Tensor) -> Tensor:
        return torch.where(x > 0, x / 0.0, (x + x.abs()) / 0.0)

    check(reference, reference, X, dims=ROWS)
    with pytest.raises(AssertionError, match="got inf, expected nan|got nan, expected inf"):
        check(lambda x: x / 0.0 * x.sign(), reference, X, dims=ROWS)


def test_a_reference_may_meet_zeros_without_memory() -> None:
    """As autograd makes them in the second derivative of abs."""

    def reference(x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (first,) = torch.autograd.grad((x.abs() * x * x).sum(), x, create_graph=True)
            (second,) = torch.autograd.grad(first.sum(), x)
        return second

    check(lambda x: 6 * x.abs(), reference, {"x": ("N",)}, dims={"N": [2, 5]}, dtypes=[torch.float32])


def test_a_value_past_the_largest_of_the_dtype_may_overflow() -> None:
    check(lambda x: (wide(x) * 1e5).to(x.dtype), lambda x: x * 1e5, X, dims=ROWS, dtypes=[torch.float16])


# Wrong functions: each in one way.


def fails(fn: Callable[..., Any], reference: Callable[..., Any], inputs: Any, match: str, **options: Any) -> str:
    with pytest.raises(AssertionError, match=match) as caught:
        check(fn, reference, inputs, **{"dims": ROWS, **options})
    return str(caught.value)


def reads_past_the_end(x: Tensor) -> Tensor:
    return x.sum() + 0 * past_the_end(x)[0]


def misses_an_element(x: Tensor) -> Tensor:
    y = torch.empty_like(x)
    y.view(-1)[:-1] = x.reshape(-1)[:-1]
    return y


def reads_what_it_never_wrote(x: Tensor) -> Tensor:
    return x + 0 * x.new_empty(x.shape)


def writes_past_the_end(x: Tensor) -> Tensor:
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    past_the_end(y, 3).fill_(torch.nan)
    return y.copy_(x)


def writes_past_its_workspace(x: Tensor) -> Tensor:
    past_the_end(torch.zeros(4, device=x.device)).fill_(0)
    return x + 0


def writes_past_its_input(x: Tensor) -> Tensor:
    torch.as_strided(x, (1,), (1,), x.storage_offset() - 1).zero_()
    return x + 0


def changes_its_input(x: Tensor) -> Tensor:
    y = x + 0
    x.flatten()[:1].zero_() if not x.is_contiguous() else x.view(-1)[:1].zero_()
    return y


def changes_its_input_through_zero_signs(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    x.detach().neg_()
    return y


def rounds_at_random(x: Tensor) -> Tensor:
    return torch.where(torch.rand(x.shape) < 0.5, x, torch.nextafter(x, x + 1))


def rounds_by_thread(x: Tensor) -> Tensor:
    return torch.nextafter(x, x + 1) if torch.get_num_threads() == 1 else x.clone()


ONE_INPUT: list[tuple[Callable[..., Any], Callable[..., Any], str]] = [
    (reads_past_the_end, lambda x: x.sum(), "got nan from memory"),
    (misses_an_element, lambda x: x + 0, r"worst at \[2, 6\]: got nan from memory that was never written"),
    (reads_what_it_never_wrote, lambda x: x + 0, "got nan"),
    (
        writes_past_the_end,
        lambda x: x + 0,
        r"a fresh float32 tensor \(3, 7\): 1 elements after its end .* nearest 4 away",
    ),
    (writes_past_its_workspace, lambda x: x + 0, r"a fresh float32 tensor \(4,\): 1 elements after its end"),
    (writes_past_its_input, lambda x: x + 0, "input x: 1 elements before its start .* nearest 1 away"),
    (changes_its_input, lambda x: x + 0, "input x: 1 elements were changed"),
    (changes_its_input_through_zero_signs, torch.zeros_like, "input x: 21 elements were changed"),
    (lambda x: (x + 0).double(), lambda x: x + 0, "result: torch.float64, expected torch.float32"),
    (lambda x: (x + 0)[None], lambda x: x + 0, r"result: shape \(1, 3, 7\), expected \(3, 7\)"),
    (lambda x: (x + 0).to("meta"), lambda x: x + 0, "result: on meta, expected cpu"),
    (rounds_at_random, lambda x: x * 1.0, "result: a second call gives other bits"),
    (rounds_by_thread, lambda x: x * 1.0, r"result: a call on \d threads? gives other bits"),
    (lambda x: [x + 0], lambda x: x + 0, "only fn returns it"),
    (lambda x: None, lambda x: x + 0, "only the reference returns it"),
    (lambda x: x / (x.shape[0] > 1), lambda x: x + 0, "float32 B=1 N=7 seed=0"),
    (
        lambda x: x @ torch.ones(7, 7),
        lambda x: x @ torch.ones(7, 7, dtype=x.dtype),
        "raised RuntimeError: mat1 and mat2",
    ),
]


@pytest.mark.parametrize(("fn", "reference", "match"), ONE_INPUT, ids=lambda f: getattr(f, "__name__", ""))
def test_a_kernel_that_is_wrong_in_one_way_fails(
    fn: Callable[..., Any], reference: Callable[..., Any], match: str
) -> None:
    fails(fn, reference, X, match, device="cpu", dtypes=FLOAT32)


def contiguous_only(g: Tensor, strides: Callable[[Tensor], bool]) -> Tensor:
    """What a kernel reads that takes a tensor for contiguous."""
    if strides(g) or not g.numel():
        return g
    return torch.as_strided(g, g.shape, (g.shape[1], 1))


@pytest.mark.parametrize("layout", ["transposed", "sliced", "expanded", "constant"])
def test_a_layout_that_a_kernel_misreads_fails(layout: str) -> None:
    def kernel(x: Tensor) -> Tensor:
        return contiguous_only(x, torch.Tensor.is_contiguous) + 0

    fails(kernel, lambda x: x + 0, X, f"layouts {layout}", layouts=["contiguous", layout], dtypes=FLOAT32)
    check(kernel, lambda x: x + 0, X, layouts=["contiguous"], dims=ROWS)


def test_strides_of_another_input_fail() -> None:
    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return x + torch.as_strided(y, y.shape, x.stride())

    fails(kernel, torch.add, {"x": ("B", "N"), "y": ("B", "N")}, "layouts", dtypes=FLOAT32)


BACKWARDS: dict[str, tuple[Callable[..., Any], str]] = {
    "takes the gradient for contiguous": (
        lambda ctx, g, x, w: right_backward(ctx, contiguous_only(g, torch.Tensor.is_contiguous), x, w),
        "layouts",
    ),
    "leaves an element of the gradient unwritten": (
        lambda ctx, g, x, w: (misses_an_element(g * w), (g * x).sum(0)),
        r"gradient of x: 1 of 21 .* from memory that was never written",
    ),
    "writes outside of its memory in backward": (
        lambda ctx, g, x, w: (writes_past_the_end(g * w), (g * x).sum(0)),
        "a fresh float32 tensor .* after its end",
    ),
    "changes the incoming gradient": (
        lambda ctx, g, x, w: (g * w, (g.mul_(x)).sum(0)),
        "incoming gradient of result: 21 elements were changed",
    ),
    "returns no gradient": (
        lambda ctx, g, x, w: (g * w, None),
        r"gradient of w: None, expected a tensor of shape \(7,\)",
    ),
    "needs both gradients to be asked for": (
        lambda ctx, g, x, w: (g * w * (2 - ctx.needs_input_grad[1]), (g * x).sum(0)),
        "gradients of x seed=0\n    gradient of x: 21 of 21",
    ),
    "sums too few rows": (
        lambda ctx, g, x, w: (g * w, (g * x)[:-1].sum(0)),
        "gradient of w: 7 of 7",
    ),
}


@pytest.mark.parametrize("name", BACKWARDS)
def test_a_backward_that_is_wrong_in_one_way_fails(name: str) -> None:
    backward, match = BACKWARDS[name]
    dims = {"B": [3, 8], "N": [7]}
    fails(scaled_with(backward), scaled, XW, match, dims=dims, grad=["x", "w"], dtypes=FLOAT32)


def test_a_missing_graph_fails() -> None:
    fails(
        lambda x, w: scaled(x.detach(), w.detach()), scaled, XW, "gradient of x: None", grad=["x", "w"], dtypes=FLOAT32
    )


def test_a_hyper_parameter_that_is_wrong_off_its_default_fails() -> None:
    def kernel(x: Tensor, w: Tensor, decay: float = 0.0) -> Tensor:
        return scaled_by_kernel(x, w, decay * (1 + 1e-5))

    check(kernel, scaled, XW, dims=ROWS)
    message = fails(kernel, scaled, XW, "float32 B=3 N=7 decay=0.1 seed=0", hyper=[{"decay": 0.1}])
    assert "hyper=[{'decay': 0.1}]" in message


def test_an_update_in_place_that_is_wrong_fails() -> None:
    dims, hyper = {"N": [0, 5]}, [{"decay": 0.1}]

    def decays_the_parameter_alone(ps: list[Tensor], gs: list[Tensor], ms: list[Tensor], decay: float = 0.0) -> None:
        momentum_by_kernel(ps, gs, ms)
        for p in ps:
            p.mul_(1 - decay)

    def forgets_the_second(ps: list[Tensor], gs: list[Tensor], ms: list[Tensor], decay: float = 0.0) -> None:
        momentum_by_kernel(ps[:1], gs[:1], ms[:1], decay)

    def bumps_no_version(ps: list[Tensor], gs: list[Tensor], ms: list[Tensor], decay: float = 0.0) -> None:
        momentum_by_kernel([p.data for p in ps], gs, ms, decay)

    inplace = ["ps", "ms"]
    options = {"dims": dims, "hyper": hyper, "inplace": inplace}
    fails(decays_the_parameter_alone, momentum_reference, LISTS, r"after the call, ps\[0\]: 5 of 5", **options)
    fails(forgets_the_second, momentum_reference, LISTS, r"after the call, ms\[1\]: 15 of 15", **options)
    fails(bumps_no_version, momentum_reference, LISTS, r"ps\[0\]: written in place, but its version counter", **options)
    # Not declared as written: the input has changed.
    fails(
        momentum_by_kernel,
        momentum_reference,
        LISTS,
        r"input ms\[0\]: 5 elements were changed",
        dims=dims,
        inplace=["ps"],
    )


def test_a_write_between_the_elements_of_a_strided_tensor_fails() -> None:
    def kernel(x: Tensor) -> None:
        x.mul_(2)
        if x.stride(-1) == 2:
            torch.as_strided(x, (1,), (1,), x.storage_offset() + 1).zero_()

    def reference(x: Tensor) -> None:
        x.mul_(2)

    fails(kernel, reference, X, "input x: 1 elements between its own were written", inplace=["x"], dtypes=FLOAT32)


# Precision: what a kernel may not lose.


def in_chunks(dtype: torch.dtype) -> Callable[[Tensor, Tensor], Tensor]:
    """A matmul that keeps its accumulator in a dtype between blocks of 16 terms."""

    def matmul(a: Tensor, b: Tensor) -> Tensor:
        total = torch.zeros(a.shape[0], b.shape[1], dtype=dtype)
        for k in range(0, a.shape[1], 16):
            total = (total.float() + a[:, k : k + 16].float() @ b[k : k + 16].float()).to(dtype)
        return total.to(a.dtype)

    return matmul


def last_term_missing(a: Tensor, b: Tensor) -> Tensor:
    return (wide(a[:, :-1]) @ wide(b[:-1])).to(a.dtype)


def rounded_inputs(bits: int) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda a, b: rounded(bits)(a) @ rounded(bits)(b)


@pytest.mark.parametrize("k", [1, 16, 127, 1000, 4096])
@pytest.mark.parametrize(
    ("fn", "dtype"),
    [
        (last_term_missing, torch.float32),
        (last_term_missing, torch.float16),
        (last_term_missing, torch.bfloat16),
        (last_term_missing, torch.float64),
        (in_chunks(torch.float16), torch.float32),
        (in_chunks(torch.bfloat16), torch.float32),
        (in_chunks(torch.float32), torch.float64),
        (rounded_inputs(10), torch.float32),
        (rounded_inputs(7), torch.float32),
    ],
    ids=lambda value: (
        str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else value.__qualname__.partition(".")[0]
    ),
)
def test_a_matmul_that_loses_precision_fails(fn: Callable[..., Any], dtype: torch.dtype, k: int) -> None:
    fails(fn, torch.matmul, MATMUL, "result", dims={"M": [16], "K": [k], "N": [16]}, dtypes=[dtype])


@pytest.mark.parametrize("k", [127, 1000])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_accumulator_of_16_bits_fails(dtype: torch.dtype, k: int) -> None:
    fails(in_chunks(dtype), torch.matmul, MATMUL, "result", dims={"M": [16], "K": [k], "N": [16]}, dtypes=[dtype])


def test_a_stated_rounding_of_the_inputs_passes_and_a_coarser_one_fails() -> None:
    options = {"dims": {"M": [1, 16], "K": [1, 127, 1000], "N": [16]}, "dtypes": FLOAT32, "input_roundoff": 2.0**-11}
    check(rounded_inputs(10), torch.matmul, MATMUL, **options)
    fails(rounded_inputs(6), torch.matmul, MATMUL, "result", **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("tap", [(0, 0), (1, 2), (2, 2)])
def test_a_convolution_without_one_of_its_taps_fails(dtype: torch.dtype, tap: tuple[int, int]) -> None:
    def kernel(x: Tensor, w: Tensor, **hyper: Any) -> Tensor:
        w = w.clone()
        w[-1, -1, tap[0], tap[1]] = 0
        return F.conv2d(x.double(), w.double(), **hyper).to(x.dtype)

    inputs = {"x": ("N", "C", 6, 6), "w": (4, "C", 3, 3)}
    dims = {"N": [2], "C": [32]}
    fails(kernel, F.conv2d, inputs, "result", dims=dims, dtypes=[dtype], hyper=[{"padding": 1}])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_mean_that_divides_by_one_more_fails(dtype: torch.dtype) -> None:
    fails(lambda x: (wide(x).sum(1) / (x.shape[1] + 1)).to(x.dtype), lambda x: x.mean(1), X, "result", dtypes=[dtype])


def test_a_variance_from_differences_of_large_squares_fails() -> None:
    def kernel(x: Tensor) -> Tensor:
        return (x + 100).square().mean(1) - (x + 100).mean(1).square()

    def reference(x: Tensor) -> Tensor:
        return (x + 100).var(1, correction=0)

    fails(kernel, reference, X, "result", dims={"B": [16], "N": [100]}, dtypes=FLOAT32)


# The message.


def test_the_message_says_what_where_and_how_to_repeat_it() -> None:
    def kernel(x: Tensor, w: Tensor, decay: float = 0.0) -> Tensor:
        y = scaled_by_kernel(x, w, decay)
        if y.shape == (3, 16):
            y[1, 5] += 1
        return y

    message = fails(kernel, scaled, XW, "check", seeds=[0, 7], dtypes=[torch.float32, torch.bfloat16])
    assert message.startswith("check(kernel): 4 of the first 42 cases failed\n  float32 B=3 N=16 seed=0\n")
    line = next(line for line in message.splitlines() if "repeat:" in line)
    assert re.search(
        r"result: 1 of 48 elements are wrong, the worst at \[1, 5\]: got .*, expected .*, off by 1, allowed", message
    )
    with pytest.raises(AssertionError, match="float32 B=3 N=16 seed=0"):
        eval(line.partition("repeat: ")[2], {"check": check, "kernel": kernel, "scaled": scaled, "torch": torch})


def test_a_failing_reference_is_reported_with_its_cause() -> None:
    with pytest.raises(AssertionError, match="raised ZeroDivisionError: ") as caught:
        check(lambda x: x, lambda x: x / (1 // 0), X, dims=ROWS)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_the_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    check(scaled_by_kernel, scaled, XW, dims=ROWS, dtypes=FLOAT32)
    assert torch.get_num_threads() == before
