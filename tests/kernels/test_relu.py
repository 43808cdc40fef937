"""relu and its gradient: values, NaN, signs of zero, memory layouts, versions, errors."""

import importlib
import math
import re

import pytest
import torch

from tritonnet.errors import DtypeError, ShapeError
from tritonnet.kernels import _tune, relu, relu_, relu_backward, use
from tritonnet.kernels._strides import merge, pick_rows_tile
from tritonnet.kernels.relu import pick_tile, relu_backward_reference, relu_inplace_reference, relu_reference
from tritonnet.testing import check

source = importlib.import_module("tritonnet.kernels.relu")

CPU = _tune.Target("cpu", "no such processor", 2, 512 << 10)
GPU = _tune.Target("gpu", "no such gpu", 132, 232448)
BLOCK = pick_tile(CPU).BLOCK


def test_relu():
    check(relu, relu_reference, {"x": ("M", "N")}, dims={"M": [0, 1, 3], "N": [0, 1, 65, 1023, 1025]})


def test_relu_across_blocks():
    check(relu, relu_reference, {"x": ("N",)}, dims={"N": [2, BLOCK - 1, BLOCK, BLOCK + 1]}, dtypes=[torch.float32])


def test_relu_in_place():
    check(relu_, relu_inplace_reference, {"x": ("M", "N")}, dims={"M": [0, 1, 3], "N": [1, 64, 1025]})


def test_relu_backward():
    check(
        relu_backward,
        relu_backward_reference,
        {"dy": ("M", "N"), "y": ("M", "N")},
        dims={"M": [0, 1, 3], "N": [1, 64, 1025]},
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_what_is_not_positive(dtype):
    x = torch.tensor([math.nan, -math.inf, math.inf, -0.0, 0.0, -1.0, 2.0], dtype=dtype)
    y = relu(x)
    assert y.isnan().tolist() == [True] + [False] * 6
    assert y[1:].tolist() == [0, math.inf, 0, 0, 0, 2]
    assert not y[1:].signbit().any()
    dx = relu_backward(torch.full_like(x, 3), y)
    assert dx.tolist() == [3, 0, 3, 0, 0, 0, 3]


def _views():
    base = torch.randn(6, 5, 7, 9, 4)
    yield base[1:5, 1:3, ::2, ::2, 1:]
    yield base.permute(4, 1, 0, 3, 2)
    yield base[0, 0, 0, :1].expand(8, 4)
    yield base[0, 0, 0, 0, 0]
    yield base[0].to(memory_format=torch.channels_last)
    yield base[:, :3, 1:-1, 1:-1, 1:3]


@pytest.mark.parametrize("x", list(_views()), ids=lambda x: f"{tuple(x.shape)}-{x.stride()}")
def test_any_rank_and_layout(x):
    y = relu(x)
    assert torch.equal(y, torch.relu(x))
    assert y.stride() == torch.relu(x).stride()
    for dy in (torch.randn(x.shape), torch.ones(()).expand(x.shape)):
        dx = relu_backward(dy, y)
        assert torch.equal(dx, torch.where(y > 0, dy, 0))
        assert dx.stride() == y.stride()


def test_in_place_writes_the_view_alone_and_bumps_the_version():
    base = torch.randn(6, 8)
    expected = base.clone()
    torch.relu_(expected[1:4, ::3])
    view = base[1:4, ::3]
    version = base._version
    assert relu_(view) is view
    assert torch.equal(base, expected)
    assert base._version == version + 1


def test_expanded_in_place_is_an_error():
    with pytest.raises(ShapeError, match=r"relu_: x of shape \(2, 3\) and strides \(0, 1\) is expanded"):
        relu_(torch.ones(3).expand(2, 3))


def test_shapes_that_differ():
    with pytest.raises(ShapeError, match=r"relu_backward: dy is \(2,\) and y is \(3,\)"):
        relu_backward(torch.ones(2), torch.ones(3))


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_dtypes_that_differ(backend):
    with use(backend), pytest.raises(DtypeError, match="dy is torch.float64 and y is torch.float32"):
        relu_backward(torch.ones(3, dtype=torch.float64), torch.ones(3))


def test_strides_past_32_bits():
    # A lazily allocated tensor: only two of its pages are ever touched.
    x = torch.empty(2**31 + 8, dtype=torch.float16).as_strided((2, 2), (2**31, 3))
    x.copy_(torch.tensor([[-1.0, 2.0], [3.0, -4.0]]))
    assert relu(x).tolist() == [[0, 2], [3, 0]]
    assert relu_backward(x, x).tolist() == [[0, 2], [3, 0]]
    assert relu_(x).tolist() == [[0, 2], [3, 0]]


def test_merge():
    assert merge((2, 3, 4), (12, 4, 1)) == ([24], [[1]])
    assert merge((2, 3, 4), (12, 4, 1), (24, 4, 1)) == ([2, 12], [[12, 1], [24, 1]])
    assert merge((2, 1, 4), (4, 99, 1)) == ([8], [[1]])
    assert merge((5, 4), (0, 0)) == ([20], [[0]])
    assert merge((), ()) == ([], [[]])


def test_tiles_cover_short_and_long_rows():
    assert [(t.BLOCK_R, t.BLOCK_C) for n in (0, 1, 3, 1024, 5000) for t in [pick_rows_tile(n, GPU)]] == [
        (1024, 1), (1024, 1), (256, 4), (1, 1024), (1, 1024),
    ]  # fmt: skip


@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("kind, loads", [("*fp32", 2), ("*bf16", 1)])
def test_gpu_kernels_load_16_bytes_at_once(compile_for_gpu, kind, loads, capability):
    tile = pick_tile(GPU)
    types = {"x_ptr": kind, "y_ptr": kind, "n": "i32"}
    compiled, spilled = compile_for_gpu(source._relu_kernel, types, {"BLOCK": tile.BLOCK}, capability, tile.num_warps)
    assert spilled == 0
    assert len(re.findall(r"ld\.global\.v4", compiled.asm["ptx"])) == loads
    kernel = source._relu_backward_rows_kernel
    types = {name: kind if "_ptr" in name else "i32" for name in kernel.arg_names if not name.startswith("BLOCK")}
    assert compile_for_gpu(kernel, types, {"BLOCK_R": 4, "BLOCK_C": 256}, capability)[1] == 0
