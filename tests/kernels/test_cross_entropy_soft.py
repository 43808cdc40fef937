"""cross_entropy of class probabilities and its gradients: against float64, layouts, many classes, extremes, errors."""

import math

import pytest
import torch

from tritonnet.errors import DtypeError, ShapeError
from tritonnet.kernels import soft_cross_entropy, soft_cross_entropy_backward, use
from tritonnet.kernels.cross_entropy import soft_cross_entropy_backward_reference, soft_cross_entropy_reference
from tritonnet.testing import check

OPTIONS = [{"reduction": "none", "label_smoothing": 0.3}, {"reduction": "sum"}]


def probabilities(*names):
    def draw(sizes, generator):
        return torch.rand([sizes[name] for name in names], generator=generator).double()

    return draw


def gradients(forward, backward):
    """x, target, dloss[, weight] -> dx and dtarget, with the statistics of a forward pass of the same kind."""

    def run(x, target, dloss, weight=None, **options):
        _, *statistics = forward(x, target, weight, **options)
        dloss = dloss if options.get("reduction") == "none" else dloss.flatten()[0]
        return backward(dloss, x, target, *statistics, weight, **options)

    return run


FORWARD = soft_cross_entropy, soft_cross_entropy_reference
BACKWARD = (
    gradients(soft_cross_entropy, soft_cross_entropy_backward),
    gradients(soft_cross_entropy_reference, soft_cross_entropy_backward_reference),
)


def test_loss():
    inputs, dims = {"x": ("N", "C"), "target": probabilities("N", "C")}, {"N": [5, 300], "C": [2, 65]}
    check(*FORWARD, inputs, dims=dims, hyper=OPTIONS, dtypes=[torch.float32])


def test_gradients():
    inputs = {"x": ("N", "C"), "target": probabilities("N", "C"), "dloss": ("N",)}
    check(*BACKWARD, inputs, dims={"N": [5, 300], "C": [65]}, hyper=OPTIONS[:1], dtypes=[torch.float32])


def test_other_dtypes():
    dims, dtypes = {"N": [5], "C": [10]}, [torch.float16, torch.bfloat16, torch.float64]
    inputs = {"x": ("N", "C"), "target": probabilities("N", "C")}
    check(*FORWARD, inputs, dims=dims, dtypes=dtypes, layouts=["contiguous"])
    check(*BACKWARD, inputs | {"dloss": ("N",)}, dims=dims, dtypes=dtypes, layouts=["contiguous"])


def test_class_weights_of_images():
    shape = ("N", "C", "H")
    inputs = {"x": shape, "target": probabilities(*shape), "w": probabilities("C")}
    dims, dtypes = {"N": [2], "C": [9], "H": [20]}, [torch.float32]
    layouts = ["contiguous", "channels_last"]
    check(*FORWARD, inputs, dims=dims, hyper=OPTIONS[:1], dtypes=dtypes, layouts=layouts)
    inputs = {"x": shape, "target": probabilities(*shape), "dloss": ("N", "H"), "w": probabilities("C")}
    check(*BACKWARD, inputs, dims=dims, hyper=OPTIONS[:1], dtypes=dtypes, layouts=layouts)


def test_more_classes_than_a_tile_holds():
    x, target = torch.randn(3, 9000), torch.rand(3, 9000)
    torch.testing.assert_close(soft_cross_entropy(x, target), soft_cross_entropy_reference(x, target))
    _, *statistics = soft_cross_entropy(x, target)
    given = torch.ones(()), x, target, *statistics, torch.rand(9000), "mean", 0.1
    torch.testing.assert_close(soft_cross_entropy_backward(*given), soft_cross_entropy_backward_reference(*given))


def test_only_what_is_wanted():
    x, target = torch.randn(4, 3), torch.rand(4, 3)
    _, *statistics = soft_cross_entropy(x, target)
    given = torch.ones(()), x, target, *statistics
    dx, dtarget = soft_cross_entropy_backward(*given)
    first, none = soft_cross_entropy_backward(*given, needs=(True, False))
    assert torch.equal(first, dx) and none is None
    none, second = soft_cross_entropy_backward(*given, needs=(False, True))
    assert torch.equal(second, dtarget) and none is None


def test_the_dtype_of_the_loss_is_the_widest():
    x, target = torch.randn(4, 3).bfloat16(), torch.rand(4, 3)
    loss, statistics, _ = soft_cross_entropy(x, target)
    expected = torch.nn.functional.cross_entropy(x, target)
    assert loss.dtype == expected.dtype == torch.float32 and statistics.dtype == torch.float32
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(x.float(), target))
    assert soft_cross_entropy(x, target, torch.rand(3).double())[0].dtype == torch.float64


def test_logits_that_are_not_finite():
    x = torch.tensor([[-math.inf, 0.0, 1.0], [-math.inf] * 3, [math.inf, 0.0, 0.0], [math.nan, 0.0, 0.0]])
    target = torch.tensor([[0.5, 0.5, 0.0]]).expand(4, 3)
    loss, *_ = soft_cross_entropy(x, target, reduction="none")
    expected = torch.nn.functional.cross_entropy(x, target, reduction="none")
    torch.testing.assert_close(loss, expected, equal_nan=True)
    assert loss[0] == math.inf and loss[1:].isnan().all()


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_errors(backend):
    x, target = torch.randn(4, 3), torch.rand(4, 3)
    with use(backend):
        with pytest.raises(DtypeError, match="target is int64; class probabilities are of a floating-point dtype"):
            soft_cross_entropy(x, target.long())
        with pytest.raises(ShapeError, match=r"target is \(3, 4\); class probabilities have the shape of x"):
            soft_cross_entropy(x, target.t())
        with pytest.raises(ShapeError, match="x has no dimension"):
            soft_cross_entropy(torch.ones(()), torch.ones(()))
        with pytest.raises(ShapeError, match="label_smoothing is -0.5"):
            soft_cross_entropy(x, target, label_smoothing=-0.5)
        loss, statistics, total = soft_cross_entropy(x, target)
        with pytest.raises(ShapeError, match=r"statistics is \(2, 4\); it must be \(3, 4\)"):
            soft_cross_entropy_backward(loss, x, target, statistics[:2], total)
        with pytest.raises(ShapeError, match=r"dloss is \(4,\); for rows \(4,\) and reduction 'sum' it must be \(\)"):
            soft_cross_entropy_backward(statistics[0], x, target, statistics, total, None, "sum")
