"""Throughput of checkpoints against torch.save and bare safetensors: `python -m perf.checkpoints`.

The state of a network with Adam's moments, about 200 MB, is written to a file and read back, by each in turn and round
by round; what is measured is wall time, since threads and the disk are part of it. "safetensors" writes without fsync;
"safetensors, synced" and "torch.save, synced" do what a save that outlasts a power failure must. All reads are from the
page cache and end with tensors in memory of their own. torch computes in one thread; the hashes have threads of their
own, for which there may be a core or not. The rows of ours that leave out the hashes or the fsync say what these cost.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import safetensors.torch
import torch
from torch import Tensor

import tritonnet
from tritonnet import Checkpoints, nn
from tritonnet.checkpoint import _file, _state

from .timing import RESULTS, Results

Way = Callable[[], object]


def state(megabytes: float) -> tuple[Any, Any, dict[str, Tensor]]:
    """A network of such a size with its optimizer's, and all its tensors by name."""
    width = 1024
    layers = max(1, round(megabytes * 1e6 / (3 * 4 * width * (width + 1))))
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Linear(width, width) for _ in range(layers)))
    optimizer = tritonnet.optim.Adam(net.parameters())
    for param in net.parameters():
        moments = {name: torch.rand_like(param.data) for name in ("exp_avg", "exp_avg_sq")}
        optimizer.state[param] = {"step": torch.ones(()), **moments}
    return net, optimizer, _state.collect(net, optimizer, {})[0]


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Ours without what is named: "hashes", "fsync"."""
    with ExitStack() as patches:
        if "hashes" in names:
            patches.enter_context(mock.patch.object(_file, "_sha256_in", lambda *_: "0" * 64))
        if "fsync" in names:
            patches.enter_context(mock.patch.object(os, "fsync", lambda descriptor: None))
        yield


def saves(
    folder: Path, net: Any, optimizer: Any, tensors: dict[str, Tensor], background: Checkpoints
) -> dict[str, Way]:
    plain = {name: tensor.detach().as_subclass(Tensor) for name, tensor in tensors.items()}
    numbers = iter(range(10**9))

    def ours(*names: str) -> Callable[[], object]:
        def save() -> None:
            with without(*names):
                tritonnet.save(folder / "ours", net, optimizer)

        return save

    def synced(save: Callable[[Any, Any], object], name: str) -> Callable[[], object]:
        def call() -> None:
            save(plain, folder / name)
            sync(folder / name)

        return call

    return {
        "tritonnet.save": ours(),
        "tritonnet.save without hashes": ours("hashes"),
        "tritonnet.save without fsync": ours("fsync"),
        "tritonnet.save without either": ours("hashes", "fsync"),
        "Checkpoints.save in the background, until it returns": lambda: background.save(next(numbers), net, optimizer),
        "save_weights": lambda: tritonnet.save_weights(folder / "weights.safetensors", plain),
        "torch.save": lambda: torch.save(plain, folder / "torch"),
        "torch.save, synced": synced(torch.save, "torch"),
        "safetensors": lambda: safetensors.torch.save_file(plain, folder / "safetensors"),
        "safetensors, synced": synced(safetensors.torch.save_file, "safetensors"),
    }


def loads(folder: Path, net: Any, optimizer: Any) -> dict[str, Way]:
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, folder / "run")

    def torchs() -> None:
        loaded = torch.load(folder / "run", weights_only=True)
        net.load_state_dict(loaded["net"])
        optimizer.load_state_dict(loaded["optimizer"])

    return {
        "tritonnet.load": lambda: _file.read(str(folder / "ours")),
        'tritonnet.load, verify="header"': lambda: _file.read(str(folder / "ours"), "header"),
        "tritonnet.load into network and optimizer": lambda: tritonnet.load(folder / "ours", net, optimizer),
        "torch.load": lambda: torch.load(folder / "torch", weights_only=True),
        "torch.load into network and optimizer": torchs,
        "safetensors": lambda: safetensors.torch.load_file(folder / "safetensors", backend="pread"),
    }


def race(ways: dict[str, Way], rounds: int, between: Way) -> dict[str, list[float]]:
    """Seconds of each in each round, after a round that does not count; `between` goes before each."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for at in range(rounds + 1):
        for name, way in ways.items():
            between()
            began = time.perf_counter()
            way()
            if at:
                taken[name].append(time.perf_counter() - began)
    return taken


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: where temporary files go")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder above the device's")
    args = parser.parse_args(arguments)
    results = Results("checkpoints", torch.device("cpu"), args.results)
    torch.set_num_threads(1)
    print(results)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        net, optimizer, tensors = state(args.megabytes)
        megabytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) / 1e6
        background = Checkpoints(folder / "background", keep=1, background=True)
        writing = saves(folder, net, optimizer, tensors, background)

        def settle() -> None:
            background.wait()
            os.sync()

        for what, ways in {"save": writing, "load": loads(folder, net, optimizer)}.items():
            taken = race(ways, args.rounds, settle)
            if what == "save":
                tritonnet.save(folder / "ours", net, optimizer)
            print(f"\n{what + f' {megabytes:.0f} MB':<54}{'ms':>8}{'MB/s':>8}{'to torch':>10}{'to safetensors':>16}")
            for way, seconds in taken.items():
                row = {"what": what, "way": way, "megabytes": round(megabytes, 1), "rounds": args.rounds}
                row["ms"] = 1e3 * statistics.median(seconds)
                row["mb_per_s"] = megabytes / statistics.median(seconds)
                for other in (f"torch.{what}", "safetensors"):
                    ratios = (a / b for a, b in zip(seconds, taken[other], strict=True))
                    row[f"ratio_to_{other.replace('.', '_')}"] = statistics.median(ratios)
                results.add(row)
                print(
                    f"{way:<54}{row['ms']:>8.0f}{row['mb_per_s']:>8.0f}"
                    f"{row[f'ratio_to_torch_{what}']:>10.2f}{row['ratio_to_safetensors']:>16.2f}"
                )


if __name__ == "__main__":
    main()
