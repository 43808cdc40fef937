"""How kernels walk rows: which dimensions merge, in which order, in tiles of what size."""

import itertools

import torch

from tritonnet.kernels import _tune
from tritonnet.kernels._rows import Walk, launches, pick_tile, walks

CPU = _tune.Target("cpu", "no such processor", 2, 512 << 10)
GPU = _tune.Target("gpu", "no such gpu", 132, 232448)


def test_walks():
    assert walks((2, 3), (3, 1)) == [Walk(6, 1, 1, (0,), ((1, 0, 0),))]
    assert walks((), (), ()) == [Walk(1, 1, 1, (0, 0), ((0, 0, 0), (0, 0, 0)))]
    # Few neighbours: the rows that a program has follow the longer dimension.
    assert walks((100, 2), (8, 1)) == [Walk(100, 2, 1, (0,), ((8, 1, 0),))]
    assert walks((20, 30), (1, 20), (30, 1)) == [Walk(20, 30, 1, (0, 0), ((1, 20, 0), (30, 1, 0)))]
    many = walks((2, 3, 4, 5), (1000, 100, 11, 2))
    assert [walk.starts for walk in many] == [(0,), (1000,)]
    assert {walk.programs(4) for walk in many} == {2 * 12}


def test_tiles_cover_rows_and_fit():
    for target in (CPU, GPU):
        for R, C, axis in itertools.product((1, 128, 10**6), (1, 10, 1000, 10**6), (0, 1)):
            tile = pick_tile(R, C, axis, torch.float32, target)
            assert 1 <= tile.BLOCK_R * tile.BLOCK_C <= 4096
            assert tile.WHOLE == (tile.BLOCK_C >= C)
            assert (tile.BLOCK_C & (tile.BLOCK_C - 1)) == 0 and tile.num_warps in (4, 8)


def test_launches():
    device, x = torch.device("cpu"), torch.empty(2, 21, 8, 16)
    (one,) = launches(x.shape, 1, (x.stride(),), ((128, 16, 1), (0, 0, 0)), torch.float32, device)
    assert one.integers == (128, 21, 2, 128, 1, 2688, 0, 1, 128, 0, 0, 0, 0)
    assert (one.programs, one.column_blocks, one.constexprs["AXIS"], one.constexprs["INT64"]) == (2, 1, 0, False)
    assert launches((0, 4), 1, ((4, 1),), (), torch.float32, device) == ()
    (far,) = launches((4, 5), 1, ((2**30, 1),), (), torch.float32, device)
    assert far.constexprs["INT64"]
    moved = launches((2, 3, 4, 5, 9), 4, ((5000, 1000, 110, 11, 1),), (), torch.float32, device)
    x = torch.arange(20_000)
    assert [each.tensors(x)[0][0].item() for each in moved] == [0, 5000]
