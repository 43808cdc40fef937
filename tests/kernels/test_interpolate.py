"""interpolate and its gradient: torch's elements for every size, any layout, each mode and rank, errors."""

import random

import pytest
import torch

from tritonnet.errors import DtypeError, ShapeError
from tritonnet.kernels import interpolate, interpolate_backward, use
from tritonnet.kernels.interpolate import interpolate_backward_reference, interpolate_reference
from tritonnet.testing import check

F = torch.nn.functional
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def resized(s):
    return (2 * s["H"], s["W"] * 3 // 2)


@pytest.mark.parametrize("mode, dtypes", [("nearest", FLOATS[:2]), ("nearest-exact", FLOATS[:1]), ("linear", FLOATS)])
def test_interpolate(mode, dtypes):
    check(
        lambda x, size, **options: interpolate(x, size, mode, **options),
        lambda x, size, **options: interpolate_reference(x, size, mode, **options),
        {"x": ("N", 3, "H", "W"), "size": lambda s, _: resized(s)},
        dims={"N": [0, 2], "H": [4, 9], "W": [3, 70]},
        dtypes=dtypes,
        hyper=[{"align_corners": True}] if mode == "linear" else [],
        layouts=("contiguous", "transposed", "sliced", "expanded", "channels_last"),
    )


@pytest.mark.parametrize("mode, dtypes", [("nearest", FLOATS[:3:2]), ("nearest-exact", FLOATS[:1]), ("linear", FLOATS)])
def test_interpolate_backward(mode, dtypes):
    check(
        lambda dy, shape, **options: interpolate_backward(dy, shape, mode, **options),
        lambda dy, shape, **options: interpolate_backward_reference(dy, shape, mode, **options),
        {"dy": ("N", 3, "P", "Q"), "shape": lambda s, _: (s["N"], 3, s["H"], s["W"])},
        dims={
            "N": [0, 2],
            "H": [4, 9],
            "W": [3, 70],
            "P": lambda s: resized(s)[0],
            "Q": lambda s: resized(s)[1],
        },
        dtypes=dtypes,
        hyper=[{"align_corners": True}] if mode == "linear" else [],
        layouts=("contiguous", "sliced", "channels_last"),
    )


def cases(count):
    rng = random.Random(0)
    for _ in range(count):
        n = rng.randint(1, 250)
        out = rng.choice([rng.randint(1, 800), 2 * n, 3 * n, max(n // 2, 1), n])
        factor = rng.choice([None, 0.1, 0.3, 0.7, 1.1, 1.3, 1.7, 2.0, 2.2, 2.7, 3.0, 3.3, rng.uniform(0.2, 4)])
        out = out if factor is None else int(n * factor)
        if out:
            yield n, out, factor


@pytest.mark.parametrize("dtype", FLOATS[:3], ids=str)
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_the_elements_that_are_read_are_torchs(mode, dtype):
    # Of float64 tensors torch reads others, by memory format, and for four channels and more those of another scale.
    for n, out, factor in [*cases(200), (10, 10, 1.05), (10, 20, 2.05)]:
        x = torch.arange(n).to(dtype).reshape(1, 1, n)
        given = {"size": out} if factor is None else {"scale_factor": factor}
        y = interpolate(x, (out,), mode, (factor,))
        assert torch.equal(y, F.interpolate(x, **given, mode=mode)), (n, out, factor)


@pytest.mark.parametrize(
    "mode, align", [("nearest", False), ("nearest-exact", False), ("linear", False), ("linear", True)]
)
def test_the_gradient_is_the_transpose(mode, align):
    for n, out, factor in cases(40):
        options = (mode, (factor,), align)
        x, dy = torch.randn(1, 2, n, dtype=torch.float64), torch.randn(1, 2, out, dtype=torch.float64)
        y, dx = interpolate(x, (out,), *options), interpolate_backward(dy, x.shape, *options)
        torch.testing.assert_close((y * dy).sum(-1), (x * dx).sum(-1), msg=lambda m, c=(n, out, factor): f"{c}: {m}")


def test_sizes_whose_readers_are_not_counted():
    x = torch.randn(1, 1, 30_000, dtype=torch.float64)
    for mode, factor in (("linear", 2.3), ("nearest-exact", 2.7)):
        out = int(30_000 * factor)
        y = interpolate(x, (out,), mode, (factor,))
        dx = interpolate_backward(torch.ones_like(y), x.shape, mode, (factor,))
        torch.testing.assert_close(y.sum(), (x * dx).sum())
    y = interpolate(x[..., :1], (70_000,), "linear", None, True)
    assert (y == x[..., 0]).all()
    assert interpolate_backward(torch.ones_like(y), (1, 1, 1), "linear", None, True).item() == 70_000


NAMES = {3: "linear", 4: "bilinear", 5: "trilinear"}
SHAPES = [
    ((2, 3, 9), (20,)),
    ((1, 2, 7, 1), (1, 6)),
    ((2, 2, 3, 4, 5), (6, 3, 11)),
    ((1, 2, 2, 3), (40, 31)),
]


@pytest.mark.parametrize("shape, size", SHAPES, ids=str)
def test_torchs_values(shape, size):
    for mode, align in (("nearest", None), ("nearest-exact", None), ("linear", False), ("linear", True)):
        dtype = torch.float64 if mode == "linear" else torch.float32
        x = torch.randn(shape, dtype=dtype, requires_grad=True)
        expected = F.interpolate(x, size, mode=NAMES[len(shape)] if mode == "linear" else mode, align_corners=align)
        options = (mode, None, bool(align))
        torch.testing.assert_close(interpolate(x.detach(), size, *options), expected)
        dy = torch.randn(expected.shape, dtype=dtype)
        torch.testing.assert_close(interpolate_backward(dy, shape, *options), torch.autograd.grad(expected, x, dy)[0])


def test_formats():
    x = torch.randn(2, 4, 6, 5)
    for view in (x.to(memory_format=torch.channels_last), x.transpose(2, 3), x[:, ::2, 1:]):
        for mode in ("nearest", "bilinear"):
            y = interpolate(view, (9, 11), mode.removeprefix("bi"))
            expected = F.interpolate(view, (9, 11), mode=mode)
            torch.testing.assert_close(y, expected)
            assert y.stride() == expected.stride()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool], ids=str)
def test_integers(dtype):
    x = torch.randint(0, 2, (1, 2, 3, 4)).to(dtype)
    expected = F.interpolate(x.float(), (5, 7)).to(dtype)
    assert torch.equal(interpolate(x, (5, 7)), expected)
    assert torch.equal(interpolate_reference(x, (5, 7)), expected)
    with pytest.raises(DtypeError, match="mode 'linear' takes floating-point numbers"):
        interpolate(x, (5, 7), "linear")


def test_elements_that_are_not_finite():
    x = torch.tensor([[[float("nan"), 1.0, float("inf"), -2.0]]])
    for mode in ("nearest", "linear"):
        for size in (7, 8):
            torch.testing.assert_close(
                interpolate(x, (size,), mode), F.interpolate(x, size, mode=mode), equal_nan=True, rtol=0, atol=1e-6
            )
    dx = interpolate_backward(torch.tensor([[[float("inf"), 1.0, 2.0, 3.0, 4.0, 5.0]]]), (1, 1, 3))
    assert dx.tolist() == [[[float("inf"), 5, 9]]]


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_errors(backend):
    x = torch.ones(1, 2, 3, 4)
    with use(backend):
        with pytest.raises(
            NotImplementedError, match="interpolate: mode is 'cubic'; it is one of 'nearest', 'nearest-exact'"
        ):
            interpolate(x, (3, 4), "cubic")
        with pytest.raises(ShapeError, match=r"interpolate: x is \(1, 2, 3, 4\) and size \(3,\); x is \[N, C, ...\]"):
            interpolate(x, (3,))
        with pytest.raises(ShapeError, match=r"x is \(2, 4\) and size \(\)"):
            interpolate(x[0, 0, :2], ())
        with pytest.raises(ShapeError, match=r"size \(0, 4\); only the batch may be empty"):
            interpolate(x, (0, 4))
        with pytest.raises(ShapeError, match=r"x is \(1, 2, 0, 4\) .* only the batch may be empty"):
            interpolate(x[:, :, :0], (3, 4))
        with pytest.raises(ShapeError, match=r"interpolate_backward: dy is \(1, 2, 3, 4\), which no x \(1, 3, 3, 4\)"):
            interpolate_backward(x, (1, 3, 3, 4))


def test_a_gradient_that_is_too_long():
    with pytest.raises(ShapeError, match="interpolate_backward: 3 elements from 4194305; it takes up to 4194304"):
        interpolate_backward(torch.ones(1).expand(1, 1, 2**22 + 1), (1, 1, 3))
