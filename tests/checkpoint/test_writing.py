"""A file is replaced by a whole one or not at all, whatever goes wrong."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

import tritonnet
from tests.checkpoint.conftest import train
from tritonnet import nn
from tritonnet.errors import CheckpointError


@pytest.mark.parametrize("broken", ["replace", "fsync", "fdopen", "open"])
def test_a_failed_save_leaves_the_old_file(run: Any, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    path, net, optimizer = run
    before = path.read_bytes()
    train(net, optimizer, 1)

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, fail)
        with pytest.raises(CheckpointError, match="run.safetensors: could not be written.*No space left"):
            tritonnet.save(path, net, optimizer, step=4)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]
    tritonnet.save(path, net, optimizer, step=4)
    assert tritonnet.load(path)["step"] == 4


def test_an_interrupted_save_leaves_the_old_file(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path, net, _ = run
    before = path.read_bytes()

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tritonnet.save(path, net)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_files_are_synced_before_and_after_the_rename(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path, net, _ = run
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def rename(*names: Any) -> None:
        calls.append("rename")
        replace(*names)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", rename)
    tritonnet.save(path, net)
    assert calls == ["file", "rename", "folder"]


def test_mode_of_the_file_and_links(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        tritonnet.save(tmp_path / "real", nn.Linear(1, 1))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640
    (tmp_path / "link").symlink_to("real")
    tritonnet.save(tmp_path / "link", nn.Linear(2, 2))
    assert (tmp_path / "link").is_symlink()
    tritonnet.load(tmp_path / "real", nn.Linear(2, 2))
