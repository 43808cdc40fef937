"""A file is replaced by a whole one or not at all, whatever goes wrong."""

import errno
import fcntl
import io
import os
import resource
import stat
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import tritonnet
from tests.checkpoint.conftest import Net, generators, state_of, train
from tritonnet import nn
from tritonnet.checkpoint import _file, _progress
from tritonnet.checkpoint._atomic import remove_leftovers, replacing
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


def write_run(path: Path, net: Any, optimizer: Any) -> None:
    tritonnet.save(path / "run", net, optimizer, step=4, data=torch.ones(100))


def write_folder(path: Path, net: Any, optimizer: Any) -> None:
    checkpoints = tritonnet.Checkpoints(path, keep=1)
    checkpoints._left_behind = set(checkpoints.steps())
    checkpoints.save(4, net, optimizer)


WRITERS = {
    "save": write_run,
    "Checkpoints": write_folder,
    "safetensors": lambda path, net, _: tritonnet.save_weights(path / "x.safetensors", net),
    "shards": lambda path, net, _: tritonnet.save_weights(path, net, max_shard_size=20),
    "pt": lambda path, net, _: tritonnet.save_weights(path / "x.pt", net),
}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in os.listdir(folder)}


class Full:
    """A file to which a given one of all writes finds the disk full, half of it being written."""

    def __init__(self, file: Any, left: list[int]) -> None:
        self.file, self.left = file, left

    def write(self, data: Any) -> int:
        self.left[0] -= 1
        if self.left[0] == 0:
            self.file.write(memoryview(data)[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return self.file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> "Full":
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_a_disk_that_is_full_at_each_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any) -> None:
    net = Net()
    optimizer = torch.optim.Adam(net.parameters())
    train(net, optimizer, 1)
    write(tmp_path, net, optimizer)
    before = contents(tmp_path)
    train(net, optimizer, 1)
    fdopen = os.fdopen
    for at in range(1, 100):
        left = [at]
        state = state_of(net, optimizer), generators()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdopen", lambda *args, left=left: Full(fdopen(*args), left))
            try:
                write(tmp_path, net, optimizer)
            except CheckpointError as error:
                assert str(tmp_path) in str(error) and "No space left on device" in str(error)
            else:
                break
        assert contents(tmp_path) == before
        assert (state_of(net, optimizer), generators()) == state
    assert at > 3 and contents(tmp_path) != before


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_files_that_may_not_grow(tmp_path: Path, write: Any) -> None:
    """The kernel's own refusal, at every length."""
    net = Net()
    optimizer = torch.optim.Adam(net.parameters())
    write(tmp_path, net, optimizer)
    before = contents(tmp_path)
    train(net, optimizer, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    longest = max(map(len, before.values()))
    refused = 0
    for length in [0, 1, 7, 8, 9, *range(100, longest, longest // 9), longest - 1]:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (length, hard))
            with pytest.raises(CheckpointError, match="File too large") as caught:
                write(tmp_path, net, optimizer)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert str(tmp_path) in str(caught.value)
        assert contents(tmp_path) == before
        refused += 1
    assert refused > 10
    write(tmp_path, net, optimizer)
    assert contents(tmp_path) != before


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES], ids=["EROFS", "EACCES"])
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_a_folder_that_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, code: int) -> None:
    net = Net()
    optimizer = torch.optim.Adam(net.parameters())
    write(tmp_path, net, optimizer)
    before = contents(tmp_path)
    train(net, optimizer, 1)
    opening = os.open

    def refuse(path: Any, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(code, os.strerror(code), path)
        return opening(path, flags, *mode)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CheckpointError, match=os.strerror(code)) as caught:
        write(tmp_path, net, optimizer)
    assert str(tmp_path) in str(caught.value)
    assert contents(tmp_path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root alone can")
def test_a_folder_of_another_user() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder, "x")
        tritonnet.save(path, nn.Linear(1, 1))
        before = contents(Path(folder))
        os.seteuid(65534)
        try:
            with pytest.raises(CheckpointError, match="x: could not be written .*Permission denied"):
                tritonnet.save(path, nn.Linear(2, 2))
            tritonnet.load(path, nn.Linear(1, 1))
        finally:
            os.seteuid(0)
        assert contents(Path(folder)) == before
        path.chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(CheckpointError, match="x: could not be read .*Permission denied"):
                tritonnet.load(path, nn.Linear(1, 1))
        finally:
            os.seteuid(0)


def test_what_dead_writers_left_is_removed_and_what_living_ones_write_is_not(tmp_path: Path) -> None:
    dead = tmp_path / f".run.{'0' * 32}.tritonnet"
    others = [".run.tritonnet", f"run.{'0' * 32}.tritonnet", f".run.{'0' * 32}.tmp"]
    for name in (dead.name, *others):
        (tmp_path / name).write_text("half")
    os.mkdir(tmp_path / f".folder.{'0' * 32}.tritonnet")
    with replacing(str(tmp_path / "slow")) as slow:
        slow.write(b"whole")
        tritonnet.save(tmp_path / "quick", nn.Linear(1, 1))
        assert not dead.exists()
    assert (tmp_path / "slow").read_bytes() == b"whole"
    tritonnet.load(tmp_path / "quick", nn.Linear(1, 1))
    assert all((tmp_path / name).read_text() == "half" for name in others)


def test_a_writer_whose_new_file_was_taken_for_a_leftover_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, taken = fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        if not taken:
            taken.append(True)
            remove_leftovers(str(tmp_path))
            assert os.listdir(tmp_path) == []
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    tritonnet.save(tmp_path / "x", nn.Linear(1, 1))
    assert taken and os.listdir(tmp_path) == ["x"]


def test_a_folder_in_the_files_place(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{tmp_path}: is a folder; nothing was written"):
        tritonnet.save(tmp_path, nn.Linear(1, 1))
    with pytest.raises(CheckpointError, match="nothing/x: could not be written .*No such file"):
        tritonnet.save(tmp_path / "nothing" / "x", nn.Linear(1, 1))


def test_long_names_of_files(tmp_path: Path) -> None:
    name = "n" * 250
    tritonnet.save(tmp_path / name, nn.Linear(1, 1))
    tritonnet.load(tmp_path / name, nn.Linear(1, 1))


def test_more_text_than_a_header_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_file, "_LARGEST_HEADER", 100_000)
    with pytest.raises(CheckpointError, match="x: names, numbers and strings make .* store long lists of numbers as"):
        tritonnet.save(tmp_path / "x", nn.Linear(1, 1), losses=[0.5] * 100_000)
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(CheckpointError, match="circle: nested too deeply, or within itself"):
        tritonnet.save(tmp_path / "x", nn.Linear(1, 1), circle=circle)
    assert os.listdir(tmp_path) == []


def test_a_disk_that_does_not_know_the_name_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def fail_for(code: int) -> Any:
        def fail(descriptor: int) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(code, os.strerror(code))
            fsync(descriptor)

        return fail

    monkeypatch.setattr(os, "fsync", fail_for(errno.EIO))
    with pytest.raises(CheckpointError, match="x: is written, but the disk may not know its name yet"):
        tritonnet.save(tmp_path / "x", nn.Linear(1, 1))
    monkeypatch.setattr(os, "fsync", fail_for(errno.EINVAL))
    tritonnet.save(tmp_path / "x", nn.Linear(1, 1))


def test_tensors_that_others_write_to_meanwhile(tmp_path: Path) -> None:
    """What is written is what was hashed."""
    net = nn.Linear(500, 500)
    done = threading.Event()

    def disturb() -> None:
        while not done.is_set():
            net.weight.data.add_(1)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for _ in range(20):
            tritonnet.save(tmp_path / "x", net)
            tritonnet.load(tmp_path / "x", nn.Linear(500, 500))
    finally:
        done.set()
        thread.join()


def test_large_files_have_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    pytest.importorskip("rich")
    monkeypatch.setattr(_progress, "LARGE", 100)
    monkeypatch.setattr(sys, "stderr", Terminal())
    net = nn.Linear(100, 100)
    tritonnet.save(tmp_path / "x", net)
    tritonnet.load(tmp_path / "x", net)
    shown = sys.stderr.getvalue()
    assert "saving" in shown and "loading" in shown and "40." in shown
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    tritonnet.save(tmp_path / "x", net)
    assert sys.stderr.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    tritonnet.save(tmp_path / "x", net)
    assert sys.stderr.getvalue() == ""
