"""column_sum: values in every size, dtype and layout; more stages than one, 64-bit offsets, errors."""

import importlib

import pytest
import torch

from tritonnet.errors import DtypeError, ShapeError
from tritonnet.kernels import _tune, column_sum
from tritonnet.kernels.column_sum import column_sum_reference, pick_tile
from tritonnet.testing import check

source = importlib.import_module("tritonnet.kernels.column_sum")

GPU = _tune.Target("gpu", "no such gpu", 132, 232448)


def test_column_sum():
    check(column_sum, column_sum_reference, {"x": ("M", "N")}, dims={"M": [0, 1, 2, 7, 129, 3000], "N": [0, 1, 5, 300]})


@pytest.mark.parametrize("shape", [("Y", "M", "N"), ("X", "Y", "M", "N"), ("W", "X", "Y", "M", "N")], ids=len)
def test_leading_dimensions(shape):
    sizes = {"W": [2], "X": [3], "Y": [0, 1, 4], "M": [1, 5], "N": [6]}
    check(column_sum, column_sum_reference, {"x": shape}, dims={name: sizes[name] for name in shape})


def test_channels_of_an_image():
    x = torch.randn(4, 3, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(column_sum(x.movedim(1, -1)), x.sum((0, 2, 3)))


def test_many_rows_keep_a_small_error():
    # One after the other, these additions lose three digits: all are rounded the same way. In parts no element takes
    # part in more than 300 additions.
    x = torch.full((200_000, 3), 0.1)
    torch.testing.assert_close(column_sum(x).double(), x.double().sum(0), rtol=300 * 2.0**-24, atol=0)


def test_out_dtype():
    x = torch.full((3000, 2), 1.0, dtype=torch.bfloat16)
    assert column_sum(x, out_dtype=torch.float32).tolist() == [3000.0, 3000.0]


@pytest.mark.parametrize("strides", [((1 << 30) + 8, 1), (1, (1 << 30) + 8)])
def test_offsets_beyond_32_bits(strides):
    # Memory that is never touched is never there: only the pages under a few elements are.
    x = torch.empty_strided((4, 4), strides, dtype=torch.float16)
    values = torch.randn(4, 4, dtype=torch.float16)
    x.copy_(values)
    torch.testing.assert_close(column_sum(x), values.sum(0))


def test_pick_tile_does_not_depend_on_the_number_of_threads():
    for axis in (0, 1):
        few, many = (
            pick_tile(100_000, 10, 1, axis, torch.float32, _tune.Target("cpu", "no such processor", units, 1 << 19))
            for units in (1, 64)
        )
        assert few == many
        assert few.ROWS % few.BLOCK_M == 0


def test_errors():
    with pytest.raises(ShapeError, match=r"column_sum: x is \(3,\); it needs rows and columns"):
        column_sum(torch.ones(3))
    with pytest.raises(DtypeError, match="column_sum: x is int64"):
        column_sum(torch.ones(3, 3, dtype=torch.int64))
