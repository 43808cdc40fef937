"""Gradients of pooling: in every dtype and layout, beside torch's for many geometries; what is picked; errors."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from tests.kernels.test_pool2d import LONG, OUTPUTS, SHORT, images
from tritonnet.errors import ShapeError
from tritonnet.kernels import (
    adaptive_avg_pool2d_backward,
    adaptive_max_pool2d,
    adaptive_max_pool2d_backward,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
    max_pool2d_pick,
    use,
)
from tritonnet.testing import check

DIMS = {"N": [0, 1, 2], "C": [1, 3], "P": [2, 3], "Q": [2, 9]}
OUT = ("N", "C", "P", "Q")


def taps(sizes, generator):
    return torch.randint(0, 6, [sizes[name] for name in OUT], generator=generator, dtype=torch.int32)


def shape(sizes, _):
    return (sizes["N"], sizes["C"], 2 * sizes["P"], 3 * sizes["Q"] + 1)


def test_max_pool2d_backward():
    inputs = {"dy": OUT, "index": taps, "shape": shape}
    one, reference = (
        partial(each, kernel_size=(2, 3)) for each in (max_pool2d_backward, max_pool2d_backward.reference)
    )
    check(one, reference, inputs, dims=DIMS, hyper=[{"channels_last": True}])


def test_avg_pool2d_backward():
    kwargs = {"kernel_size": (2, 4), "stride": (2, 3), "padding": (0, 1), "count_include_pad": False}
    one, reference = (partial(each, **kwargs) for each in (avg_pool2d_backward, avg_pool2d_backward.reference))
    check(one, reference, {"dy": OUT, "shape": shape}, dims=DIMS, hyper=[{"channels_last": True}])


def test_adaptive_avg_pool2d_backward():
    ops = adaptive_avg_pool2d_backward, adaptive_avg_pool2d_backward.reference
    check(*ops, {"dy": OUT, "shape": shape}, dims=DIMS, hyper=[{"channels_last": True}])


def gradient(function, x, dy, *args, **kwargs):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(function(x, *args, **kwargs), x, dy)[0]


def agree(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert ours.stride() == theirs.stride()


@pytest.mark.parametrize(("args", "kwargs"), [*SHORT, *LONG], ids=str)
def test_maxima_are_torchs(args, kwargs):
    for x, last in zip(images(), (False, True), strict=True):
        y = F.max_pool2d(x, *args, **kwargs)
        dy = torch.randn_like(y)
        theirs = gradient(F.max_pool2d, x, dy, *args, **kwargs)
        for dtype in (torch.int64, torch.int8):
            y, index = max_pool2d(x, *args, **kwargs, index=dtype)
            agree(max_pool2d_backward(dy, index, x.shape, *args, **kwargs, channels_last=last), theirs)
            reference = max_pool2d_backward.reference(dy, index, x.shape, *args, **kwargs, channels_last=last)
            agree(reference, theirs)
            agree(max_pool2d_pick(x, index, *args, **kwargs), y)
            agree(max_pool2d_pick.reference(x, index, *args, **kwargs), y)


@pytest.mark.parametrize(("args", "kwargs"), [*SHORT[:3], LONG[0]], ids=str)
def test_means_are_torchs(args, kwargs):
    for x, last in zip(images(), (False, True), strict=True):
        dy = torch.randn_like(F.avg_pool2d(x, *args, **kwargs))
        for more in ({}, {"count_include_pad": False}, {"divisor_override": 5}):
            theirs = gradient(partial(F.avg_pool2d, **more), x, dy, *args, **kwargs)
            agree(avg_pool2d_backward(dy, x.shape, *args, **kwargs, **more, channels_last=last), theirs)


@pytest.mark.parametrize("output_size", OUTPUTS[:-1], ids=str)
def test_adaptive_is_torchs(output_size):
    for x, last in zip(images(), (False, True), strict=True):
        dy = torch.randn_like(F.adaptive_avg_pool2d(x, output_size))
        theirs = gradient(F.adaptive_avg_pool2d, x, dy, output_size)
        torch.testing.assert_close(adaptive_avg_pool2d_backward(dy, x.shape, channels_last=last), theirs)
        theirs = gradient(F.adaptive_max_pool2d, x, dy, output_size)
        y, index = adaptive_max_pool2d(x, output_size, index=torch.int32)
        torch.testing.assert_close(adaptive_max_pool2d_backward(dy, index, x.shape, channels_last=last), theirs)
        assert torch.equal(max_pool2d_pick(x, index), y)


def test_no_windows_give_no_gradient():
    dy, index, shape = torch.ones(2, 3, 0, 4), torch.ones(2, 3, 0, 4, dtype=torch.int32), (2, 3, 5, 8)
    assert torch.equal(adaptive_avg_pool2d_backward(dy, shape), torch.zeros(shape))
    assert torch.equal(adaptive_max_pool2d_backward(dy, index, shape), torch.zeros(shape))


def test_gradients_of_several_windows_add_up():
    x = torch.zeros(1, 1, 5, 40)
    x[..., 2, 20] = 1
    _, index = max_pool2d(x, 3, 1, 1, index=torch.int8)
    dx = max_pool2d_backward(torch.ones(1, 1, 5, 40), index, x.shape, 3, 1, 1)
    assert dx[0, 0, 2, 20] == 9 and dx.sum() == 200


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_what_does_not_fit(backend):
    dy, index, size = torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4, dtype=torch.int8), (2, 3, 8, 8)
    with use(backend):
        with pytest.raises(
            ShapeError, match=r"max_pool2d_backward: dy is \(2, 3, 4, 4\); for x of .* it is \(2, 3, 2, 2\)"
        ):
            max_pool2d_backward(dy, index, size, 4)
        with pytest.raises(ShapeError, match=r"max_pool2d_backward: index is \(2, 3, 4, 3\) and dy \(2, 3, 4, 4\)"):
            max_pool2d_backward(dy, index[..., 1:], size, 2)
        with pytest.raises(ShapeError, match=r"avg_pool2d_backward: dy is \(2, 3, 4, 4\)"):
            avg_pool2d_backward(dy, (2, 3, 9, 10), 2)
        for op, args in ((adaptive_avg_pool2d_backward, (dy,)), (adaptive_max_pool2d_backward, (dy, index))):
            with pytest.raises(ShapeError, match=rf"{op.name}: dy is \(2, 3, 4, 4\); for x of \(3, 3, 8, 8\)"):
                op(*args, (3, 3, 8, 8))
        with pytest.raises(ShapeError, match=r"max_pool2d_pick: index is \(2, 3, 4, 4\) and x is \(2, 3, 9, 10\)"):
            max_pool2d_pick(torch.ones(2, 3, 9, 10), index, 2)


def test_what_is_said_to_lie_outside_of_the_plane_is_passed_over():
    index = torch.tensor([-1, 35], dtype=torch.int32).view(1, 1, 1, 2)
    assert not adaptive_max_pool2d_backward(torch.ones(1, 1, 1, 2), index, (1, 1, 5, 7)).any()
    taps = torch.tensor([-1, 36], dtype=torch.int32).view(1, 1, 1, 2)
    assert not max_pool2d_backward(torch.ones(1, 1, 1, 2), taps, (1, 1, 6, 7), 6, 1).any()
