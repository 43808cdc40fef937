"""pad and its gradient: every mode, crops, any rank and layout, integers, errors."""

import math

import pytest
import torch

from tritonnet.errors import DtypeError, ShapeError
from tritonnet.kernels import _tune, pad, pad_backward, use
from tritonnet.kernels._axes import pick_tile
from tritonnet.kernels.pad import MODES, pad_backward_reference, pad_reference
from tritonnet.testing import check

F = torch.nn.functional


def test_pad():
    check(
        lambda x, pads=(2, 1, -1, 3), **options: pad(x, pads, **options),
        lambda x, pads=(2, 1, -1, 3), **options: pad_reference(x, pads, **options),
        {"x": ("N", 3, "H", "W")},
        dims={"N": [0, 2], "H": [4, 9], "W": [3, 70]},
        hyper=[{"value": 1.5}, {"mode": "reflect"}, {"mode": "replicate"}, {"mode": "circular", "pads": (2, 3, -1, 2)}],
    )


FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@pytest.mark.parametrize(
    "mode, options",
    [
        ("constant", {"dtypes": FLOATS[:1]}),
        ("reflect", {"layouts": ("contiguous", "transposed", "sliced", "expanded", "channels_last")}),
        ("replicate", {"dtypes": FLOATS[::2], "layouts": ("contiguous", "channels_last")}),
        ("circular", {"dtypes": FLOATS[:1], "layouts": ("contiguous", "sliced")}),
    ],
    ids=MODES,
)
def test_pad_backward(mode, options):
    pads = (2, 1, -1, 3)
    check(
        lambda dy, x: pad_backward(dy, x.shape, pads, mode),
        lambda dy, x: pad_backward_reference(dy, x.shape, pads, mode),
        {"dy": ("N", "C", "P", "Q"), "x": ("N", "C", "H", "W")},
        dims={
            "N": [0, 2],
            "C": [3],
            "H": [5],
            "W": [4, 67],
            "P": lambda s: s["H"] + 2,
            "Q": lambda s: s["W"] + 3,
        },
        **options,
    )


CASES = [
    ((7,), (3, -1), "constant"),
    ((2, 3, 4), (1, 2, 0, 0, -1, 3), "constant"),
    ((2, 1, 3, 2, 1, 2), (1, 0, 0, 2, 1, 1, -1, 0, 2, 1, 0, 1), "constant"),
    ((3, 0, 2), (1, 1, 2, 0), "constant"),
    ((3, 5), (-2, -3), "constant"),
    ((3, 8), (7, 5), "reflect"),
    ((1, 3, 8), (5, -5), "reflect"),
    ((2, 4, 6), (3, 0, 0, 2), "reflect"),
    ((1, 2, 3, 4, 5), (1, 4, 3, -1, 0, 2), "reflect"),
    ((1, 1), (4, 3), "replicate"),
    ((2, 3, 5), (-4, 3, 0, 2), "replicate"),
    ((2, 3, 2, 4, 3), (1, 2, 0, 5, 3, 0), "replicate"),
    ((2, 5), (5, 5), "circular"),
    ((2, 3, 6, 5), (5, 0, -1, 1), "circular"),
    ((2, 3, 2, 4, 3), (1, 3, 2, 1, 2, 2), "circular"),
    ((2, 4, 4), (0, 0), "replicate"),
]


@pytest.mark.parametrize("shape, pads, mode", CASES, ids=str)
def test_torchs_elements(shape, pads, mode):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    expected = F.pad(x, pads, mode)
    assert torch.equal(pad(x.detach(), pads, mode), expected)
    dy = torch.randn(expected.shape, dtype=torch.float64)
    (dx,) = torch.autograd.grad(expected, x, dy)
    torch.testing.assert_close(pad_backward(dy, shape, pads, mode), dx)
    torch.testing.assert_close(pad_backward_reference(dy, shape, pads, mode), dx)


def test_what_was_cut_off_has_no_gradient():
    # torch leaves the gradient uninitialised where nothing is left of the output.
    assert not pad_backward(torch.ones(2, 0, 9, 8), (2, 3, 6, 4), (1, 3, 3, 0, -3, 0), "reflect").any()
    assert not pad_backward(torch.ones(3, 0), (3, 5), (-2, -3)).any()


@pytest.mark.parametrize("mode", MODES)
def test_formats_and_views(mode):
    x = torch.randn(2, 4, 6, 5)
    for view in (x.to(memory_format=torch.channels_last), x.transpose(2, 3), x[:, ::2, 1:], x[:1].expand(3, 4, 6, 5)):
        y = pad(view, (1, 2, 2, 1), mode)
        assert torch.equal(y, F.pad(view, (1, 2, 2, 1), mode))
        if mode != "circular":  # of which torch makes contiguous tensors alone
            assert y.stride() == F.pad(view, (1, 2, 2, 1), mode).stride()
    x = torch.randn(1, 2, 3, 4, 5).to(memory_format=torch.channels_last_3d)
    y = pad(x, (1,) * 6, mode)
    assert torch.equal(y, F.pad(x, (1,) * 6, mode)) and y.is_contiguous(memory_format=torch.channels_last_3d)


