"""Weights as others write and read them: Hugging Face's files, torch's, and modules of torch.nn."""

import json
import os
import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import tritonnet
from tests.checkpoint.conftest import Net, generators
from tritonnet import load_weights, nn, optim, read_weights, save_weights
from tritonnet.errors import CheckpointError


def net_of(space: Any) -> Any:
    """An architecture that tritonnet and torch both have, with a tie, a dtype of its own and buffers of both kinds."""

    class Tied(space.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embed = space.Linear(6, 6)
            self.body = space.Sequential(space.Conv2d(1, 4, 3), space.ReLU(), space.Linear(6, 6, dtype=torch.bfloat16))
            self.head = space.Linear(6, 6)
            self.head.weight = self.embed.weight
            self.register_buffer("mean", torch.rand(3, dtype=torch.float64))
            self.register_buffer("seen", torch.tensor(random.randrange(1000)))
            self.register_buffer("cache", torch.zeros(2), persistent=False)

    return Tied()


def bits(module: Any) -> dict[str, Any]:
    weights = module if isinstance(module, dict) else module.state_dict()
    return {
        key: (value.dtype, value.view(torch.uint8).tolist() if value.dim() else value.item())
        for key, value in weights.items()
    }


WAYS = {
    "safetensors": ("weights.safetensors", {}),
    "folder": ("hub", {}),
    "shards": ("hub", {"max_shard_size": 150}),
    "pt": ("weights.pt", {}),
    "pth": ("weights.pth", {}),
}


@pytest.mark.parametrize("name, options", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize(
    "source, target", [(torch.nn, nn), (nn, torch.nn), (nn, nn)], ids=["from torch", "to torch", "ours"]
)
def test_weights_go_to_and_fro_to_the_bit(tmp_path: Path, name: str, options: Any, source: Any, target: Any) -> None:
    one, other = net_of(source), net_of(target)
    assert bits(one) != bits(other)
    save_weights(tmp_path / name, one, **options)
    before = generators()
    assert load_weights(tmp_path / name, other) == ([], [])
    assert generators() == before
    assert bits(other) == bits(one) and list(other.state_dict()) == list(one.state_dict())
    assert other.head.weight is other.embed.weight
    weights = read_weights(tmp_path / name)
    assert bits(weights) == bits(one)
    assert weights["head.weight"] is weights["embed.weight"] or name.startswith("weights.pt")


def test_the_files_are_those_of_safetensors(tmp_path: Path) -> None:
    """Byte for byte."""
    weights = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 5)).state_dict()
    save_weights(tmp_path / "model.safetensors", weights)
    assert (tmp_path / "model.safetensors").read_bytes() == safetensors.torch.save(dict(weights), {"format": "pt"})


def test_a_tie_is_stored_once_and_named_as_safetensors_does(tmp_path: Path) -> None:
    net = net_of(nn)
    save_weights(tmp_path, net)
    with safetensors.safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "head.weight": "embed.weight"}
        assert set(file.keys()) == net.state_dict().keys() - {"head.weight"}
    theirs = net_of(torch.nn)
    safetensors.torch.load_model(theirs, tmp_path / "model.safetensors")
    assert bits(theirs) == bits(net)
    safetensors.torch.save_model(theirs, str(tmp_path / "theirs.safetensors"))
    again = net_of(nn)
    load_weights(tmp_path / "theirs.safetensors", again)
    assert bits(again) == bits(net)


def test_torch_reads_what_is_written_for_it(tmp_path: Path) -> None:
    net = net_of(nn)
    save_weights(tmp_path / "net.pt", net)
    weights = torch.load(tmp_path / "net.pt", weights_only=True)
    assert type(weights) is OrderedDict and all(type(value) is torch.Tensor for value in weights.values())
    assert weights["head.weight"].data_ptr() == weights["embed.weight"].data_ptr()
    assert weights._metadata[""] == {"version": 1}
    theirs = net_of(torch.nn)
    theirs.load_state_dict(weights)
    assert bits(theirs) == bits(net)


def test_a_view_is_stored_without_what_it_looks_at(tmp_path: Path) -> None:
    whole = torch.rand(1000, 1000)
    for name in ("x.pt", "x.safetensors"):
        save_weights(tmp_path / name, {"part": whole[3, ::100]})
        assert (tmp_path / name).stat().st_size < 5000
        assert torch.equal(read_weights(tmp_path / name)["part"], whole[3, ::100])


