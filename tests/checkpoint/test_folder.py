"""Checkpoints: numbered, pruned after the commit, and the newest whole one is found."""

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import tritonnet
from tests.checkpoint.conftest import Net, generators, state_of, train
from tritonnet import Checkpoints
from tritonnet.errors import CheckpointError


class Run:
    """A run that saves its steps to a folder."""

    def __init__(self, folder: Path, keep: int | None = 2, **options: Any) -> None:
        self.net = Net()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.01)
        self.checkpoints = Checkpoints(folder, keep, **options)

    def save(self, *steps: int) -> None:
        for step in steps:
            train(self.net, self.optimizer, 1)
            self.checkpoints.save(step, self.net, self.optimizer, data=[step, step + 1])

    def load(self, **options: Any) -> Any:
        return self.checkpoints.load(self.net, self.optimizer, **options)

    def state(self) -> Any:
        return state_of(self.net, self.optimizer), generators()


def damage(path: str | Path) -> None:
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))


def test_the_newest_are_kept_and_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    run = Run(folder)
    assert run.load() is None and run.checkpoints.steps() == [] and not folder.exists()
    run.save(1, 5, 20)
    assert run.checkpoints.steps() == [5, 20]
    assert sorted(os.listdir(folder)) == ["step-00000005.safetensors", "step-00000020.safetensors"]
    saved = run.state()
    train(run.net, run.optimizer, 2)
    other = Run(folder)
    assert other.load() == {"step": 20, "data": [20, 21]}
    assert other.state() == saved
    other.save(21, 123456789)
    assert other.checkpoints.steps() == [21, 123456789]
    assert tritonnet.load(other.checkpoints.path(21))["step"] == 21


def test_all_are_kept_on_request_and_other_files_left_alone(tmp_path: Path) -> None:
    run = Run(tmp_path, keep=None)
    others = ["notes.txt", "step-1.safetensors", "step-00000001.safetensors.bak", ".hidden", "model.safetensors"]
    for name in others:
        (tmp_path / name).write_text("mine")
    run.save(1, 2, 3, 4)
    assert run.checkpoints.steps() == [1, 2, 3, 4]
    assert all((tmp_path / name).read_text() == "mine" for name in others)
    with pytest.raises(ValueError, match="keep is 0"):
        Checkpoints(tmp_path, keep=0)


def test_a_damaged_one_is_passed_over_loudly_and_removed_by_the_next_save(tmp_path: Path) -> None:
    run = Run(tmp_path, keep=3)
    run.save(1)
    saved = run.state()
    run.save(2, 3)
    damage(run.checkpoints.path(3))
    Path(run.checkpoints.path(2)).write_bytes(Path(run.checkpoints.path(2)).read_bytes()[:700])
    other = Run(tmp_path, keep=3)
    with pytest.warns(UserWarning, match="PASSED OVER") as caught:
        assert other.load()["step"] == 1
    assert [str(one.message).partition(":")[0] for one in caught] == [run.checkpoints.path(3), run.checkpoints.path(2)]
    assert other.state() == saved
    assert run.checkpoints.steps() == [1, 2, 3]
    other.save(2)
    assert run.checkpoints.steps() == [1, 2]
    assert other.load()["step"] == 2


def test_a_warning_that_is_an_error_changes_nothing(tmp_path: Path) -> None:
    Run(tmp_path).save(1, 2)
    run = Run(tmp_path)
    damage(run.checkpoints.path(2))
    before = run.state()
    with pytest.raises(UserWarning, match="PASSED OVER"):
        run.load()
    assert run.state() == before


def test_none_whole_is_an_error(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.save(1, 2)
    for step in (1, 2):
        damage(run.checkpoints.path(step))
    before = run.state()
    with (
        pytest.warns(UserWarning),
        pytest.raises(CheckpointError, match="(?s)no checkpoint is whole.*step-00000002.*step-00000001"),
    ):
        run.load()
    assert run.state() == before


def test_what_does_not_fit_is_no_reason_to_go_back(tmp_path: Path) -> None:
    Run(tmp_path).save(1, 2)
    run = Run(tmp_path)
    with pytest.raises(CheckpointError, match=r"(?s)step-00000002.*does not fit Net"):
        run.checkpoints.load(Net(5))
    with pytest.raises(CheckpointError, match="step-00000002.*holds no scheduler"):
        run.load(scheduler=torch.optim.lr_scheduler.StepLR(run.optimizer, 1))


def test_going_back_leaves_newer_ones_until_the_next_save(tmp_path: Path) -> None:
    run = Run(tmp_path, keep=5)
    run.save(1, 2, 3, 4)
    other = Run(tmp_path, keep=5)
    assert other.load(step=2)["step"] == 2
    assert other.checkpoints.steps() == [1, 2, 3, 4]
    other.save(3)
    assert other.checkpoints.steps() == [1, 2, 3]
    with pytest.raises(CheckpointError, match="there is no such file"):
        other.load(step=9)


def test_a_run_that_did_not_go_on_from_there_overwrites_nothing(tmp_path: Path) -> None:
    Run(tmp_path).save(10, 20)
    run = Run(tmp_path)
    for step in (1, 10, 20):
        with pytest.raises(CheckpointError, match="already holds step 20, from which this run did not go on"):
            run.save(step)
    run.load()
    with pytest.raises(CheckpointError, match="already holds step 20"):
        run.save(15)
    run.save(20)
    run.save(21)
    with pytest.raises(ValueError, match="step is -1"):
        run.save(-1)
    assert run.checkpoints.steps() == [20, 21]


def test_old_ones_that_cannot_be_removed_are_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, keep=1)
    run.save(1)
    unlink = os.unlink

    def fail(path: Any, **options: Any) -> None:
        if str(path).endswith(".safetensors"):
            raise PermissionError(13, "Permission denied")
        unlink(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fail)
        with pytest.warns(UserWarning, match="step-00000001.safetensors: an old checkpoint could not be removed"):
            run.save(2)
    assert run.load()["step"] == 2
    run.save(3)
    assert run.checkpoints.steps() == [3]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="file: the folder could not be read"):
        Run(tmp_path / "file").save(1)
    (tmp_path / "link").symlink_to("nowhere/at/all")
    with pytest.raises(CheckpointError, match="link: the folder could not be made"):
        Run(tmp_path / "link").save(1)


@pytest.mark.parametrize("background", [False, True], ids=["plain", "background"])
def test_others_load_while_a_run_saves(tmp_path: Path, background: bool) -> None:
    """With one checkpoint kept, so that what they have listed is often gone when they open it."""
    run = Run(tmp_path, keep=1, background=background)
    run.save(1)
    run.checkpoints.wait()
    read: list[int] = []
    wrong: list[BaseException] = []
    done = threading.Event()

    def follow() -> None:
        net = Net()
        while not done.is_set():
            try:
                state = Checkpoints(tmp_path).load(net)
                assert state is not None and state["data"] == [state["step"], state["step"] + 1]
                read.append(state["step"])
            except BaseException as error:
                wrong.append(error)
                return

    thread = threading.Thread(target=follow)
    thread.start()
    run.save(*range(2, 200))
    run.checkpoints.wait()
    done.set()
    thread.join()
    assert not wrong
    assert len(set(read)) > 10 and read == sorted(read)


def test_copies_of_a_folder_load(tmp_path: Path) -> None:
    """Numbers count, not the times of files."""
    run = Run(tmp_path / "a")
    run.save(1, 2)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    os.utime(tmp_path / "b" / "step-00000001.safetensors")
    assert Run(tmp_path / "b").load()["step"] == 2
