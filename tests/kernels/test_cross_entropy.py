"""cross_entropy and its gradient: against torch's in float64, in every form; many classes, extremes, errors."""

import math

import pytest
import torch

from tritonnet.errors import ClassIndexError, DtypeError, ShapeError
from tritonnet.kernels import cross_entropy, cross_entropy_backward, use
from tritonnet.kernels.cross_entropy import cross_entropy_backward_reference, cross_entropy_reference
from tritonnet.testing import check

OPTIONS = [
    {"reduction": "none", "label_smoothing": 0.3},
    {"reduction": "sum", "label_smoothing": 1.0},
    {"ignore_index": 1},
]
IGNORED = -100


def indices(sizes, generator=None, rows=("N",)):
    """Class indices, every third of them ignored."""
    target = torch.randint(0, sizes["C"], [sizes[name] for name in rows], generator=generator)
    if target.numel() > 2:
        target.view(-1)[::3] = IGNORED
    return target


def weights(sizes, generator):
    return torch.rand(sizes["C"], generator=generator).double() + 0.1


def loss(function):
    """x, target[, weight] -> loss, the statistics of its rows, and the sum of weights."""

    def run(x, target, weight=None, **options):
        target = torch.where(target == IGNORED, options.get("ignore_index", IGNORED), target)
        return function(x, target, weight, **options)

    return run


def gradient(forward, backward):
    """x, target, dloss[, weight] -> dx, with the statistics of a forward pass of the same kind."""

    def run(x, target, dloss, weight=None, **options):
        target = torch.where(target == IGNORED, options.get("ignore_index", IGNORED), target)
        _, *statistics = forward(x, target, weight, **options)
        dloss = dloss if options.get("reduction") == "none" else dloss.flatten()[0]
        return backward(dloss, x, target, *statistics, weight, **options)

    return run


LOSSES = loss(cross_entropy), loss(cross_entropy_reference)
GRADIENTS = (
    gradient(cross_entropy, cross_entropy_backward),
    gradient(cross_entropy_reference, cross_entropy_backward_reference),
)


def test_cross_entropy():
    dims, dtypes = {"N": [1, 5, 300], "C": [2, 65]}, [torch.float32]
    check(*LOSSES, {"x": ("N", "C"), "target": indices}, dims=dims, hyper=OPTIONS, dtypes=dtypes)


def test_gradient():
    inputs, dims = {"x": ("N", "C"), "target": indices, "dloss": ("N",)}, {"N": [1, 5, 300], "C": [2, 65]}
    check(*GRADIENTS, inputs, dims=dims, hyper=OPTIONS, dtypes=[torch.float32])


def test_other_dtypes():
    dims, dtypes = {"N": [5], "C": [10]}, [torch.float16, torch.bfloat16, torch.float64]
    check(*LOSSES, {"x": ("N", "C"), "target": indices}, dims=dims, hyper=OPTIONS[:1], dtypes=dtypes)
    inputs = {"x": ("N", "C"), "target": indices, "dloss": ("N",)}
    check(*GRADIENTS, inputs, dims=dims, hyper=OPTIONS[:1], dtypes=dtypes)


def test_class_weights():
    dims, dtypes = {"N": [5], "C": [10]}, [torch.float32]
    check(*LOSSES, {"x": ("N", "C"), "target": indices, "w": weights}, dims=dims, hyper=OPTIONS[:2], dtypes=dtypes)
    inputs = {"x": ("N", "C"), "target": indices, "dloss": ("N",), "w": weights}
    check(*GRADIENTS, inputs, dims=dims, hyper=OPTIONS[:2], dtypes=dtypes, layouts=["contiguous", "sliced"])


def test_images():
    def target(sizes, generator):
        return indices(sizes, generator, ("N", "H", "W"))

    dims, dtypes = {"N": [3], "C": [5], "H": [4], "W": [40]}, [torch.float32]
    image = ("N", "C", "H", "W")
    layouts = ["contiguous", "sliced", "channels_last"]
    check(*LOSSES, {"x": image, "target": target}, dims=dims, dtypes=dtypes, layouts=layouts)
    inputs = {"x": image, "target": target, "dloss": ("N", "H", "W")}
    check(*GRADIENTS, inputs, dims=dims, dtypes=dtypes, layouts=layouts)


