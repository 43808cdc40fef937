"""nll_loss and its gradient: against float64, in every form; layouts, extremes, errors."""

import math

import pytest
import torch

from tritonnet.errors import ClassIndexError, DtypeError, ShapeError
from tritonnet.kernels import nll_loss, nll_loss_backward, use
from tritonnet.kernels.nll_loss import nll_loss_backward_reference, nll_loss_reference
from tritonnet.testing import check

IGNORED = 1
OPTIONS = [{"reduction": "none"}, {"reduction": "sum", "ignore_index": IGNORED}, {"ignore_index": IGNORED}]


def indices(*names):
    def draw(sizes, generator):
        return torch.randint(0, sizes["C"], [sizes[name] for name in names], generator=generator)

    return draw


def weights(sizes, generator):
    return torch.rand(sizes["C"], generator=generator).double() + 0.1


def gradient(forward, backward):
    """x, target, dloss, weight -> dx."""

    def run(x, target, dloss, weight, **options):
        _, total = forward(x, target, weight, **options)
        dloss = dloss if options.get("reduction") == "none" else dloss.flatten()[0]
        return backward(dloss, x, target, total, weight, **options)

    return run


FORWARD = nll_loss, nll_loss_reference
BACKWARD = gradient(nll_loss, nll_loss_backward), gradient(nll_loss_reference, nll_loss_backward_reference)


def test_loss():
    dims = {"N": [1, 5, 300], "C": [2, 10]}
    check(*FORWARD, {"x": ("N", "C"), "target": indices("N")}, dims=dims, hyper=OPTIONS, dtypes=[torch.float32])


def test_gradient():
    inputs = {"x": ("N", "C"), "target": indices("N"), "dloss": ("N",), "weight": weights}
    check(*BACKWARD, inputs, dims={"N": [1, 5, 300], "C": [2, 10]}, hyper=OPTIONS, dtypes=[torch.float32])


def test_other_dtypes():
    dims, dtypes = {"N": [5], "C": [10]}, [torch.float16, torch.bfloat16, torch.float64]
    inputs = {"x": ("N", "C"), "target": indices("N")}
    check(*FORWARD, inputs, dims=dims, dtypes=dtypes, layouts=["contiguous"])
    inputs |= {"dloss": ("N",), "weight": weights}
    check(*BACKWARD, inputs, dims=dims, dtypes=dtypes, layouts=["contiguous"])


def test_weighted_images():
    image, dims, dtypes = ("N", "C", "H", "W"), {"N": [3], "C": [5], "H": [4], "W": [40]}, [torch.float32]
    inputs = {"x": image, "target": indices("N", "H", "W"), "weight": weights}
    layouts = ["contiguous", "sliced", "channels_last"]
    check(*FORWARD, inputs, dims=dims, dtypes=dtypes, layouts=layouts)
    inputs = {"x": image, "target": indices("N", "H", "W"), "dloss": ("N", "H", "W"), "weight": weights}
    check(*BACKWARD, inputs, dims=dims, hyper=OPTIONS[:1], dtypes=dtypes, layouts=layouts)


def test_many_rows():
    x, target = torch.randn(10_000, 3, dtype=torch.float64), torch.randint(0, 3, (10_000,))
    loss, total = nll_loss(x, target)
    torch.testing.assert_close(loss, torch.nn.functional.nll_loss(x, target))
    assert total == 10_000


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_what_is_ignored(backend):
    x, target = torch.full((4, 3), -math.inf), torch.full((4,), -100)
    with use(backend):
        loss, total = nll_loss(x, target)
        assert loss.isnan() and total == 0
        assert (nll_loss_backward(torch.ones(()), x, target, total) == 0).all()
        assert nll_loss(x, target, reduction="none")[0].tolist() == [0] * 4
        assert nll_loss(x, target.fill_(1), reduction="sum")[0] == math.inf


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_targets_of_one_byte(backend):
    x, target = torch.randn(6, 3), torch.tensor([0, 1, 2, 1, 0, 255], dtype=torch.uint8)
    with use(backend):
        loss, total = nll_loss(x, target, ignore_index=255)
        dx = nll_loss_backward(loss, x, target, total, ignore_index=255)
    torch.testing.assert_close(loss, torch.nn.functional.nll_loss(x, target, ignore_index=255))
    torch.testing.assert_close(dx.sum(), -loss)


@pytest.mark.parametrize("backend", ["triton", "reference"])
@pytest.mark.parametrize("wrong", [3, -1])
def test_a_class_out_of_bounds(backend, wrong):
    match = rf"nll_loss: target holds the class index {wrong}; for 3 classes it lies in \[0, 2\]"
    with use(backend), pytest.raises(ClassIndexError, match=match):
        nll_loss(torch.randn(4, 3), torch.tensor([0, wrong, 2, -100]))


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_errors(backend):
    x, target = torch.randn(4, 3), torch.zeros(4, dtype=torch.int64)
    with use(backend):
        with pytest.raises(DtypeError, match="nll_loss: target is int32; it holds class indices in int64 or uint8"):
            nll_loss(x, target.int())
        with pytest.raises(ShapeError, match=r"nll_loss: x is \(4, 3\) and target is \(3,\); it must be \(4,\)"):
            nll_loss(x, target[:3])
        with pytest.raises(ShapeError, match=r"nll_loss: weight is \(4,\); for 3 classes"):
            nll_loss(x, target, torch.ones(4))
        with pytest.raises(ShapeError, match=r"nll_loss_backward: dloss is \(\); for rows \(4,\) and reduction 'none'"):
            nll_loss_backward(torch.ones(()), x, target, None, reduction="none")
        with pytest.raises(ShapeError, match="nll_loss_backward: total is None; the mean is taken over one number"):
            nll_loss_backward(torch.ones(()), x, target, None)
