"""Dimensions merged, and tiles over rows."""

from tritonnet.kernels import _tune
from tritonnet.kernels._strides import merge, pick_rows_tile

GPU = _tune.Target("gpu", "no such gpu", 132, 232448)


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