@pytest.mark.parametrize("shape", [(10,), (3, 5000), (5000, 3), (3, 1), (2, 5, 3, 2, 4), (0, 4)], ids=str)
def test_against_torch(shape):
    x = torch.randn(shape, dtype=torch.float64)
    C = shape[1 if len(shape) > 1 else 0]
    target = indices({"C": C, **dict(enumerate(shape[:1] + shape[2:]))}, rows=range(len(shape) - 1))
    weight = torch.rand(2 * C, dtype=torch.float64)[::2]
    for reduction, smoothing, w in (
        ("mean", 0.0, None),
        ("mean", 0.2, weight),
        ("sum", 0.2, None),
        ("none", 0.0, weight),
    ):
        leaf = x.clone().requires_grad_()
        expected = torch.nn.functional.cross_entropy(leaf, target, w, reduction=reduction, label_smoothing=smoothing)
        dloss = torch.randn_like(expected)
        expected.backward(dloss)
        options = {"weight": w, "reduction": reduction, "label_smoothing": smoothing}
        value, *statistics = cross_entropy(x, target, **options)
        torch.testing.assert_close(value, expected.detach(), equal_nan=True)
        dx = cross_entropy_backward(dloss, x, target, *statistics, **options)
        torch.testing.assert_close(dx, leaf.grad)


def _views():
    base = torch.randn(4, 6, 8, 10, 3)
    yield base[..., 0][:, 1:5, ::2, 1:9]
    yield base[1:, :4, :3, ::3, :2]
    yield base[..., 0].to(memory_format=torch.channels_last)
    yield torch.randn(()).expand(7, 5)


@pytest.mark.parametrize("x", list(_views()), ids=lambda x: f"{tuple(x.shape)}-{x.stride()}")
def test_any_layout(x):
    target = indices({"C": x.shape[1], **dict(enumerate(x.select(1, 0).shape))}, rows=range(x.dim() - 1))
    for reduction in ("mean", "none"):
        loss, *statistics = cross_entropy(x, target, reduction=reduction)
        copied, *_ = cross_entropy(x.contiguous(), target, reduction=reduction)
        torch.testing.assert_close(loss, copied)
        dloss = torch.rand(()).expand(loss.shape)
        dx = cross_entropy_backward(dloss, x, target, *statistics, reduction=reduction)
        torch.testing.assert_close(
            dx, cross_entropy_backward_reference(dloss, x, target, *statistics, reduction=reduction)
        )
        assert dx.stride() == torch.empty_like(x).stride()


def test_a_wider_loss():
    x, target = torch.randn(8, 5, dtype=torch.bfloat16), torch.arange(8) % 5
    loss, *_ = cross_entropy(x, target, dtype=torch.float32)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, cross_entropy(x.float(), target)[0])


def test_far_from_zero():
    # The log-sum-exp of these rounds to a multiple of 2^-10 in float32; its two parts do not.
    x = torch.randn(64, 10) + 10_000
    target = torch.arange(64) % 10
    loss, *statistics = cross_entropy(x, target)
    expected, *_ = cross_entropy_reference(x.double(), target)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    share = cross_entropy_backward(torch.ones(()), x, target, *statistics)
    assert share.sum(1).abs().max() < 1e-8


def test_infinite_logits():
    x = torch.tensor([[-math.inf, 0.0, 1.0], [-math.inf] * 3, [math.inf, 0.0, 0.0], [math.nan, 0.0, 0.0]])
    x = torch.cat([x, torch.cat([torch.full((1, 2), -math.inf), torch.zeros(1, 1)], 1)])
    target = torch.tensor([1, 0, 1, 1, 2])
    loss, *_ = cross_entropy(x, target, reduction="none")
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(x, target, reduction="none"), equal_nan=True)
    assert loss[[0, 4]].isfinite().all() and loss[[1, 2, 3]].isnan().all()
    wide = torch.full((1, 9000), -math.inf)
    wide[0, -1] = 0.0
    assert float(cross_entropy(wide, torch.tensor([8999]))[0]) == 0.0