def test_shards_are_laid_out_as_hugging_face_does(tmp_path: Path) -> None:
    weights = {"a": torch.rand(10), "b": torch.rand(5), "c": torch.rand(100), "d": torch.rand(1), "e": torch.rand(2)}
    save_weights(tmp_path, weights, max_shard_size=60)
    assert sorted(os.listdir(tmp_path)) == [
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.json",
    ]
    text = (tmp_path / "model.safetensors.index.json").read_text()
    index = json.loads(text)
    assert text == json.dumps(index, indent=2)
    places = {key: int(name[6:11]) for key, name in index["weight_map"].items()}
    assert places == {"a": 1, "b": 1, "c": 2, "d": 3, "e": 3}
    assert index["metadata"] == {"total_size": 118 * 4}
    assert safetensors.torch.load_file(tmp_path / "model-00003-of-00003.safetensors").keys() == {"d", "e"}
    assert bits(read_weights(tmp_path / "model.safetensors.index.json")) == bits(weights)


@pytest.mark.parametrize("size", [10**9, "1GB", "1.5 gb", "2GiB", "900MB", "3000KB"])
def test_sizes_are_read(tmp_path: Path, size: Any) -> None:
    save_weights(tmp_path, nn.Linear(2, 2), max_shard_size=size)
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_a_size_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_shard_size is 'big'"):
        save_weights(tmp_path / "x", nn.Linear(2, 2), max_shard_size="big")
    assert os.listdir(tmp_path) == []


def test_a_folder_holds_one_set_of_weights(tmp_path: Path) -> None:
    """However many files the one before had."""
    for size in (10**9, 100, 60, 10**9, 60):
        weights = {key: torch.rand(10) for key in "abcd"}
        save_weights(tmp_path, weights, max_shard_size=size)
        assert bits(read_weights(tmp_path)) == bits(weights)
        assert len(os.listdir(tmp_path)) == {10**9: 1, 100: 3, 60: 5}[size]


@pytest.mark.parametrize("at", range(8))
@pytest.mark.parametrize("size", [10**9, 60], ids=["one file", "shards"])
def test_a_folder_that_cannot_be_replaced_is_whole_or_has_no_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, size: int
) -> None:
    """Every rename fails once; all before the first leave the older weights."""
    old, new = ({key: torch.rand(10) for key in "abcd"} for _ in range(2))
    save_weights(tmp_path, old, max_shard_size=60)
    replace, calls = os.replace, iter(range(100))

    def fail(*names: Any) -> None:
        if next(calls) == at:
            raise OSError(28, "No space left on device")
        replace(*names)

    monkeypatch.setattr(os, "replace", fail)
    try:
        save_weights(tmp_path, new, max_shard_size=size)
    except CheckpointError as error:
        assert str(tmp_path) in str(error)
        if at == 0 and size > 60:
            assert bits(read_weights(tmp_path)) == bits(old)
        elif size == 60:
            with pytest.raises(CheckpointError, match="the folder holds none of"):
                read_weights(tmp_path)
    else:
        assert at >= (1 if size > 60 else 5)
        assert bits(read_weights(tmp_path)) == bits(new)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_wrappers_that_are_clear_are_opened(tmp_path: Path) -> None:
    net = net_of(torch.nn)
    for key in ("state_dict", "model_state_dict", "model"):
        torch.save({key: net.state_dict(), "epoch": 3, "optimizer": {"state": {}}}, tmp_path / "x.pth")
        assert bits(read_weights(tmp_path / "x.pth")) == bits(net)
    torch.save({"model": net.state_dict(), "state_dict": net.state_dict()}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="x.pth: no state dict but a dict of model, state_dict; torch.load"):
        read_weights(tmp_path / "x.pth")
    torch.save({"net": net.state_dict()}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="no state dict but a dict of net"):
        read_weights(tmp_path / "x.pth")
    torch.save([1], tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="no state dict but list"):
        read_weights(tmp_path / "x.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_both_of_torchs_formats_are_read(tmp_path: Path, zipped: bool) -> None:
    net = net_of(torch.nn)
    torch.save(net.state_dict(), tmp_path / "weights", _use_new_zipfile_serialization=zipped)
    assert bits(read_weights(tmp_path / "weights")) == bits(net)
    with pytest.raises(CheckpointError, match="written by torch.save; read it with tritonnet.load_weights"):
        tritonnet.load(tmp_path / "weights")


def test_no_code_is_run(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="x.pt: holds more than tensors and plain values"):
        read_weights(tmp_path / "x.pt")


def test_weights_of_a_whole_run(tmp_path: Path) -> None:
    net = Net()
    tritonnet.save(tmp_path / "run", net, optim.Adam(net.parameters()), step=1)
    assert bits(read_weights(tmp_path / "run")) == bits(net)
    other = Net()
    load_weights(tmp_path / "run", other)
    assert bits(other) == bits(net)


def test_hugging_faces_older_names(tmp_path: Path) -> None:
    net = net_of(torch.nn)
    weights = net.state_dict()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    assert bits(read_weights(tmp_path)) == bits(net)
    os.rename(tmp_path / "pytorch_model.bin", tmp_path / "pytorch_model-00001-of-00001.bin")
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "pytorch_model-00001-of-00001.bin")}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert bits(read_weights(tmp_path)) == bits(net)


