"""add, mul, affine, prelu, and the sums over what was broadcast that their gradients are."""

import itertools

import pytest
import torch

from tritonnet.errors import DtypeError, ShapeError
from tritonnet.kernels import _tune, add, affine, mul, prelu, prelu_backward, prelu_product, sum_to, use
from tritonnet.kernels.pointwise import sums
from tritonnet.testing import check

CPU = _tune.Target("cpu", "no such processor", 2, 512 << 10)
GPU = _tune.Target("gpu", "no such gpu", 132, 232448)


def test_add_and_mul():
    for op, hyper in ((add, [{"alpha": -0.7}]), (mul, [{"shape": (1, 33)}, {"shape": (33,)}])):
        check(
            op, op.reference, {"a": ("M", 33), "b": ("M", 33)}, dims={"M": [0, 5, 70]}, hyper=hyper,
            layouts=["contiguous", "transposed", "expanded"],
        )  # fmt: skip


def test_affine():
    hyper = [{"shift": 1.5}, {"dtype": torch.float64}]
    factor = {"factor": lambda sizes, generator: 0.3}
    check(affine, affine.reference, {"x": ("M", 33), **factor}, dims={"M": [5]}, hyper=hyper, dtypes=[torch.float32])


def test_broadcasting():
    x = torch.randn(4, 5, 6, 7, dtype=torch.float64)
    for shape in [(1, 5, 1, 1), (7,), (4, 1, 6, 1), (), (5, 1, 7), (4, 5, 6, 7)]:
        y = torch.randn(shape, dtype=torch.float64)
        for one in (x, x.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0))[: 1 + (len(shape) == 4)]:
            torch.testing.assert_close(mul(one, y), one * y, rtol=0, atol=0)
            torch.testing.assert_close(mul(y, one), one * y, rtol=0, atol=0)
            torch.testing.assert_close(mul(one, one, shape), (one * one).sum_to_size(shape))
            torch.testing.assert_close(sum_to(one, shape, 0.5), 0.5 * one.sum_to_size(shape))
    a, b = torch.randn(9, 1), torch.randn(11)
    torch.testing.assert_close(add(a, b, 2.0), a + 2 * b)
    assert add(a, torch.empty(0)).shape == (9, 0)
    assert sum_to(torch.empty(0, 3), (3,)).tolist() == [0, 0, 0]
    assert sum_to(torch.empty(3, 0), (3, 0)).shape == (3, 0)


def test_more_dimensions_than_a_program_walks():
    x = torch.randn(2, 3, 2, 3, 2, 3, 2, dtype=torch.float64)[..., ::2]
    for shape in ((2, 1, 2, 1, 2, 1, 1), (1, 3, 1, 3, 1, 3, 1)):
        y = torch.randn(shape, dtype=torch.float64)
        torch.testing.assert_close(mul(x, y), x * y, rtol=0, atol=0)
        torch.testing.assert_close(mul(x, x, shape), (x * x).sum_to_size(shape))


def test_dtypes_are_promoted_as_by_torch():
    dtypes = (torch.float16, torch.bfloat16, torch.float32, torch.int64, torch.bool)
    for first, second in itertools.combinations(dtypes, 2):
        if first.is_floating_point:
            a, b = (torch.randint(0, 2, (5,)).to(dtype) for dtype in (first, second))
            assert torch.equal(add(a, b, 3.0), (a + 3.0 * b).to((a + b).dtype))
    a, b = torch.ones(5, dtype=torch.float16), torch.ones((), dtype=torch.float32)
    assert mul(a, b).dtype == torch.float16 and mul(a[0], b[None]).dtype == torch.float32
    with use("reference"):
        assert add(torch.ones(2, dtype=torch.int64), a[:2]).dtype == torch.float16