def test_more_axes_than_a_launch_walks():
    x = torch.randn(3, 2, 3, 2, 3, 2, 3)[::2, :, 1:, :, 1:, :, 1:].transpose(1, 4)
    assert torch.equal(pad(x, (1, 0, 2, 1)), F.pad(x, (1, 0, 2, 1)))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool], ids=str)
def test_integers(dtype):
    x = torch.randint(0, 2, (3, 4)).to(dtype)
    for value in (0, 1, 1.5):
        expected = F.pad(x, (1, 2), value=value)
        for backend in ("triton", "reference"):
            with use(backend):
                assert torch.equal(pad(x, (1, 2), value=value), expected)
    assert torch.equal(pad(x, (1, 2), "circular"), F.pad(x, (1, 2), "circular"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 0.1])
def test_values(value, dtype):
    x = torch.zeros(2, dtype=dtype)
    y, expected = pad(x, (1, 1), value=value), F.pad(x, (1, 1), value=value)
    torch.testing.assert_close(y, expected, equal_nan=True, rtol=0, atol=0)


def test_elements_that_are_not_finite():
    x = torch.tensor([[math.nan, 1.0, math.inf, -math.inf]])
    for mode in MODES:
        y, expected = pad(x, (2, 3), mode), F.pad(x, (2, 3), mode)
        torch.testing.assert_close(y, expected, equal_nan=True)
    dy = torch.tensor([[math.inf, 2.0, 3.0, 4.0, math.nan, 6.0]])
    assert pad_backward(dy, (1, 4), (1, 1), "replicate").tolist()[0][:3] == [math.inf, 3, 4]


@pytest.mark.parametrize("backend", ["triton", "reference"])
@pytest.mark.parametrize(
    "shape, pads, mode, message",
    [
        ((2, 3), (1,), "constant", r"1 pads for x \(2, 3\); there are two for each"),
        ((2,), (1, 1, 1, 1), "constant", r"4 pads for x \(2,\)"),
        ((2, 3), (-2, -2), "constant", r"pads \(-2, -2\) of dimension 1 of x \(2, 3\) leave nothing"),
        ((2, 3), (-4, 3), "circular", "leave nothing"),
        ((5,), (1, 1), "reflect", r"2 pads for x \(5,\); mode 'reflect' pads 1 to 3 dimensions behind"),
        ((2, 3, 4, 5), (1, 1), "replicate", r"2 pads for x \(2, 3, 4, 5\)"),
        ((2, 3, 4, 5), (), "replicate", "0 pads for x"),
        ((2, 5), (5, 1), "reflect", r"pads \(5, 1\) of dimension 1 of x \(2, 5\); to reflect, they must be smaller"),
        ((2, 5), (1, 6), "circular", "wrap around more than once"),
        ((2, 0), (1, 1), "reflect", "only the batch may be empty"),
        ((2, 5), (-3, -2), "replicate", "leave nothing"),
    ],
    ids=str,
)
def test_pads_that_do_not_fit(shape, pads, mode, message, backend):
    with use(backend):
        with pytest.raises(ShapeError, match=f"pad: .*{message}"):
            pad(torch.ones(shape), pads, mode)
        with pytest.raises(ShapeError, match=f"pad_backward: .*{message}"):
            pad_backward(torch.ones(shape), shape, pads, mode)


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_errors(backend):
    with use(backend):
        with pytest.raises(NotImplementedError, match="pad: mode is 'mirror'; it is one of 'constant', 'reflect'"):
            pad(torch.ones(2, 3), (1, 1), "mirror")
        with pytest.raises(DtypeError, match="pad: got complex64; it takes real numbers"):
            pad(torch.ones(2, dtype=torch.complex64), (1, 1))
        with pytest.raises(ShapeError, match="pad: value is 1000000.0; float16 ends at 65504"):
            pad(torch.ones(2, dtype=torch.float16), (1, 1), value=1e6)
        with pytest.raises(ShapeError, match=r"pad: value is -1; for uint8 it lies in \[0, 255\]"):
            pad(torch.ones(2, dtype=torch.uint8), (1, 1), value=-1)
        with pytest.raises(ShapeError, match="pad: value is inf; for int64"):
            pad(torch.ones(2, dtype=torch.int64), (1, 1), value=math.inf)
        with pytest.raises(ShapeError, match=r"dy is \(2, 4\); for x \(2, 3\) and pads \(1, 1\) it must be \(2, 5\)"):
            pad_backward(torch.ones(2, 4), (2, 3), (1, 1), "reflect")


def test_tiles_are_whole_rows_where_rows_are_short():
    cpu, gpu = _tune.Target("cpu", "no such processor", 2, 512 << 10), _tune.Target("gpu", "no such gpu", 132, 232448)
    found = [(t.B0, t.B1, t.B2) for n in ((30, 30, 512), (1, 1, 1), (5000, 3, 2)) for t in [pick_tile(*n, gpu)]]
    assert found == [(32, 16, 1), (1, 1, 1), (256, 2, 1)]
    assert pick_tile(30, 30, 512, cpu) == pick_tile(1, 5000, 3, cpu)