def test_refusals_name_the_file(tmp_path: Path) -> None:
    for path, message in [
        (tmp_path / "nothing", "there is no such file"),
        (tmp_path, "the folder holds none of model.safetensors"),
        (tmp_path / "x.index.json", "there is no such file"),
    ]:
        with pytest.raises(CheckpointError, match=f"{path}: {message}"):
            read_weights(path)
    index = tmp_path / "model.safetensors.index.json"
    for text in ("{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": "../x"}}', '{"weight_map": {"a": 1}}'):
        index.write_text(text)
        with pytest.raises(CheckpointError, match="index.json: not an index of weights"):
            read_weights(tmp_path)
    safetensors.torch.save_file({"b": torch.ones(1)}, tmp_path / "x")
    index.write_text('{"weight_map": {"a": "x"}}')
    with pytest.raises(CheckpointError, match="index.json: x lacks a, which it should hold"):
        read_weights(tmp_path)
    index.write_text('{"weight_map": {"a": "y"}}')
    with pytest.raises(CheckpointError, match="/y: there is no such file"):
        read_weights(tmp_path)
    torch.save({"a": torch.rand(100)}, tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes((tmp_path / "x.pt").read_bytes()[:700])
    with pytest.raises(CheckpointError, match="x.pt: truncated, damaged, or not a file of torch.save"):
        read_weights(tmp_path / "x.pt")


def test_what_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    save_weights(tmp_path / "x.safetensors", nn.Linear(3, 3))
    layer = nn.Linear(3, 4)
    before = bits(layer)
    with pytest.raises(CheckpointError, match=r"(?s)x.safetensors: .*weight +size mismatch.*bias +size mismatch"):
        load_weights(tmp_path / "x.safetensors", layer)
    assert bits(layer) == before
    with pytest.raises(CheckpointError, match=r"(?s)x.safetensors: .*size mismatch"):
        load_weights(tmp_path / "x.safetensors", torch.nn.Linear(3, 4))
    with pytest.raises(CheckpointError, match="missing key"):
        load_weights(tmp_path / "x.safetensors", nn.Sequential(layer))
    missing, unexpected = load_weights(tmp_path / "x.safetensors", nn.Sequential(layer), strict=False)
    assert missing == ["0.weight", "0.bias"] and sorted(unexpected) == ["bias", "weight"]


def test_what_a_file_of_weights_cannot_hold(tmp_path: Path) -> None:
    for value, what in (
        (3, "extra is a int"),
        (torch.ones(1).to_sparse(), "sparse"),
        (torch.ones(1, device="meta"), "meta"),
    ):
        with pytest.raises(CheckpointError, match=f"x.safetensors: .*{what}"):
            save_weights(tmp_path / "x.safetensors", {"extra": value})
    with pytest.raises(CheckpointError, match="complex128, which safetensors does not hold"):
        save_weights(tmp_path / "x.safetensors", {"z": torch.ones(1, dtype=torch.complex128)})
    with pytest.raises(CheckpointError, match="a name is not text"):
        save_weights(tmp_path / "x.safetensors", {"\ud800": torch.ones(1)})
    assert os.listdir(tmp_path) == []
    save_weights(tmp_path / "x.pt", {"extra": 3, "z": torch.ones(1, dtype=torch.complex128)})
    assert read_weights(tmp_path / "x.pt")["extra"] == 3