def test_sums_are_accurate_and_parted():
    """Each sum takes several parts and several tiles of each. One term after the other would err ten times more."""
    x = torch.randn(300_000, dtype=torch.float32)
    for one, shape in (
        (x.view(1, -1), (1, 1)),
        (x.view(-1, 5), (1, 5)),
        (x.view(5, -1), (5, 1)),
        (x.view(60, 5, -1), (5, 1)),
    ):
        exact = one.double().sum_to_size(shape)
        terms = one.numel() // exact.numel()
        assert ((sum_to(one, shape).double() - exact).abs() <= 1e-6 * terms**0.5).all()


def test_an_infinity_beside_the_edge_does_no_harm():
    """What masked lanes make of a value that is the same for all lanes is not summed."""
    x, y = torch.ones(3, 5), torch.full((3, 1), torch.inf)
    assert mul(x, y, (3, 1)).flatten().tolist() == [torch.inf] * 3


def test_tiles_of_sums():
    for target in (CPU, GPU):
        for sizes in itertools.product((1, 3, 100, 5000), (1, 7), (1, 5, 300, 100_000), (1, 64), (0, 1)):
            K, places, R, times, axis = sizes
            tile = sums.pick_tile(K, places, R, times, axis, target)
            assert tile.BLOCK_K * tile.BLOCK_R <= 4096
            step = 4 if target is CPU else 2
            assert tile.BLOCK_K < step * K and tile.BLOCK_R < step * R
            assert tile.STEPS <= 64
    units = [sums.pick_tile(3, 1, 9999, 7, 1, _tune.Target("cpu", "", units, 1)) for units in (1, 64)]
    assert units[0] == units[1]


@pytest.mark.parametrize("shape", [(4, 5, 33), (33, 5), (7,)])
def test_prelu(shape):
    channels = 5 if len(shape) > 1 else 1
    for op in (prelu, prelu_backward, prelu_product):
        inputs = (
            {"dy": shape, "x": shape, "weight": (channels,)} if op is prelu_backward else {"x": shape, "u": (channels,)}
        )
        if op is prelu_product:
            inputs["v"] = shape
        hyper = [{"channels": channels}] if op is prelu_product else []
        dtypes = [torch.float32, torch.bfloat16]
        check(op, op.reference, inputs, dims={}, hyper=hyper, dtypes=dtypes)


def test_prelu_at_zero_and_nan():
    x, weight = torch.tensor([torch.nan, 0.0, -0.0, -2.0, 2.0]), torch.tensor([3.0])
    assert prelu(x, weight)[1:].tolist() == [0, 0, -6, 2] and prelu(x, weight)[0].isnan()
    assert prelu_backward(torch.ones(5), x, weight).tolist() == [3, 3, 3, 3, 1]
    assert prelu_product(x[1:], x[1:], torch.ones(4), 1).tolist() == [-2]


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_errors(backend):
    x, whole = torch.ones(2, 3), torch.ones(2, 3, dtype=torch.int64)
    with use(backend):
        with pytest.raises(ShapeError, match=r"add: \(2, 3\) and \(2,\) do not broadcast"):
            add(x, torch.ones(2))
        with pytest.raises(DtypeError, match="mul: of int64 and int64 the result would be int64"):
            mul(whole, whole)
        with pytest.raises(DtypeError, match="affine: of int64 the result would be int64"):
            affine(whole, 2.0)
        with pytest.raises(ShapeError, match=r"sum_to: \(2,\) does not broadcast to \(2, 3\)"):
            sum_to(x, (2,))
        with pytest.raises(ShapeError, match=r"mul: \(1, 2, 3\) does not broadcast to \(2, 3\)"):
            mul(x, x, (1, 2, 3))
        with pytest.raises(ShapeError, match=r"prelu: x is \(2, 3\), and beside it is \(2,\)"):
            prelu(x, torch.ones(2))
        with pytest.raises(DtypeError, match="prelu: got int64, float32; it takes floating-point tensors"):
            prelu(whole, torch.ones(1))
