"""Time of a training step against torch.nn: `python -m perf.step`.

The networks of perf/networks.py: forward, loss (cross entropy, or the mean squared error of an autoencoder), backward,
AdamW. The baseline is torch.nn eager with AdamW(fused=True). Both start from the same weights, must agree on the loss
of three steps before anything is timed, and take turns while it is.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import tritonnet

from .networks import NETWORKS
from .timing import RESULTS, Results, take_turns

DTYPES = ("float32", "bfloat16", "float16")
# How far apart the losses of the first three steps may be, relative to the loss: a check for blunders, not a test.
AGREEMENT = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2, "float64": 1e-8}


@dataclass
class Contestant:
    """A network with its loss and optimizer on one batch."""

    net: Any
    loss: Any
    optimizer: Any
    inputs: Tensor
    targets: Tensor

    def step(self) -> Tensor:
        self.optimizer.zero_grad()
        loss: Tensor = self.loss(self.net(self.inputs), self.targets)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def contestants(
    name: str, dtype: torch.dtype, device: torch.device, batch: int | None = None
) -> tuple[Contestant, Contestant]:
    """tritonnet's and torch's, with the same weights and the same batch."""
    network = NETWORKS[name]
    batch = batch or network.batch
    torch.manual_seed(0)
    inputs = torch.randn(batch, *network.sizes).to(device, dtype)
    targets = torch.randint(10, (batch,)).to(device) if network.classifies else inputs
    theirs, ours = network.build(torch.nn).to(device, dtype), network.build(tritonnet.nn).to(device, dtype)
    ours.load_state_dict(theirs.state_dict())
    loss = "CrossEntropyLoss" if network.classifies else "MSELoss"
    our_optimizer = tritonnet.optim.AdamW(ours.parameters(), lr=1e-4)
    their_optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-4, fused=True)
    return (
        Contestant(ours, getattr(tritonnet.nn, loss)(), our_optimizer, inputs, targets),
        Contestant(theirs, getattr(torch.nn, loss)(), their_optimizer, inputs, targets),
    )


def disagreement(ours: Contestant, theirs: Contestant) -> float:
    """The largest relative difference between the losses of three steps, without dropout."""
    for one in (ours, theirs):
        one.net.eval()
    pairs = [(ours.step().item(), theirs.step().item()) for _ in range(3)]
    for one in (ours, theirs):
        one.net.train()
    return max(abs(a - b) / abs(b) if a == a else float("inf") for a, b in pairs)


def race(name: str, dtype: str, device: torch.device, batch: int | None, seconds: float) -> dict[str, Any]:
    """One row, timed only where the losses agree."""
    ours, theirs = contestants(name, getattr(torch, dtype), device, batch)
    row: dict[str, Any] = {"what": "step", "network": name, "dtype": dtype, "batch": len(ours.inputs)}
    row["disagreement"] = disagreement(ours, theirs)
    if not row["disagreement"] <= AGREEMENT[dtype]:
        return row | {"refused": f"the losses of the first steps differ by more than {AGREEMENT[dtype]:g} of the loss"}
    return row | take_turns(ours.step, theirs.step, device, seconds)


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    name = f"{row['network']:<13}{row['dtype']:<10}{row['batch']:>6}"
    if "refused" in row:
        return f"{name}  not timed: {row['refused']} ({row['disagreement']:.1e})"
    return f"{name}{row['ours_ms']:>12.3f}{row['torch_ms']:>12.3f}{row['ratio']:>8.2f}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=list(AGREEMENT))
    parser.add_argument("--batch", type=int, help="in place of each network's own")
    parser.add_argument("--seconds", type=float, default=10, help="for each row")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder above the device's")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    results = Results("step", args.device, args.results)
    for network in args.networks:
        for dtype in args.dtypes:
            results.add(race(network, dtype, args.device, args.batch, args.seconds))
    print(results)
    print(f"{'network':<13}{'dtype':<10}{'batch':>6}{'ours, ms':>12}{'torch, ms':>12}{'ratio':>8}")
    print("\n".join(map(line, results.rows)))


if __name__ == "__main__":
    main()
