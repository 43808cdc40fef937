"""functional.interpolate: torch's arguments, gradients of two orders, older names, errors."""

import pytest
import torch

from tritonnet import functional
from tritonnet.errors import ShapeError
from tritonnet.functional import interpolate

F = torch.nn.functional


@pytest.mark.parametrize(
    "shape, options",
    [
        ((2, 3, 5), {"size": 8}),
        ((2, 3, 5), {"scale_factor": 2.5, "mode": "nearest-exact"}),
        ((2, 3, 5), {"scale_factor": 1.7, "mode": "linear"}),
        ((1, 3, 4, 5), {"scale_factor": 2}),
        ((1, 3, 4, 5), {"scale_factor": (1.3, 0.6), "mode": "bilinear"}),
        ((1, 3, 4, 5), {"scale_factor": (1.3, 0.6), "mode": "bilinear", "recompute_scale_factor": True}),
        ((1, 3, 4, 5), {"size": (9, 2), "mode": "bilinear", "align_corners": True}),
        ((1, 2, 3, 2, 3), {"scale_factor": 1.9, "mode": "trilinear", "align_corners": False}),
        ((1, 2, 3, 2, 3), {"size": [4, 4, 2]}),
    ],
    ids=str,
)
def test_gradients_of_two_orders(shape, options):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(interpolate(x, **options), F.interpolate(x, **options))
    assert torch.autograd.gradcheck(lambda x: interpolate(x, **options), x)
    assert torch.autograd.gradgradcheck(lambda x: interpolate(x, **options), x)


def test_arguments_are_torchs_in_their_places():
    x = torch.randn(1, 2, 4, 5)
    for args in (((8, 9), None, "bilinear", True), (None, 1.7, "bilinear", False, True), (None, (2.0, 1.5), "nearest")):
        torch.testing.assert_close(interpolate(x, *args), F.interpolate(x, *args))


def test_the_gradient_of_a_sum_is_expanded():
    x = torch.randn(2, 3, 4, 5, requires_grad=True)
    interpolate(x, scale_factor=2, mode="bilinear").sum().backward()
    (expected,) = torch.autograd.grad(F.interpolate(x, scale_factor=2, mode="bilinear").sum(), x)
    torch.testing.assert_close(x.grad, expected)


def test_an_empty_batch():
    x = torch.ones(0, 3, 4, 5, requires_grad=True)
    y = interpolate(x, scale_factor=2)
    y.sum().backward()
    assert y.shape == (0, 3, 8, 10) and x.grad.shape == x.shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_summed_in_float32(dtype):
    x = torch.zeros(1, 1, 1, 1, dtype=dtype, requires_grad=True)
    interpolate(x, (51, 59)).backward(torch.ones(1, 1, 51, 59, dtype=dtype))
    assert x.grad.item() == torch.tensor(3009.0).to(dtype)


def test_older_names():
    x = torch.randn(1, 2, 3, 4)
    for name, args in (
        ("upsample", (None, 2, "bilinear")),
        ("upsample_nearest", (6,)),
        ("upsample_bilinear", (None, 2)),
    ):
        with pytest.warns(UserWarning, match=f"{name} is deprecated; use interpolate") as warned:
            y = getattr(functional, name)(x, *args)
        assert warned[0].filename == __file__
        with pytest.warns(UserWarning):
            torch.testing.assert_close(y, getattr(F, name)(x, *args))


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({}, ShapeError, "size or scale_factor is needed, and only one of them"),
        ({"size": 4, "scale_factor": 2}, ShapeError, "only one of them"),
        ({"size": 4, "align_corners": False}, ShapeError, "align_corners is False; only linear modes take it"),
        ({"size": 4, "recompute_scale_factor": True}, ShapeError, "recompute_scale_factor=True has no meaning"),
        ({"size": (4, 4, 4)}, ShapeError, r"size is \(4, 4, 4\); input \(1, 2, 3, 4\) has 2 of them"),
        ({"scale_factor": (2.0,)}, ShapeError, r"scale_factor is \(2.0,\)"),
        ({"scale_factor": 0.1}, ShapeError, r"size \(0, 0\); only the batch may be empty"),
        ({"size": 4, "mode": "bicubic"}, NotImplementedError, "mode 'bicubic' is not offered"),
        ({"size": 4, "mode": "area"}, NotImplementedError, "mode 'area' is not offered"),
        (
            {"size": 4, "mode": "sinc"},
            NotImplementedError,
            "mode is 'sinc'; it is one of nearest, nearest-exact, linear",
        ),
        ({"size": 4, "mode": "linear"}, NotImplementedError, "mode 'linear' takes 3D input, got 4D"),
        ({"size": 4, "mode": "bilinear", "antialias": True}, NotImplementedError, "antialias=True is not offered"),
    ],
    ids=str,
)
def test_errors(options, error, message):
    with pytest.raises(error, match=f"interpolate: .*{message}"):
        interpolate(torch.ones(1, 2, 3, 4), **options)
    with pytest.raises(NotImplementedError, match="takes 3D, 4D or 5D input, got 2D"):
        interpolate(torch.ones(3, 4), 4)
