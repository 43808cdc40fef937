"""Pooling: values and places in every dtype, size and layout; equals, NaN and -inf; geometry, tiles, errors."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from tritonnet.errors import DtypeError, ShapeError
from tritonnet.kernels import _tune, adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, max_pool2d, use
from tritonnet.kernels.pool2d.geometry import Axis, adaptive_windows, windows
from tritonnet.kernels.pool2d.lines import LineTile, pick_line_tile
from tritonnet.kernels.pool2d.plan import Tile, index_dtype, is_short, pick_tile
from tritonnet.testing import check

CPU = _tune.Target("cpu", "no such processor", 2, 512 << 10)
GPU = _tune.Target("gpu", "no such gpu", 132, 232448)
INF, NAN = float("inf"), float("nan")
IMAGE = {"x": ("N", "C", "H", "W")}
SHORT = [
    ((2,), {}),
    ((3, 2, 1), {}),
    ((3, 2, 1), {"ceil_mode": True}),
    (((3, 2), (2, 1), (1, 0), (1, 2)), {}),
    (((2, 4), 3, (1, 2), 2), {"ceil_mode": True}),
    ((1, 3), {}),
]
LONG = [((7, 3, 2), {}), (((9, 5), (1, 4), (4, 2)), {}), (((4, 9), 2, (2, 3), (2, 1)), {"ceil_mode": True})]
OUTPUTS = [1, 2, 5, (3, 7), (None, 4), (20, 3), (13, 15), 0]


def images(dtype=torch.float64):
    x = torch.randn(2, 3, 13, 15).to(dtype)
    yield x
    yield x.to(memory_format=torch.channels_last)


def same(ours, theirs):
    assert torch.equal(ours, theirs)
    assert ours.stride() == theirs.stride()


def test_max_pool2d():
    pool, reference = (partial(one, kernel_size=3, stride=2, padding=1) for one in (max_pool2d, max_pool2d.reference))
    dims = {"N": [0, 1, 2], "C": [1, 3], "H": [7, 9], "W": [5, 35]}
    check(pool, reference, IMAGE, dims=dims, hyper=[{"index": torch.int64}, {"kernel_size": (7, 5), "padding": 0}])


def test_avg_pool2d():
    pool, reference = (partial(one, kernel_size=3, stride=2, padding=1) for one in (avg_pool2d, avg_pool2d.reference))
    dims = {"N": [0, 1, 2], "C": [1, 3], "H": [7, 9], "W": [5, 35]}
    hyper = [{"count_include_pad": False}, {"kernel_size": (7, 5), "padding": 0, "divisor_override": -7}]
    check(pool, reference, IMAGE, dims=dims, hyper=hyper)


@pytest.mark.parametrize("op", [adaptive_max_pool2d, adaptive_avg_pool2d], ids=str)
def test_adaptive(op):
    pool, reference = (partial(one, output_size=(2, 3)) for one in (op, op.reference))
    check(pool, reference, IMAGE, dims={"N": [0, 1, 2], "C": [3], "H": [1, 7], "W": [2, 17]})


def test_a_mean_of_whole_planes():
    pool, reference = (partial(one, output_size=1) for one in (adaptive_avg_pool2d, adaptive_avg_pool2d.reference))
    check(pool, reference, IMAGE, dims={"N": [0, 3], "C": [1, 5], "H": [7, 40], "W": [7, 40]}, dtypes=[torch.float32])


@pytest.mark.parametrize(("args", "kwargs"), [*SHORT, *LONG], ids=str)
def test_maxima_are_torchs(args, kwargs):
    for x in images():
        y, index = max_pool2d(x, *args, **kwargs, index=torch.int64)
        their_y, their_index = F.max_pool2d(x, *args, **kwargs, return_indices=True)
        same(y, their_y)
        same(index, their_index)
        _, taps = max_pool2d(x, *args, **kwargs, index=torch.int16)
        same(taps, max_pool2d.reference(x, *args, **kwargs, index=torch.int16)[1])


@pytest.mark.parametrize(("args", "kwargs"), [*SHORT[:3], LONG[0]], ids=str)
def test_means_are_torchs(args, kwargs):
    for x in images():
        for more in ({}, {"count_include_pad": False}, {"divisor_override": 5}):
            ours, theirs = (one(x, *args, **kwargs, **more) for one in (avg_pool2d, F.avg_pool2d))
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
            assert ours.stride() == theirs.stride()


@pytest.mark.parametrize("output_size", OUTPUTS, ids=str)
def test_adaptive_is_torchs(output_size):
    for x in images():
        y, index = adaptive_max_pool2d(x, output_size, index=torch.int64)
        their_y, their_index = F.adaptive_max_pool2d(x, output_size, return_indices=True)
        same(y, their_y)
        same(index, their_index)
        ours, theirs = adaptive_avg_pool2d(x, output_size), F.adaptive_avg_pool2d(x, output_size)
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        assert ours.stride() == theirs.stride()


def test_without_a_batch_and_from_any_view():
    base = torch.randn(4, 6, 12, 14)
    for x in (
        base[0],
        base[:, ::2, 1:, ::3],
        base.permute(3, 2, 1, 0),
        base[:1].expand(3, 6, 12, 14),
        base[0, :, :, :3],
    ):
        same(max_pool2d(x, 3, 2, 1)[0], F.max_pool2d(x, 3, 2, 1))
        same(max_pool2d(x, 2, [], index=torch.int64)[1], F.max_pool2d(x, 2, [], return_indices=True)[1])
        torch.testing.assert_close(avg_pool2d(x, [2]), F.avg_pool2d(x, [2]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("columns", [6, 40])
def test_equals_infinities_and_nan(dtype, columns):
    x = torch.randint(-1, 2, (1, 2, 12, columns)).to(dtype)
    x[:, :, :5] = -INF
    x[0, 0, 6, 2:4], x[0, 1, 9:11, 4], x[0, 0, 11, 0] = NAN, NAN, INF
    for y in (x, x.to(memory_format=torch.channels_last)):
        for args in ((3, 2, 1), (3, 1), ((7, 6), 1, 3)):
            ours, theirs = max_pool2d(y, *args, index=torch.int64), F.max_pool2d(y, *args, return_indices=True)
            assert all(torch.equal(a.nan_to_num(99), b.nan_to_num(99)) for a, b in zip(ours, theirs, strict=True))
        ours, theirs = adaptive_max_pool2d(y, (5, 1), index=torch.int64), F.adaptive_max_pool2d(y, (5, 1), True)
        assert all(torch.equal(a.nan_to_num(99), b.nan_to_num(99)) for a, b in zip(ours, theirs, strict=True))
        assert torch.equal(avg_pool2d(y, 2).isnan(), F.avg_pool2d(y, 2).isnan())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_integers(dtype):
    low, high = torch.iinfo(dtype).min, torch.iinfo(dtype).max
    x = torch.randint(0, 3, (1, 2, 9, 9)).to(dtype)
    x[:, :, :4], x[0, 0, 7, 5] = low, high
    for args in ((3, 2, 1), ((7, 6), 1, 3)):
        ours, theirs = max_pool2d(x, *args, index=torch.int64), F.max_pool2d(x, *args, return_indices=True)
        assert all(map(torch.equal, ours, theirs))
    if dtype == torch.int64:
        x = torch.randint(-99, 99, (1, 2, 9, 9))
        for args in ((3, 2, 1), (7, 3, 3, True, False)):
            assert torch.equal(avg_pool2d(x, *args), F.avg_pool2d(x, *args))
            assert torch.equal(avg_pool2d.reference(x, *args), F.avg_pool2d(x, *args))
    else:
        with pytest.raises(DtypeError, match=f"avg_pool2d: x is {str(dtype)[6:]}; it takes float32, .*, int64"):
            avg_pool2d(x, 2)


def test_what_windows_are():
    over = windows("pool", (2, 3, 13, 16), (3, 2), padding=(1, 0), dilation=(1, 3), ceil_mode=True)
    assert over.h == Axis(inp=13, out=5, taps=3, stride=3, pad=1)
    assert over.w == Axis(inp=16, out=7, taps=2, stride=2, pad=0, dilation=3)
    assert over.out_like((2, 3, 13, 16)) == over.out_shape == (2, 3, 5, 7)
    assert [over.h.pixels(p) for p in (0, 4)] == [slice(0, 2, 1), slice(11, 13, 1)]
    assert over.h.counts(include_pad=True) == [3, 3, 3, 3, 3] and over.h.counts(include_pad=False) == [2, 3, 3, 3, 2]
    # The last window must not start in the padding behind.
    assert windows("pool", (1, 1, 4, 4), 2, 3, 1, ceil_mode=True).h.out == 2
    assert windows("pool", (1, 1, 5, 5), 1, 5, 0, ceil_mode=True).h.out == 1
    assert adaptive_windows("pool", (3, 12, 9), (4, None)).h == Axis(12, 4, 3, 3, 0)
    assert adaptive_windows("pool", (3, 13, 9), (4, None)).h == Axis(13, 4, 4, 1, 0, adaptive=True)


def test_gpu_tiles_are_filled_along_memory_first():
    assert pick_tile(64, 112, 112, False, GPU) == Tile(1, 4, 128)
    assert pick_tile(64, 14, 14, False, GPU) == Tile(2, 16, 16)
    assert pick_tile(64, 14, 14, True, GPU) == Tile(64, 1, 8)
    assert pick_tile(3, 7, 7, True, GPU) == Tile(4, 8, 8)


def test_cpu_tiles_depend_on_the_layout_alone():
    assert pick_tile(64, 28, 28, False, CPU) == pick_tile(1, 1, 9, False, CPU)
    assert pick_tile(64, 28, 28, True, CPU) == pick_tile(1, 1, 9, True, CPU)


def test_tiles_along_an_axis_are_no_longer_than_it():
    assert pick_line_tile(100, 5000, GPU) == LineTile(2, 256)
    assert pick_line_tile(3, 56, GPU) == LineTile(2, 32)
    assert pick_line_tile(0, 0, GPU) == LineTile(1, 1)
    assert pick_line_tile(5000, 56, CPU) == LineTile(64, 16)
    assert pick_line_tile(5000, 1, CPU) == LineTile(1024, 1)


def test_taps_are_written_out_where_they_are_few():
    assert is_short(windows("pool", (1, 1, 9, 9), 5, 1), False)
    assert not is_short(windows("pool", (1, 1, 9, 9), 6, 1), False)
    assert not is_short(windows("pool", (1, 1, 9, 9), 1, 5), False)


def test_indices_are_bytes_where_bytes_count():
    assert index_dtype(11, torch.device("cuda")) == torch.int8
    assert index_dtype((12, 11), torch.device("cuda")) == torch.int32
    assert index_dtype((2, 2), torch.device("cpu")) == torch.int32


@pytest.mark.parametrize("backend", ["triton", "reference"])
@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((torch.ones(6, 6), 2), r"x is \(6, 6\); it takes \[N, C, H, W\] or \[C, H, W\]"),
        ((torch.ones(2, 0, 6, 6), 2), r"x is \(2, 0, 6, 6\); no dimension but the batch may be empty"),
        ((torch.ones(0, 6, 6), 2), r"x is \(0, 6, 6\); no dimension but the batch"),
        ((torch.ones(1, 6, 6), 0), "kernel_size is 0; at least 1"),
        ((torch.ones(1, 6, 6), 2, 0), "stride is 0; at least 1"),
        ((torch.ones(1, 6, 6), 2, 1, -1), "padding is -1; at least 0"),
        ((torch.ones(1, 6, 6), 3, 1, 2), "padding is 2 and kernel_size 3; at most half"),
        ((torch.ones(1, 6, 6), (2, 2, 2)), r"kernel_size is \(2, 2, 2\); it takes an int or two"),
        ((torch.ones(1, 6, 6), 2.0), "kernel_size is 2.0; it takes an int or two"),
        ((torch.ones(1, 6, 6), (7, 1)), r"x is \(1, 6, 6\); it is too small for one window of kernel_size \(7, 1\)"),
    ],
    ids=str,
)
def test_what_does_not_fit(backend, args, message):
    for op in (max_pool2d, avg_pool2d):
        with use(backend), pytest.raises(ShapeError, match=f"{op.name}: {message}"):
            op(*args)


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_what_else_does_not_fit(backend):
    x = torch.ones(1, 6, 6)
    with use(backend):
        with pytest.raises(ShapeError, match="max_pool2d: dilation is 0; at least 1"):
            max_pool2d(x, 2, dilation=0)
        with pytest.raises(ShapeError, match="avg_pool2d: divisor_override is 0"):
            avg_pool2d(x, 2, divisor_override=0)
        with pytest.raises(DtypeError, match="max_pool2d: x is bool; it takes float32"):
            max_pool2d(x.bool(), 2)
        with pytest.raises(DtypeError, match="max_pool2d: index is uint8; it takes signed integers"):
            max_pool2d(x, 2, index=torch.uint8)
        with pytest.raises(DtypeError, match="max_pool2d: index is int8, which cannot number 144 places"):
            max_pool2d(torch.ones(1, 12, 12), 12, index=torch.int8)
        for op in (adaptive_max_pool2d, adaptive_avg_pool2d):
            for size in (-1, (2,), (2, 2, 2), (2, 1.5)):
                with pytest.raises(ShapeError, match=f"{op.name}: output_size is .*; it takes a size or two"):
                    op(x, size)
            with pytest.raises(ShapeError, match=rf"{op.name}: x is \(3, 0, 6\); height and width must not be empty"):
                op(torch.ones(3, 0, 6), 1)
            with pytest.raises(DtypeError, match=f"{op.name}: x is int64; it takes"):
                op(x.long(), 1)
