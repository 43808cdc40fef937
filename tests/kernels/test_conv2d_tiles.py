"""The tiles that are picked for conv2d and its gradients."""

import pytest
import torch

from tritonnet.kernels import _tune
from tritonnet.kernels.conv2d import tiles

CPU = _tune.Target("cpu", "no such processor", 2, 512 << 10)
H100 = _tune.Target("gpu", "no such gpu", 132, 232448)
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@pytest.mark.parametrize("target", [CPU, H100], ids=["cpu", "gpu"])
@pytest.mark.parametrize("op", ["conv2d", "conv2d_grad_weight"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("K, C", [(1, 1), (16, 9), (64, 288), (1000, 2048)])
@pytest.mark.parametrize("flat", [False, True])
def test_tile_is_a_launchable_one(target, op, dtype, K, C, flat):
    tile = tiles.pick_tile(op, 10_000, K, C, flat, dtype, target)
    blocks = (tile.BLOCK_M, tile.BLOCK_K, tile.BLOCK_C)
    least = {"cpu": 8, "gpu": 16}[target.kind]
    assert all(block >= least and block & (block - 1) == 0 for block in blocks)
    assert tile.BLOCK_K < 2 * max(K, least) and tile.BLOCK_C < 2 * max(C, least)
    if target.kind == "gpu":
        operands = (tile.BLOCK_M + tile.BLOCK_K) * tile.BLOCK_C, (tile.BLOCK_K + tile.BLOCK_C) * tile.BLOCK_M
        assert tile.num_stages * operands[op == "conv2d_grad_weight"] * dtype.itemsize <= target.shared


def test_a_measured_tile_is_taken(monkeypatch):
    measured = {"BLOCK_M": 32, "BLOCK_K": 16, "BLOCK_C": 32, "num_warps": 2, "num_stages": 2}
    monkeypatch.setattr(tiles, "measured", lambda *_: measured)
    assert tiles.pick_tile("conv2d", 100, 16, 32, False, torch.float32, CPU) == tiles.Tile(**measured)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("M, K", [(1, 1), (49, 3), (10**6, 512)])
def test_direct_tile_is_no_larger_than_the_sizes_need(M, K, last):
    tile = tiles.pick_direct_tile(M, K, last, H100)
    assert tile.BLOCK_M < 2 * M and tile.BLOCK_K < 2 * K
    assert tile.BLOCK_M * tile.BLOCK_K <= 2048


@pytest.mark.parametrize(
    "M, block, programs", [(0, 128, 1), (1, 128, 1), (8192, 128, 1), (8192, 128, 9), (10**7, 64, 18)]
)
@pytest.mark.parametrize("target", [CPU, H100], ids=["cpu", "gpu"])
def test_split_covers_every_pixel_once(M, block, programs, target):
    split, part = tiles.pick_split(M, block, programs, target)
    assert split >= 1 and part % block == 0
    assert split * part >= M and (split - 1) * part <= max(M - 1, 0)


def test_split_does_not_depend_on_the_number_of_threads():
    more = _tune.Target("cpu", "no such processor", 64, 512 << 10)
    assert tiles.pick_split(8192, 128, 3, CPU) == tiles.pick_split(8192, 128, 3, more)
