"""Time of single functions, forward and backward, against torch.nn.functional: `python -m perf.functions`.

The families are the files of perf/cases/. Each function must agree with torch's on results and gradients before it is
timed; the two take turns. A family's figure is the geometric mean of its ratios.
"""

import argparse
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import torch
from rich.progress import track
from torch import Tensor

from . import cases
from .cases import Case
from .timing import RESULTS, Results, take_turns

FAMILIES = [module.name for module in pkgutil.iter_modules(cases.__path__)]
# Relative to the largest element: a check for blunders, not a test.
AGREEMENT = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2, "float64": 1e-8}


def of_family(family: str) -> list[Case]:
    found: list[Case] = importlib.import_module(f"{cases.__name__}.{family}").CASES
    return found


def call(function: Callable[..., Any], inputs: tuple[Tensor, ...]) -> Callable[[], list[Tensor]]:
    """A call of the function and, where inputs require gradients, of its backward; returns results and gradients."""
    leaves = [one for one in inputs if one.requires_grad]
    incoming: list[Tensor] = []

    def run() -> list[Tensor]:
        found = function(*inputs)
        results = [one for one in (found if isinstance(found, tuple) else (found,)) if isinstance(one, Tensor)]
        roots = [one for one in results if one.requires_grad]
        if not roots:
            return results
        if not incoming:
            generator = torch.Generator(roots[0].device).manual_seed(1)
            # Laid out as the results, as the gradients of a network are.
            incoming.extend(
                torch.empty_like(one).copy_(torch.randn(one.shape, generator=generator, device=one.device))
                for one in roots
            )
        return [*results, *torch.autograd.grad(roots, leaves, incoming)]

    return run


def disagreement(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest difference, relative to the largest element of torch's tensor."""
    worst = 0.0
    for one, other in zip(ours, theirs, strict=True):
        one, other = one.detach().double(), other.detach().double()
        off = float((one - other).abs().max() / other.abs().max().clamp_min(1e-30))
        worst = max(worst, off if off == off else float("inf"))
    return worst


def race(family: str, case: Case, dtype: str, device: torch.device, seconds: float) -> dict[str, Any]:
    """One row, timed only where results and gradients agree."""
    torch.manual_seed(0)
    inputs = case.make(device, getattr(torch, dtype))
    ours, theirs = call(case.ours, inputs), call(case.torchs, inputs)
    row: dict[str, Any] = {"what": "function", "family": family, "name": case.name, "dtype": dtype}
    row["disagreement"] = disagreement(ours(), theirs())
    if not row["disagreement"] <= AGREEMENT[dtype]:
        return row | {"refused": f"results or gradients differ by more than {AGREEMENT[dtype]:g} of the largest"}
    return row | take_turns(ours, theirs, device, seconds)


def table(rows: list[dict[str, Any]]) -> str:
    """A line a row, and under each family the geometric mean of its ratios by dtype."""
    lines = [f"{'function':<44}{'dtype':<10}{'ours, ms':>10}{'torch, ms':>11}{'ratio':>8}"]
    for family in dict.fromkeys(row["family"] for row in rows):
        own = [row for row in rows if row["family"] == family]
        for row in own:
            name = f"{row['name']:<44}{row['dtype']:<10}"
            if "refused" in row:
                lines.append(f"{name}  not timed: {row['refused']} ({row['disagreement']:.1e})")
            else:
                lines.append(f"{name}{row['ours_ms']:>10.3f}{row['torch_ms']:>11.3f}{row['ratio']:>8.2f}")
        timed = [row for row in own if "ratio" in row]
        for dtype in dict.fromkeys(row["dtype"] for row in timed):
            mean = geometric_mean(row["ratio"] for row in timed if row["dtype"] == dtype)
            lines.append(f"{'  ' + family + ', geometric mean':<44}{dtype:<10}{mean:>29.2f}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--families", nargs="+", default=FAMILIES, choices=FAMILIES)
    parser.add_argument("--dtypes", nargs="+", default=["float32"], choices=list(AGREEMENT))
    parser.add_argument("--seconds", type=float, default=1, help="for each row")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder above the device's")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results = Results("functions", args.device, args.results)
    every = [(family, case, dtype) for family in args.families for case in of_family(family) for dtype in args.dtypes]
    for family, case, dtype in track(every, "timing"):
        results.add(race(family, case, dtype, args.device, args.seconds))
    print(results)
    print(table(results.rows))


if __name__ == "__main__":
    main()
