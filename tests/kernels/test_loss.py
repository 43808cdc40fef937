"""loss and loss_gradient: every formula, every reduction, any layout, long sums, values at the edges, errors."""

import math
import re

import pytest
import torch
import triton.language as tl

from tritonnet.errors import DtypeError, RangeError, ShapeError
from tritonnet.kernels import _tune, loss, loss_gradient, use
from tritonnet.kernels.loss import kernels
from tritonnet.kernels.loss.formulas import FORMULAS, derivative
from tritonnet.kernels.loss.parts import pick_tile
from tritonnet.kernels.loss.terms import loss_gradient_reference, loss_reference
from tritonnet.testing import LAYOUTS, check

CPU = _tune.Target("cpu", "no such processor", 2, 512 << 10)
GPU = _tune.Target("gpu", "no such gpu", 132, 232448)
BLOCK = pick_tile(1, True, CPU).BLOCK_C


def term(function, of):
    """x, target[, weight[, factor]] -> the loss."""

    def run(x, target, weight=None, factor=None, parameter=0.7, **options):
        return function(of, x, target, weight, parameter, factor, **options)[0]

    return run


def gradient(function, forward, of, by):
    """dloss, x, target[, weight[, factor]] -> the gradient of an operand, for a loss of the same kind."""

    def run(dloss, x, target, weight=None, factor=None, reduction="mean"):
        _, statistics = forward(of, x, target, weight, 0.7, factor, reduction)
        dloss = dloss if reduction == "none" else dloss.flatten()[0]
        name, to = (derivative(of, by), {"x": "x", "t": "target"}[by]) if by in "xt" else (of, by)
        return function(name, to, dloss, x, target, weight, 0.7, factor, reduction, statistics)

    return run


def losses(of):
    return term(loss, of), term(loss_reference, of)


def gradients(of, by):
    return gradient(loss_gradient, loss, of, by), gradient(loss_gradient_reference, loss_reference, of, by)


def inside(sizes, generator):
    """In (0, 1), where every formula is defined."""
    return torch.rand(sizes["N"], generator=generator, dtype=torch.float64) * 0.98 + 0.01


def counts(sizes, generator):
    return inside(sizes, generator) * 5


@pytest.mark.parametrize("of", FORMULAS)
def test_formula(of):
    target = counts if of.startswith("poisson") else inside
    inputs = {"x": inside, "target": target}
    check(
        *losses(of), inputs, dims={"N": [2, 500]}, dtypes=[torch.float32], layouts=LAYOUTS[:1],
        hyper=[{"reduction": "none"}],
    )  # fmt: skip


MN = {"M": [0, 1, 5], "N": [1, 65, 1100]}
REDUCTIONS = [{"reduction": name} for name in ("none", "sum", "batchmean")]


def test_reductions():
    check(*losses("mse_loss"), {"x": ("M", "N"), "target": ("M", "N")}, dims=MN, hyper=REDUCTIONS)


def test_reductions_across_blocks():
    dims = {"N": [BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 70]}
    inputs = {"x": ("N",), "target": ("N",)}
    check(*losses("huber_loss"), inputs, dims=dims, hyper=REDUCTIONS, dtypes=[torch.float32], layouts=LAYOUTS[:1])


def test_weights_and_factors():
    inputs = dict.fromkeys(("x", "target", "weight", "factor"), ("M", "N"))
    check(*losses("mse_loss"), inputs, dims={"M": [1, 5], "N": [3, 65]}, hyper=REDUCTIONS[:2], dtypes=[torch.bfloat16])


def positive(sizes, generator):
    return torch.rand(sizes["M"], sizes["N"], generator=generator, dtype=torch.float64) + 0.1


def test_weighted_mean():
    inputs = {"x": ("M", "N"), "target": ("M", "N"), "weight": positive}
    dims, hyper, layouts = {"M": [1, 5], "N": [3, 65, 4000]}, [{"reduction": "weighted mean"}], LAYOUTS[:2]
    check(*losses("l1_loss"), inputs, dims=dims, hyper=hyper, layouts=layouts, dtypes=[torch.float32])
    inputs = {"dloss": ("M",), **inputs}
    for by in ("x", "weight"):
        check(*gradients("huber_loss", by), inputs, dims=dims, hyper=hyper, layouts=layouts, dtypes=[torch.float16])


