"""The tiles of conv2d and its gradients: what is picked, and what becomes of it on GPUs that need not be there."""

import importlib

import pytest
import torch

from tritonnet.kernels import _tune
from tritonnet.kernels._tile import TL_DTYPES, wide_dtype
from tritonnet.kernels.conv2d.plan import key

tiles, correlate, forward, grad_weight = (
    importlib.import_module(f"tritonnet.kernels.conv2d.{name}")
    for name in ("tiles", "correlate", "forward", "grad_weight")
)

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


LARGEST = {
    "few channels": ((14, 128, 1), torch.contiguous_format),
    "many channels": ((512, 512, 1), torch.channels_last),
    "depthwise": ((64, 64, 64), torch.channels_last),
}
"""What takes the largest tiles of each kind: C, K and groups."""


@pytest.mark.parametrize("case", LARGEST)
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_gpu_tiles_compile_and_spill_nothing(case, capability, dtype, compile_for_gpu, monkeypatch):
    for module in (correlate, grad_weight):
        monkeypatch.setattr(module, "target", lambda _: H100)
    (C, K, groups), layout = LARGEST[case]
    x = torch.empty(32, C, 56, 56, dtype=dtype, device="meta").to(memory_format=layout)
    weight = torch.empty(K, C // groups, 3, 3, dtype=dtype, device="meta").to(memory_format=layout)
    bias, grad = weight.new_empty(K), x.new_empty(32, K, 56, 56).to(memory_format=layout)
    dw = weight.to(wide_dtype(dtype))
    for tensors, call in (
        ([x, weight, bias, grad], forward._plan(key(x, weight, bias, 1, 1, 1, groups, None)).call),
        ([grad, x, dw], grad_weight._plan(key(grad, x, weight.shape, 1, 1, 1, groups, None)).call),
    ):
        constants = dict(call.constexprs)
        options = {name: constants.pop(name) for name in ("num_warps", "num_stages") if name in constants}
        pointers = call.kernel.arg_names[: len(tensors)]
        types = {name: f"*{TL_DTYPES[tensor.dtype]}" for name, tensor in zip(pointers, tensors, strict=True)}
        for parameter, value in zip(call.kernel.params[len(tensors) :], call.sizes, strict=False):
            if value == 1 and not parameter.do_not_specialize:
                constants[parameter.name] = 1
            else:
                types[parameter.name] = "i32"
        compiled, spilled = compile_for_gpu(call.kernel, types, constants, capability, **options)
        assert compiled.metadata.shared <= {80: 166912, 90: 232448, 100: 232448}[capability], options
        assert spilled == 0, constants
