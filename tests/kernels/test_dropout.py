"""dropout: the mask is Philox's, by element and seed alone; rates, extremes, layouts, errors."""

import importlib
import math
import re

import numpy as np
import pytest
import torch

from tritonnet.errors import DtypeError, ShapeError
from tritonnet.kernels import _tune, channel_dropout, channel_dropout_, dropout, dropout_, use
from tritonnet.kernels.dropout import (
    channel_dropout_inplace_reference,
    channel_dropout_reference,
    dropout_inplace_reference,
    dropout_reference,
    pick_tile,
)
from tritonnet.testing import check

source = importlib.import_module("tritonnet.kernels.dropout")

SEED = -123456789012345678


def seed(value=SEED):
    return torch.tensor([value])


def philox(calls, slot, key):
    """Philox 4x32-10 as its paper has it, on counters (low, high, slot, 0): four words for each call."""
    counter = [calls & 0xFFFFFFFF, calls >> 32, np.full_like(calls, slot), np.zeros_like(calls)]
    counter = [c.astype(np.uint64) for c in counter]
    k0, k1 = key & 0xFFFFFFFF, (key >> 32) & 0xFFFFFFFF
    for _ in range(10):
        p0, p1 = counter[0] * np.uint64(0xD2511F53), counter[2] * np.uint64(0xCD9E8D57)
        counter = [
            (p1 >> np.uint64(32)) ^ counter[1] ^ np.uint64(k0), p1 & np.uint64(0xFFFFFFFF),
            (p0 >> np.uint64(32)) ^ counter[3] ^ np.uint64(k1), p0 & np.uint64(0xFFFFFFFF),
        ]  # fmt: skip
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return counter