def test_gradient():
    inputs = {"dloss": ("M", "N"), "x": ("M", "N"), "target": ("M", "N")}
    check(*gradients("mse_loss", "x"), inputs, dims={"M": [1, 5], "N": [1, 65, 1100]}, hyper=REDUCTIONS)


@pytest.mark.parametrize("by", ["x", "t", "weight", "factor"])
def test_gradients_over_what_was_broadcast(by):
    """x along the first dimension, target along the last, weight along both ends."""
    inputs = {"dloss": ("A", "B", "C"), "x": ("B", "C"), "target": ("A", "B", "one"), "weight": ("one", "B", "one")}
    inputs["factor"] = ("A", "one", "C")
    dims = {"A": [3], "B": [1, 4], "C": [5, 300], "one": [1]}
    check(
        *gradients("smooth_l1_loss", by), inputs, dims=dims, hyper=REDUCTIONS[:2], layouts=LAYOUTS[:1],
        dtypes=[torch.float32],
    )  # fmt: skip


def test_dtypes_that_differ():
    x, target, weight = torch.rand(50).half(), torch.randint(0, 3, (50,)), torch.rand(50).bfloat16()
    for dtype in (torch.int64, torch.bool, torch.uint8, torch.float64, torch.bfloat16):
        ours = loss("mse_loss", x, target.to(dtype), weight, 1.0, None, "sum")[0]
        assert ours.dtype == torch.promote_types(torch.float16, dtype)
        expected = (weight.double() * (x.double() - target.to(dtype).double()) ** 2).sum()
        torch.testing.assert_close(ours.double(), expected, rtol=torch.finfo(ours.dtype).eps, atol=0)
        dx = loss_gradient("mse_loss.x", "x", ours, x, target.to(dtype), weight, 1.0, None, "sum")
        assert dx.dtype == torch.float16


def _views():
    base = torch.rand(4, 6, 8, 10, 3)
    yield base[..., 0][:, 1:5, ::2, 1:9]
    yield base.permute(4, 1, 0, 3, 2)
    yield base[:, :4, :3, ::3, 1:]
    yield base[..., 0].to(memory_format=torch.channels_last)
    yield torch.rand(()).expand(7, 5)
    yield torch.rand(())


@pytest.mark.parametrize("x", list(_views()), ids=lambda x: f"{tuple(x.shape)}-{x.stride()}")
def test_any_layout(x):
    target, dloss = torch.rand(x.shape), torch.rand(x.shape[::-1]).permute(tuple(reversed(range(x.dim()))))
    for reduction in ("none", "mean"):
        value = loss("mse_loss", x, target, reduction=reduction)[0]
        torch.testing.assert_close(value, loss_reference("mse_loss", x, target, reduction=reduction)[0])
    assert loss("mse_loss", x, target, reduction="none")[0].stride() == torch.empty_like(x).stride()
    for gradient in (dloss, torch.rand(()).expand(x.shape)):
        dx = loss_gradient("mse_loss.x", "x", gradient, x, target, reduction="none")
        torch.testing.assert_close(dx, 2 * (x - target) * gradient)
        assert dx.stride() == torch.empty_like(x).stride()


def test_millions_of_elements():
    x, target = torch.randn(3_000_001) + 3, torch.randn(3_000_001)
    for reduction in ("sum", "mean"):
        exact = loss_reference("mse_loss", x.double(), target.double(), reduction=reduction)[0]
        torch.testing.assert_close(
            loss("mse_loss", x, target, reduction=reduction)[0].double(), exact, rtol=1e-6, atol=0
        )


def test_so_many_that_the_sums_of_parts_are_summed_in_parts():
    row = torch.rand(BLOCK)
    rows = row.expand(2500, BLOCK)
    value = loss("l1_loss", rows, torch.zeros(()), rows, reduction="weighted mean")[0].double()
    torch.testing.assert_close(value, (row.double() ** 2).sum() / row.double().sum(), rtol=1e-6, atol=0)