def test_everything_ignored():
    x, target = torch.randn(4, 3), torch.full((4,), -100)
    loss, *statistics = cross_entropy(x, target)
    assert loss.isnan()
    assert (cross_entropy_backward(torch.ones(()), x, target, *statistics) == 0).all()
    assert float(cross_entropy(x, target, reduction="sum")[0]) == 0
    assert cross_entropy(x, target, reduction="none")[0].tolist() == [0] * 4


def test_targets_of_one_byte():
    x, target = torch.randn(300, 7), torch.randint(0, 7, (300,))
    x.requires_grad_()
    for options in ({"ignore_index": 3}, {"label_smoothing": 0.1}):
        loss, *statistics = cross_entropy(x.detach(), target.byte(), **options)
        expected = torch.nn.functional.cross_entropy(x, target, **options)
        torch.testing.assert_close(loss, expected.detach())
        dx = cross_entropy_backward(torch.ones(()), x.detach(), target.byte(), *statistics, **options)
        torch.testing.assert_close(dx, torch.autograd.grad(expected, x)[0])


@pytest.mark.parametrize("backend", ["triton", "reference"])
@pytest.mark.parametrize("wrong", [10, -1, 2**40])
def test_a_class_out_of_bounds(backend, wrong):
    with (
        use(backend),
        pytest.raises(ClassIndexError, match=rf"the class index {wrong}; for 10 classes it lies in \[0, 9\]"),
    ):
        cross_entropy(torch.randn(4, 10), torch.tensor([0, 9, wrong, -100]))


def test_errors():
    x, target = torch.randn(4, 3), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(DtypeError, match="target is int32; it holds class indices in int64 or uint8"):
        cross_entropy(x, target.int())
    with pytest.raises(DtypeError, match="target is float32; it holds class indices"):
        cross_entropy(x, torch.rand(4, 3))
    with pytest.raises(ShapeError, match=r"x is \(4, 3\) and target is \(3,\); it must be \(4,\)"):
        cross_entropy(x, target[:3])
    with pytest.raises(ShapeError, match="x has no dimension"):
        cross_entropy(torch.ones(()), target)
    with pytest.raises(ShapeError, match="of no classes"):
        cross_entropy(torch.ones(4, 0), target)
    with pytest.raises(ShapeError, match=r"weight is \(2,\); for 3 classes it must be \(3,\)"):
        cross_entropy(x, target, torch.ones(2))
    with pytest.raises(ShapeError, match="reduction is 'avg'; it is one of 'mean', 'sum', 'none'"):
        cross_entropy(x, target, reduction="avg")
    with pytest.raises(ShapeError, match="label_smoothing is 1.5"):
        cross_entropy(x, target, label_smoothing=1.5)
    with pytest.raises(DtypeError, match="weight is int64; it must be of a floating-point dtype"):
        cross_entropy(x, target, torch.ones(3, dtype=torch.int64))


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_statistics_that_do_not_belong_to_the_logits(backend):
    x, target = torch.randn(4, 3), torch.zeros(4, dtype=torch.int64)
    loss, statistics, total = cross_entropy(x, target)
    with use(backend):
        with pytest.raises(ShapeError, match=r"cross_entropy_backward: statistics is \(2, 2\); it must be \(2, 4\)"):
            cross_entropy_backward(loss, x, target, statistics[:, :2], total)
        with pytest.raises(ShapeError, match="total is None; the mean is taken over one number"):
            cross_entropy_backward(loss, x, target, statistics, None)
        with pytest.raises(ShapeError, match=r"total is \(1,\)"):
            cross_entropy_backward(loss, x, target, statistics, total[None])
        with pytest.raises(ShapeError, match=r"dloss is \(4,\); for rows \(4,\) and reduction 'mean' it must be \(\)"):
            cross_entropy_backward(statistics[0], x, target, statistics, total)
        with pytest.raises(DtypeError, match="statistics is float64; it must be float32"):
            cross_entropy_backward(loss, x, target, statistics.double(), total)
        with pytest.raises(DtypeError, match="total is float64; it must be float32"):
            cross_entropy_backward(loss, x, target, statistics, total.double())
