"""Time of a training step against torch.nn: `python -m perf.step`.

Two networks, the one of examples/digits.py and an MLP 784-1024-1024-10, at batch 128: forward, cross entropy,
backward, AdamW. The baseline is torch.nn eager with AdamW(fused=True). Both start from the same weights, must agree on
the loss of three steps before anything is timed, and take turns while it is.
"""

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import triton
from torch import Tensor

import tritonnet
from tritonnet.kernels import _tune

RESULTS = Path(__file__).parent / "results"
DTYPES = ("float32", "bfloat16", "float16")
# How far apart the losses of the first three steps may be, relative to the loss: a check for blunders, not a test.
AGREEMENT = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2, "float64": 1e-8}


def digits(nn: ModuleType) -> Any:
    """The network of examples/digits.py."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(64, 10),
    )


def mlp(nn: ModuleType) -> Any:
    """784-1024-1024-10."""
    return nn.Sequential(nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))


NETWORKS: dict[str, tuple[Callable[[ModuleType], Any], tuple[int, ...]]] = {
    "digits": (digits, (1, 8, 8)),
    "mlp": (mlp, (784,)),
}


@dataclass
class Contestant:
    """A network with its loss and optimizer on one batch."""

    net: Any
    loss: Any
    optimizer: Any
    images: Tensor
    labels: Tensor

    def step(self) -> Tensor:
        self.optimizer.zero_grad()
        loss: Tensor = self.loss(self.net(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def contestants(network: str, dtype: torch.dtype, device: torch.device, batch: int) -> tuple[Contestant, Contestant]:
    """tritonnet's and torch's, with the same weights and the same batch."""
    build, shape = NETWORKS[network]
    torch.manual_seed(0)
    images, labels = torch.randn(batch, *shape).to(device, dtype), torch.randint(10, (batch,)).to(device)
    theirs, ours = build(torch.nn).to(device, dtype), build(tritonnet.nn).to(device, dtype)
    ours.load_state_dict(theirs.state_dict())
    return (
        Contestant(
            ours, tritonnet.nn.CrossEntropyLoss(), tritonnet.optim.AdamW(ours.parameters(), lr=1e-4), images, labels
        ),
        Contestant(
            theirs,
            torch.nn.CrossEntropyLoss(),
            torch.optim.AdamW(theirs.parameters(), lr=1e-4, fused=True),
            images,
            labels,
        ),
    )


def disagreement(ours: Contestant, theirs: Contestant) -> float:
    """The largest relative difference between the losses of three steps, without dropout."""
    for one in (ours, theirs):
        one.net.eval()
    pairs = [(ours.step().item(), theirs.step().item()) for _ in range(3)]
    for one in (ours, theirs):
        one.net.train()
    return max(abs(a - b) / abs(b) if a == a else float("inf") for a, b in pairs)


def clock(device: torch.device) -> tuple[Callable[[Callable[[], object], int], float], str]:
    """A function (step, repeats) -> milliseconds a step, and what it reads."""
    if device.type == "cpu":

        def process_time(step: Callable[[], object], repeats: int) -> float:
            began = time.process_time()
            for _ in range(repeats):
                step()
            return 1e3 * (time.process_time() - began) / repeats

        return process_time, "process time, one thread"

    def events(step: Callable[[], object], repeats: int) -> float:
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        first.record()
        for _ in range(repeats):
            step()
        last.record()
        torch.cuda.synchronize(device)
        return first.elapsed_time(last) / repeats

    return events, "CUDA events"


def race(network: str, dtype: str, device: torch.device, batch: int, seconds: float) -> dict[str, Any]:
    """One row: medians of both over rounds in which they take turns, and the median of the rounds' ratios."""
    ours, theirs = contestants(network, getattr(torch, dtype), device, batch)
    row: dict[str, Any] = {"what": "step", "network": network, "dtype": dtype, "batch": batch}
    row["disagreement"] = disagreement(ours, theirs)
    if not row["disagreement"] <= AGREEMENT[dtype]:
        return row | {"refused": f"the losses of the first steps differ by more than {AGREEMENT[dtype]:g} of the loss"}
    measure, row["clock"] = clock(device)
    for one in (ours, theirs):
        measure(one.step, 3)
    repeats = max(1, min(50, round(20 / max(measure(ours.step, 1), measure(theirs.step, 1), 1e-3))))
    rounds: list[tuple[float, float]] = []
    until = time.perf_counter() + seconds
    while len(rounds) < 5 or (time.perf_counter() < until and len(rounds) < 200):
        rounds.append((measure(ours.step, repeats), measure(theirs.step, repeats)))
    row["ours_ms"] = statistics.median(a for a, _ in rounds)
    row["torch_ms"] = statistics.median(b for _, b in rounds)
    row["ratio"] = statistics.median(a / b for a, b in rounds)
    row["rounds"], row["steps_a_round"] = len(rounds), repeats
    return row


def circumstances(device: torch.device) -> dict[str, Any]:
    """What a figure depends on."""
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=RESULTS.parent, capture_output=True, text=True)
    name = _tune.target(device).name
    return {
        "device": name,
        "path": tritonnet.kernels.path(device)[0],
        "torch": torch.__version__,
        "triton": triton.__version__,
        "commit": git.stdout.strip(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    name = f"{row['network']:<8}{row['dtype']:<10}{row['batch']:>6}"
    if "refused" in row:
        return f"{name}  not timed: {row['refused']} ({row['disagreement']:.1e})"
    return f"{name}{row['ours_ms']:>12.3f}{row['torch_ms']:>12.3f}{row['ratio']:>8.2f}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=list(AGREEMENT))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=10, help="for each row")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder above the device's")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    around = circumstances(args.device)
    folder = args.results / around["device"]
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    with (folder / "step.jsonl").open("a") as file:
        for network in args.networks:
            for dtype in args.dtypes:
                rows.append(race(network, dtype, args.device, args.batch, args.seconds))
                file.write(json.dumps(rows[-1] | around) + "\n")
                file.flush()
    print(f"{around['path']} ({around['device']}), torch {around['torch']}, triton {around['triton']}")
    print(f"{'network':<8}{'dtype':<10}{'batch':>6}{'ours, ms':>12}{'torch, ms':>12}{'ratio':>8}")
    print("\n".join(line(row) for row in rows))


if __name__ == "__main__":
    main()
