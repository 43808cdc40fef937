"""Tiles come from what was measured on the device, nearest sizes first."""

import json

import pytest
import torch

from tritonnet.kernels import _tune
from tritonnet.kernels._tune import Target, measured


@pytest.fixture
def target(tmp_path, monkeypatch):
    entries = [
        {"dtype": "float32", "sizes": [128, 1024, 1024], "tile": {"BLOCK_M": 1}},
        {"dtype": "float32", "sizes": [128, 1024, 512], "tile": {"BLOCK_M": 2}},
        {"dtype": "float32", "sizes": [128, 1024, 1024], "layout": "tn", "tile": {"BLOCK_M": 3}},
        {"dtype": "bfloat16", "sizes": [128, 1024, 1024], "tile": {"BLOCK_M": 4}},
    ]
    (tmp_path / "some_device.json").write_text(json.dumps({"ops": {"matmul": entries}}))
    monkeypatch.setattr(_tune, "_CONFIGS", tmp_path)
    _tune.table.cache_clear()
    yield Target("cpu", "some_device", 2, 1 << 19)
    _tune.table.cache_clear()


def block(target, sizes, dtype=torch.float32, layout="", op="matmul"):
    tile = measured(op, target, dtype, sizes, layout)
    return tile and tile["BLOCK_M"]


def test_the_exact_entry_wins(target):
    assert block(target, (128, 1024, 1024)) == 1
    assert block(target, (128, 1024, 512)) == 2


def test_layout_and_dtype_keep_entries_apart(target):
    assert block(target, (128, 1024, 1024), layout="tn") == 3
    assert block(target, (128, 1024, 1024), torch.bfloat16) == 4
    assert block(target, (128, 1024, 1024), torch.float16) is None


def test_the_nearest_bucket_is_at_most_an_octave_away(target):
    assert block(target, (100, 1000, 900)) == 1
    assert block(target, (100, 1000, 600)) == 2
    assert block(target, (32, 1024, 1024)) is None


def test_zero_sizes_and_other_ranks_do_not_match(target):
    assert block(target, (0, 1024, 1024)) is None
    assert block(target, (128, 1024)) is None
    assert block(target, (128, 1024, 1024), op="conv2d") is None


def test_a_device_without_a_table_has_no_entries(target):
    assert measured("matmul", Target("gpu", "unknown", 1, 1), torch.float32, (1, 1, 1)) is None


def test_committed_tables_are_well_formed():
    for path in (_tune.pathlib.Path(_tune.__file__).parent / "configs").glob("*.json"):
        for op, entries in json.loads(path.read_text())["ops"].items():
            for entry in entries:
                assert {"dtype", "sizes", "tile"} <= entry.keys(), (path.name, op)


def test_the_target_of_the_cpu():
    target = _tune.target(torch.device("cpu"))
    assert target.kind == "cpu" and target.name.startswith("cpu_")
    assert target.units >= 1 and target.shared >= 64 << 10
