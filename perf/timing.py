"""What the timings of perf share: the clock of a device, turns between two contestants, results as lines of JSON."""

import json
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import triton

import tritonnet
from tritonnet.kernels import _tune

RESULTS = Path(__file__).parent / "results"
_ROUND_MS, _FEWEST, _MOST = 20, 5, 200
"""How long one contestant's turn takes about, and how many rounds there are."""

Clock = Callable[[Callable[[], object], int], float]


def clock(device: torch.device) -> tuple[Clock, str]:
    """A function (call, repeats) -> milliseconds a call, and what it reads."""
    if device.type == "cpu":

        def process_time(call: Callable[[], object], repeats: int) -> float:
            began = time.process_time()
            for _ in range(repeats):
                call()
            return 1e3 * (time.process_time() - began) / repeats

        return process_time, "process time, one thread"

    def events(call: Callable[[], object], repeats: int) -> float:
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        first.record()
        for _ in range(repeats):
            call()
        last.record()
        torch.cuda.synchronize(device)
        return first.elapsed_time(last) / repeats

    return events, "CUDA events"


def take_turns(
    ours: Callable[[], object], theirs: Callable[[], object], device: torch.device, seconds: float
) -> dict[str, Any]:
    """Medians of both over rounds in which they take turns, and the median of the rounds' ratios, ours over theirs."""
    measure, reads = clock(device)
    for call in (ours, theirs):
        measure(call, 3)
    repeats = max(1, min(50, round(_ROUND_MS / max(measure(ours, 1), measure(theirs, 1), 1e-3))))
    rounds: list[tuple[float, float]] = []
    until = time.perf_counter() + seconds
    while len(rounds) < _FEWEST or (time.perf_counter() < until and len(rounds) < _MOST):
        rounds.append((measure(ours, repeats), measure(theirs, repeats)))
    return {
        "clock": reads,
        "ours_ms": statistics.median(a for a, _ in rounds),
        "torch_ms": statistics.median(b for _, b in rounds),
        "ratio": statistics.median(a / b for a, b in rounds),
        "rounds": len(rounds),
        "calls_a_round": repeats,
    }


class Results:
    """Rows of one kind, each appended to `<folder>/<device>/<kind>.jsonl` with its circumstances as it comes."""

    def __init__(self, kind: str, device: torch.device, folder: Path) -> None:
        git = ["git", "-C", str(RESULTS.parent), "rev-parse", "--short", "HEAD"]
        self.around = {
            "device": _tune.target(device).name,
            "path": tritonnet.kernels.path(device)[0],
            "torch": torch.__version__,
            "triton": triton.__version__,
            "commit": subprocess.run(git, capture_output=True, text=True).stdout.strip(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self.file = folder / self.around["device"] / f"{kind}.jsonl"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        with self.file.open("a") as file:
            file.write(json.dumps(row | self.around) + "\n")

    def __str__(self) -> str:
        return "{path} ({device}), torch {torch}, triton {triton}".format(**self.around)