def test_values_at_the_edges():
    nan, inf = math.nan, math.inf

    def values(of, x, target, parameter=1.0):
        x, target = torch.tensor(x), torch.tensor(target)
        found = loss(of, x, target, None, parameter, None, "none")[0]
        expected = loss_reference(of, x, target, None, parameter, None, "none")[0]
        torch.testing.assert_close(found, expected, equal_nan=True)
        return found.tolist()

    assert values("binary_cross_entropy", [0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0]) == [0, 100, 0, 100]
    assert values("binary_cross_entropy.x", [0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0]) == pytest.approx(
        [0, -1e12, 0, 1e12]
    )
    assert values("binary_cross_entropy.t", [0.0, 1.0], [0.5, 0.5]) == [inf, -inf]
    assert values("binary_cross_entropy_with_logits", [200.0, -200.0, inf, 0.0], [0.0, 1.0, 0.0, nan])[:3] == [
        200,
        200,
        inf,
    ]
    assert values("binary_cross_entropy_with_logits.x", [200.0, -200.0, inf, -inf], [0.0, 1.0, 1.0, 0.0]) == [
        1,
        -1,
        0,
        0,
    ]
    assert values("kl_div", [-1.0, 2.0], [0.0, 1.0]) == [0, -2]
    assert values("l1_loss.x", [nan, 1.0, 2.0, 3.0], [0.0, 1.0, 1.0, 4.0]) == [0, 0, 1, -1]
    assert values("huber_loss.xx", [1.0, -1.0, 0.5], [0.0] * 3) == [0, 0, 1]
    assert values("smooth_l1_loss.xx", [2.0, -2.0, 1.0], [0.0] * 3, 2.0) == [0, 0, 0.5]
    assert values("soft_margin_loss", [200.0, -200.0], [1.0, 1.0]) == [0, 200]
    assert values("poisson_nll_loss(full).t", [1.0], [0.0], 0.0) == [0]
    for of in ("mse_loss", "huber_loss.x", "smooth_l1_loss.x"):
        assert math.isnan(values(of, [nan], [0.0])[0])


def test_small_probabilities_keep_their_digits():
    x = torch.tensor([1e-7, 3e-5, 0.4, 1 - 2**-24])
    exact = loss_reference("binary_cross_entropy", x.double(), torch.zeros(4).double(), reduction="none")[0]
    ours = loss("binary_cross_entropy", x, torch.zeros(4), reduction="none")[0].double()
    torch.testing.assert_close(ours, exact, rtol=3e-7, atol=0)
    x = torch.tensor([-80.0, -17.0, -3.0])
    exact = loss_reference("binary_cross_entropy_with_logits", x.double(), torch.zeros(3).double(), reduction="none")[0]
    ours = loss("binary_cross_entropy_with_logits", x, torch.zeros(3), reduction="none")[0].double()
    torch.testing.assert_close(ours, exact, rtol=3e-7, atol=0)


