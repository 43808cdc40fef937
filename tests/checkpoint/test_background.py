"""Saving in the background: of what there was at the call, one at a time, and no error is lost."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoint.test_folder import Run
from tritonnet.checkpoint import _atomic
from tritonnet.errors import CheckpointError

ROOT = Path(__file__).parent.parent.parent


class Gate:
    """Holds every fsync of a file until it is opened, so that saves stay under way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()
        fsync = os.fsync

        def wait(descriptor: int) -> None:
            self.reached.set()
            assert self.opened.wait(30)
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", wait)


def test_what_is_saved_is_what_there_was_at_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, background=True)
    tmp_path.joinpath("x").mkdir()
    gate = Gate(monkeypatch)
    run.save(1)
    saved = run.state()
    assert gate.reached.wait(30)
    for param in run.net.parameters():
        param.data.fill_(7.0)
    run.optimizer.zero_grad()
    assert run.checkpoints.steps() == []
    gate.opened.set()
    run.checkpoints.wait()
    other = Run(tmp_path)
    assert other.load() == {"step": 1, "data": [1, 2]}
    assert other.state() == saved


def test_one_is_under_way_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, background=True)
    gate = Gate(monkeypatch)
    run.save(1)
    assert gate.reached.wait(30)
    second = threading.Thread(target=run.save, args=(2,))
    second.start()
    second.join(0.1)
    assert second.is_alive()
    gate.opened.set()
    second.join()
    run.checkpoints.wait()
    assert run.checkpoints.steps() == [1, 2]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Renames that fail."""

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_atomic.os, "replace", fail)
    return monkeypatch


@pytest.mark.parametrize("call", ["save", "load", "wait", "with"])
def test_an_error_surfaces_at_the_next_call(tmp_path: Path, failing: Any, call: str) -> None:
    run = Run(tmp_path, background=True)
    run.save(1)
    with pytest.raises(CheckpointError, match="step-00000001.safetensors: could not be written.*No space left"):
        if call == "save":
            run.save(2)
        elif call == "load":
            run.load()
        elif call == "wait":
            run.checkpoints.wait()
        else:
            with run.checkpoints:
                pass
    run.checkpoints.wait()
    assert os.listdir(tmp_path) == []
    failing.undo()
    run.save(2)
    run.checkpoints.wait()
    assert run.checkpoints.steps() == [2]


def test_an_error_joins_one_that_ends_the_block(tmp_path: Path, failing: Any) -> None:
    run = Run(tmp_path, background=True)
    with pytest.raises(ZeroDivisionError) as caught, run.checkpoints:
        run.save(1)
        raise ZeroDivisionError
    assert "step-00000001.safetensors: could not be written" in caught.value.__notes__[0]


def test_what_cannot_be_stored_is_said_at_once(tmp_path: Path) -> None:
    run = Run(tmp_path, background=True)
    with pytest.raises(CheckpointError, match="state/bad is a set"):
        run.checkpoints.save(1, run.net, bad={1})


SCRIPT = """
import os, time
import torch, tritonnet
from tritonnet import nn
fsync = os.fsync
def slow(descriptor):
    time.sleep(0.2)
    fsync(descriptor)
os.fsync = slow
if {fails}:
    def fail(*_):
        raise OSError(28, "No space left on device")
    os.replace = fail
checkpoints = tritonnet.Checkpoints({folder!r}, background=True)
checkpoints.save(1, nn.Linear(300, 300), torch=torch.ones(3))
print("end", flush=True)
"""


@pytest.mark.parametrize("fails", [False, True])
def test_python_waits_before_it_exits(tmp_path: Path, fails: bool) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    code = SCRIPT.format(fails=fails, folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert done.stdout == "end\n"
    if fails:
        assert "step-00000001.safetensors: could not be written" in done.stderr
        assert os.listdir(tmp_path) == []
    else:
        assert done.stderr == ""
        assert Run(tmp_path).checkpoints.load()["step"] == 1
