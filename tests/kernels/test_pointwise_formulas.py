"""Formulas as arguments of a kernel: each has a build of its own, on a CPU and on a GPU. Tiles and spills."""

import importlib.util
import itertools
import re

import pytest
import torch

from tritonnet.kernels import _tune
from tritonnet.kernels.pointwise import each, formulas

CPU = _tune.Target("cpu", "no such processor", 2, 512 << 10)
GPU = _tune.Target("gpu", "no such gpu", 132, 232448)

SOURCE = """
import triton

@triton.jit
def helper(x):
    return x * {factor}

@triton.jit
def formula(x):
    return helper(x) + 1.0

@triton.jit
def other(x):
    return helper(x) + 2.0
"""


@pytest.fixture
def written(tmp_path):
    """written(factor) writes the file of formulas again and loads it, as a new process would."""

    def write(factor):
        path = tmp_path / "formulas.py"
        path.write_text(SOURCE.format(factor=factor))
        spec = importlib.util.spec_from_file_location("formulas_of_the_test", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return write


def value_of(formula):
    y = torch.empty(3)
    each.apply(formula, y, (torch.full((3,), 10.0),))
    return y[0].item()


def test_two_formulas_never_share_a_build_and_an_edited_one_is_built_again(written):
    first = written(2)
    assert [value_of(first.formula), value_of(first.other)] == [21, 22]
    # The name, the file and the line are the same: what is called is not.
    second = written(3)
    assert [value_of(second.formula), value_of(second.other)] == [31, 32]
    assert [value_of(first.formula), value_of(second.formula)] == [21, 31]


FLAT = {"y_ptr": "*fp32", "a_ptr": "*fp32", "n": "i32", "p": "fp64", "q": "fp64"}


def constants_of(formula, operands=1, scalars=0, **more):
    missing = dict.fromkeys(("b_ptr", "c_ptr")[operands - 1 :])
    return {**missing, "FORMULA": formula, "OPERANDS": operands, "SCALARS": scalars, **more}


def test_formulas_have_builds_of_their_own_on_a_gpu(written, compile_for_gpu):
    first, second = written(2), written(3)
    builds = [
        compile_for_gpu(each._flat_kernel, FLAT, constants_of(formula, BLOCK=1024), 90)[0]
        for formula in (first.formula, first.other, second.formula)
    ]
    assert len({build.hash for build in builds}) == 3
    assert len({build.asm["ptx"] for build in builds}) == 3


@pytest.mark.parametrize("kind, loads", [("*fp32", 2), ("*bf16", 1)])
def test_gpu_kernels_load_16_bytes_at_once(compile_for_gpu, kind, loads):
    tile = each.pick_tile(torch.float32, GPU)
    types = FLAT | {"y_ptr": kind, "a_ptr": kind}
    constants = constants_of(formulas.relu, BLOCK=tile.BLOCK)
    compiled, spilled = compile_for_gpu(each._flat_kernel, types, constants, 90, tile.num_warps)
    assert spilled == 0
    assert len(re.findall(r"ld\.global\.v4", compiled.asm["ptx"])) == loads


def test_tiles_cover_short_and_long_rows():
    tiles = [each.pick_rows_tile(R, C, torch.float32, GPU) for R, C in itertools.product((1, 5000), (1, 3, 1024, 5000))]
    assert [(tile.BLOCK_R, tile.BLOCK_C) for tile in tiles] == [
        (1, 1), (1, 4), (1, 1024), (1, 1024), (1024, 1), (256, 4), (1, 1024), (1, 1024),
    ]  # fmt: skip


def test_more_elements_than_a_tile_has():
    block = each.pick_tile(torch.float32, CPU).BLOCK
    for n in (block - 1, block, block + 1, 3 * block + 5):
        x, y = torch.randn(n), torch.empty(n)
        each.apply(formulas.relu, y, (x,))
        assert torch.equal(y, torch.relu(x))


def test_pointers_that_are_not_aligned():
    """They do not take the plan of those that are."""
    x, y = torch.randn(100), torch.empty(100)
    for start in (0, 1, 0, 3):
        each.apply(formulas.relu, y[start:50], (x[start:50],))
        each.apply(formulas.relu, y[: 50 - start], (x[start:50],))
        assert torch.equal(y[: 50 - start], torch.relu(x[start:50]))