@pytest.mark.parametrize("backend", ["triton", "reference"])
@pytest.mark.parametrize("wrong", [1.5, -0.25, math.nan])
def test_probabilities_out_of_range(backend, wrong):
    x = torch.full((3, 40), 0.5)
    x[2, 7] = wrong
    with use(backend), pytest.raises(RangeError, match=rf"input holds {wrong}; all of its elements lie in \[0, 1\]"):
        loss("binary_cross_entropy", x, torch.zeros(3, 40))


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_errors(backend):
    x, long = torch.rand(4, 3), torch.zeros(4, 3, dtype=torch.int64)
    dloss = torch.ones(())
    with use(backend):
        with pytest.raises(ShapeError, match="there is no formula 'mse'"):
            loss("mse", x, x)
        with pytest.raises(ShapeError, match="mse_loss: reduction is 'avg'; it is one of 'none', 'sum', 'mean', "):
            loss("mse_loss", x, x, reduction="avg")
        with pytest.raises(ShapeError, match="mse_loss: a weighted mean without a weight"):
            loss("mse_loss", x, x, reduction="weighted mean")
        with pytest.raises(ShapeError, match=r"kl_div: input is \(4, 3\) and target is \(4,\), which do not broadcast"):
            loss("kl_div(log)", x, x[:, 0])
        with pytest.raises(ShapeError, match=r"mse_loss: weight is \(2, 4, 3\); it must broadcast to \(4, 3\)"):
            loss("mse_loss", x, x, torch.ones(2, 4, 3))
        with pytest.raises(ShapeError, match=r"mse_loss: parameter is \(2,\); it must broadcast to \(4, 3\)"):
            loss("mse_loss", x, x, None, torch.ones(2))
        with pytest.raises(DtypeError, match="mse_loss: input is int64 and target is int64; one of them must be"):
            loss("mse_loss", long, long)
        with pytest.raises(DtypeError, match="mse_loss: target is complex64; it must be real, of 16 bits or more"):
            loss("mse_loss", x, x.to(torch.complex64))
        with pytest.raises(ShapeError, match=r"the gradient of the loss is \(4, 3\); for 'mean' it is \(\)"):
            loss_gradient("mse_loss.x", "x", x, x, x)
        with pytest.raises(ShapeError, match="statistics are missing for 'weighted mean'"):
            loss_gradient("mse_loss.x", "x", dloss, x, x, x, reduction="weighted mean")
        with pytest.raises(ShapeError, match="statistics were given for 'sum'"):
            loss_gradient("mse_loss.x", "x", dloss, x, x, x, reduction="sum", statistics=torch.ones(2))
        with pytest.raises(ShapeError, match="to is 'weight', which is none of the operands given"):
            loss_gradient("mse_loss", "weight", dloss, x, x)


def test_tiles_cover_short_and_long_rows():
    for target in (CPU, GPU):
        for n0 in (0, 1, 3, 1000, 10**6):
            tile = pick_tile(n0, False, target)
            assert tile.BLOCK_R * tile.BLOCK_C == pick_tile(n0, True, target).BLOCK_C
            assert tile.BLOCK_C >= min(n0, tile.BLOCK_R * tile.BLOCK_C)


def test_strides_past_32_bits():
    # Lazily allocated: only a few of its pages are ever touched.
    x = torch.empty(2**31 + 8, dtype=torch.float16).as_strided((2, 2), (2**31, 3))
    x.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    target = torch.zeros(2, 2).half()
    assert loss("mse_loss", x, target, reduction="sum")[0] == 30
    dx = loss_gradient("mse_loss.x", "x", torch.ones(()), x, target, reduction="sum")
    assert dx.tolist() == [[2, 4], [6, 8]]


@pytest.mark.parametrize(
    "kernel, of, vectors",
    [("_sum_kernel", "mse_loss", 2), ("_terms_rows_kernel", "binary_cross_entropy_with_logits", 0)],
)
def test_gpu_kernels_do_not_spill_and_load_16_bytes_at_once(compile_for_gpu, kernel, of, vectors):
    kernel = getattr(kernels, kernel)
    tile = pick_tile(300, bool(vectors), GPU)
    own = {"WEIGHTED": False, "w_ptr": None, "f_ptr": None} if vectors else {"SCALAR": False, "CENTRED": True}
    constants = {
        "OF": FORMULAS[of],
        "ACC": tl.float32,
        "BLOCK_R": tile.BLOCK_R,
        "BLOCK_C": tile.BLOCK_C,
        "p_ptr": None,
    } | own
    types = {
        name: "*fp32" if "_ptr" in name else "fp64" if name in ("p", "divisor") else "i32" for name in kernel.arg_names
    }
    types = {name: kind for name, kind in types.items() if name not in constants}
    compiled, spilled = compile_for_gpu(kernel, types, constants, 90, tile.num_warps)
    assert spilled == 0
    assert len(re.findall(r"ld\.global\.v4", compiled.asm["ptx"])) == vectors
