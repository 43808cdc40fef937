"""A save loop that is killed at random moments, KIND being path, folder or background:

    python -m tests.checkpoint.killed KIND FOLDER TIMES SEED

torch is imported once; every life of the loop is a fork. It goes on from what was loaded last and saves on and on; its
steps come through a pipe, each after it was saved. Then it is killed, and what is on disk is loaded.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tritonnet
from tritonnet import Checkpoints, nn, optim

SIZE = 20_000


class Run:
    """A network, an optimizer, a tensor and numbers that all tell the step."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.file = kind, folder / "run.safetensors"
        self.checkpoints = Checkpoints(folder, keep=2, background=kind == "background")
        self.net = nn.Sequential(nn.Linear(SIZE // 100, 100), nn.Linear(100, 1))
        self.optimizer = optim.SGD(self.net.parameters(), lr=0.1)

    def save(self, step: int) -> None:
        for param in self.net.parameters():
            param.data.fill_(step)
        self.optimizer.param_groups[0]["lr"] = float(step)
        state = {"data": torch.full((SIZE,), step), "text": str(step), "array": np.full(SIZE, step)}
        if self.kind == "path":
            tritonnet.save(self.file, self.net, self.optimizer, step=step, **state)
        else:
            self.checkpoints.save(step, self.net, self.optimizer, **state)

    def load(self) -> int:
        """The step that is on disk, of which everything is. 0: there is none."""
        if self.kind == "path":
            state: Any = tritonnet.load(self.file, self.net, self.optimizer) if self.file.exists() else None
        else:
            state = self.checkpoints.load(self.net, self.optimizer)
        if state is None:
            return 0
        step: int = state["step"]
        for tensor in (*self.net.parameters(), state["data"], state["array"]):
            assert (tensor == step).all(), f"step {step} with tensors of another"
        assert state["text"] == str(step) and self.optimizer.param_groups[0]["lr"] == step
        return step


def life(run: Run, step: int, pipe: int) -> None:
    """Saves until it is killed. In the background, a save is known to be done when the next has begun."""
    os.write(pipe, step.to_bytes(8, "little"))
    while True:
        step += 1
        run.save(step)
        os.write(pipe, (step - (run.kind == "background")).to_bytes(8, "little"))


def main(kind: str, folder: str, times: str, seed: str) -> None:
    torch.set_num_threads(1)
    moments = random.Random(int(seed))
    run = Run(kind, Path(folder))
    began = time.perf_counter()
    for step in range(1, 6):
        run.save(step)
    run.checkpoints.wait()
    span = 4 * (time.perf_counter() - began) / 5
    saved, hidden = run.load(), 0
    for _ in range(int(times)):
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                life(run, saved, theirs)
            finally:
                os._exit(1)
        os.close(theirs)
        reported = int.from_bytes(os.read(ours, 8), "little")
        time.sleep(moments.uniform(0, span))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while report := os.read(ours, 8):
            reported = int.from_bytes(report, "little")
        os.close(ours)
        found = run.load()
        assert found >= reported, f"step {reported} was reported saved, and {found} is there"
        saved = found
        left = os.listdir(folder)
        # What a dead writer leaves, the next removes: hidden files at once, numbered ones when it has saved.
        assert sum(name.startswith(".") for name in left) <= 1 and len(left) < 10, left
        hidden += any(name.startswith(".") for name in left)
    run.save(saved + 1)
    run.checkpoints.wait()
    left = sorted(os.listdir(folder))
    assert len(left) == (1 if kind == "path" else 2) and not left[0].startswith("."), left
    print(saved, hidden)


if __name__ == "__main__":
    main(*sys.argv[1:])