def kept(n, p, slot=0, key=SEED):
    """Which of n elements are kept, from the rule in the kernel's docstring."""
    e = np.arange(n)
    words = np.stack(philox(e // 1024 * 256 + e % 256, slot, key))[e // 256 % 4, e]
    return torch.from_numpy((words >> np.uint64(8)).astype(np.int64) >= math.ceil(p * 2**24))


def test_philox_is_the_papers():
    # The known answer that the authors publish for a counter and a key of zeros.
    assert [int(w[0]) for w in philox(np.zeros(1, np.int64), 0, 0)] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


def test_dropout():
    check(
        lambda x, p=0.3, slot=0: dropout(x, p, seed(), slot),
        lambda x, p=0.3, slot=0: dropout_reference(x, p, seed(), slot),
        {"x": ("M", "N")},
        dims={"M": [0, 1, 3], "N": [1, 255, 1024, 4097]},
        hyper=[{"p": 0.0}, {"p": 1.0}, {"p": 0.9, "slot": 7}],
    )


def test_dropout_in_place():
    check(
        lambda x: dropout_(x, 0.3, seed()),
        lambda x: dropout_inplace_reference(x, 0.3, seed()),
        {"x": ("M", "N")},
        dims={"M": [0, 1, 3], "N": [1, 255, 1025]},
        inplace=["x"],
    )


@pytest.mark.parametrize("slot", [0, 1, 2**31 - 1])
@pytest.mark.parametrize("n", [1, 256, 257, 5000])
def test_mask_is_philox(n, slot):
    assert torch.equal(dropout(torch.ones(n), 0.3, seed(), slot) != 0, kept(n, 0.3, slot))


@pytest.mark.parametrize("key", [0, 1, 2**32, 2**63 - 1, -1])
def test_all_64_bits_of_the_seed_count(key):
    assert torch.equal(dropout(torch.ones(3000), 0.5, seed(key)) != 0, kept(3000, 0.5, key=key))


@pytest.mark.parametrize("p", [0.01, 0.5, 0.9])
def test_rate(p):
    n = 200_000
    dropped = int((dropout(torch.ones(n), p, seed()) == 0).sum())
    assert abs(dropped - n * p) < 5 * math.sqrt(n * p * (1 - p))


def test_neighbours_seeds_and_slots_are_independent():
    n = 200_000
    first, second, third = (
        (dropout(torch.ones(n), 0.5, s, slot) != 0).double() - 0.5
        for s, slot in ((seed(1), 0), (seed(2), 0), (seed(1), 1))
    )
    bound = 5 * 0.25 / math.sqrt(n)
    for a, b in ((first, second), (first, third), (first[1:], first[:-1]), (first[256:], first[:-256])):
        assert abs(float((a * b).mean())) < bound


def _views():
    base = torch.randn(6, 5, 7, 9, 4)
    yield base[1:5, 1:3, ::2, ::2, 1:]
    yield base.permute(4, 1, 0, 3, 2)
    yield base[0, 0, 0, :1].expand(8, 4)
    yield base[0].to(memory_format=torch.channels_last)
    yield base[:, :3, 1:-1, 1:-1, 1:3]


@pytest.mark.parametrize("x", list(_views()), ids=lambda x: f"{tuple(x.shape)}-{x.stride()}")
def test_mask_does_not_depend_on_the_layout(x):
    y = dropout(x, 0.4, seed())
    assert torch.equal(y, dropout(x.contiguous(), 0.4, seed()))
    assert y.stride() == torch.empty_like(x).stride()
    copy = x.clone()
    assert torch.equal(dropout_(copy, 0.4, seed()), y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_what_is_dropped_is_zero_even_if_it_was_not_finite(dtype):
    x = torch.tensor([math.nan, math.inf] * 50, dtype=dtype)
    assert (dropout(x, 1.0, seed()) == 0).all()
    dropped = ~kept(100, 0.5)
    y = dropout(x, 0.5, seed())
    assert (y[dropped] == 0).all() and not y[~dropped].isfinite().any()


def test_nothing_is_dropped_for_p_0():
    x = torch.randn(3000)
    assert torch.equal(dropout(x, 0.0, seed()), x)


@pytest.mark.parametrize("backend", ["triton", "reference"])
@pytest.mark.parametrize("slot", [-1, 2**31])
def test_a_slot_out_of_range(backend, slot):
    with use(backend), pytest.raises(ShapeError, match=rf"dropout: slot is {slot}; it lies in \[0, 2\^31\)"):
        dropout(torch.ones(4), 0.5, seed(), slot)


def test_errors():
    x = torch.ones(4)
    with pytest.raises(ShapeError, match=r"dropout: p is 1.5; a probability lies in \[0, 1\]"):
        dropout(x, 1.5, seed())
    with pytest.raises(ShapeError, match="dropout: p is nan"):
        dropout(x, math.nan, seed())
    with pytest.raises(DtypeError, match="dropout: seed is int32; it must be int64"):
        dropout(x, 0.5, torch.ones(1, dtype=torch.int32))
    with pytest.raises(ShapeError, match=r"dropout: seed is \(2,\); it holds one element"):
        dropout(x, 0.5, torch.tensor([1, 2]))
    with pytest.raises(ShapeError, match="dropout_: x of shape"):
        dropout_(torch.ones(1).expand(4), 0.5, seed())


def test_gpu_kernels_load_16_bytes_at_once(compile_for_gpu):
    tile = pick_tile(_tune.Target("gpu", "no such gpu", 132, 232448))
    types = {
        "x_ptr": "*fp32",
        "y_ptr": "*fp32",
        "seed_ptr": "*i64",
        "slot": "i32",
        "n": "i32",
        "p": "fp64",
        "scale": "fp64",
    }
    compiled, spilled = compile_for_gpu(source._dropout_kernel, types, {"GROUPS": tile.GROUPS}, 90, tile.num_warps)
    assert spilled == 0
    assert len(re.findall(r"ld\.global\.v4", compiled.asm["ptx"])) == 4
    kernel = source._dropout_rows_kernel
    types |= {name: "i32" for name in kernel.arg_names if name not in types and not name.startswith("BLOCK")}
    assert compile_for_gpu(kernel, types, {"BLOCK_R": 4, "BLOCK_C": 256}, 90)[1] == 0


def test_channel_dropout():
    check(
        lambda x, p=0.4, slot=0: channel_dropout(x, p, seed(), slot),
        lambda x, p=0.4, slot=0: channel_dropout_reference(x, p, seed(), slot),
        {"x": ("N", "C", "H", 5)},
        dims={"N": [0, 3], "C": [1, 8, 400], "H": [0, 2]},
        hyper=[{"p": 0.0}, {"p": 1.0}, {"p": 0.9, "slot": 7}],
    )


def test_channel_dropout_in_place():
    check(
        lambda x: channel_dropout_(x, 0.4, seed()),
        lambda x: channel_dropout_inplace_reference(x, 0.4, seed()),
        {"x": ("N", "C", "L")},
        dims={"N": [0, 3], "C": [1, 8], "L": [1, 300]},
        dtypes=[torch.float32, torch.bfloat16],
        inplace=["x"],
    )


@pytest.mark.parametrize("rank", [2, 3, 5, 7])
def test_a_channel_shares_one_draw(rank):
    x = torch.ones(40, 60, *[2] * (rank - 2))
    mask = kept(40 * 60, 0.3, slot=3).reshape(40, 60, *[1] * (rank - 2))
    y = channel_dropout(x, 0.3, seed(), 3)
    assert torch.equal(y != 0, mask.expand(x.shape))
    turned = x.movedim(1, -1).contiguous().movedim(-1, 1)
    assert torch.equal(channel_dropout(turned, 0.3, seed(), 3), y)
    assert torch.equal(channel_dropout_(turned, 0.3, seed(), 3), y)


def test_channels_that_are_dropped_are_zero_even_if_they_were_not_finite():
    x = torch.full((20, 20, 3), math.nan)
    y = channel_dropout(x, 0.5, seed())
    mask = kept(400, 0.5).reshape(20, 20, 1).expand(20, 20, 3)
    assert (y[~mask] == 0).all() and y[mask].isnan().all()


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_errors_of_channel_dropout(backend):
    with use(backend):
        with pytest.raises(ShapeError, match=r"channel_dropout: x is \(4,\); it takes \[N, C, ...\]"):
            channel_dropout(torch.ones(4), 0.5, seed())
        with pytest.raises(ShapeError, match="p is 1.5"):
            channel_dropout(torch.ones(4, 2), 1.5, seed())
    with pytest.raises(ShapeError, match="channel_dropout_: x of shape"):
        channel_dropout_(torch.ones(1, 2).expand(4, 2), 0.5, seed())
