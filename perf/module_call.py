"""What a module costs beyond its arithmetic, against torch.nn: `python -m perf.module_call`.

Calls of an Identity, of a Linear(8, 8) and of a 10-layer MLP, whose functions are replaced by ones that return their
input: what remains is what the modules themselves cost, look-ups of their parameters included. state_dict() and
named_parameters() of a module with 1000 parameters. Process time of one thread on the host.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

import tritonnet

from .timing import RESULTS, Results, take_turns

CALLS = 1000
"""How many calls a measured one stands for: a single one is shorter than the clock's ticks."""
Work = Callable[[], object]


def identity(nn: ModuleType) -> Work:
    return calling(nn.Identity())


def linear(nn: ModuleType) -> Work:
    return calling(nn.Linear(8, 8))


def mlp(nn: ModuleType) -> Work:
    layers = [layer for _ in range(10) for layer in (nn.Linear(8, 8), nn.ReLU())]
    return calling(nn.Sequential(*layers), CALLS // 20)


def hooked(nn: ModuleType) -> Work:
    module = nn.Identity()
    module.register_forward_hook(lambda module, args, output: None)
    return calling(module)


def thousand(nn: ModuleType) -> Any:
    """100 modules in 10 groups, with 10 parameters each."""
    root = nn.Module()
    for group in range(10):
        root.add_module(f"group{group}", nn.ModuleList(nn.Module() for _ in range(10)))
    for module in [module for group in root.children() for module in group]:
        for number in range(10):
            module.register_parameter(f"weight{number}", nn.Parameter(torch.empty(1)))
    return root


def state_dict(nn: ModuleType) -> Work:
    return thousand(nn).state_dict  # type: ignore[no-any-return]


def named_parameters(nn: ModuleType) -> Work:
    root = thousand(nn)
    return lambda: list(root.named_parameters())


def calling(module: Callable[[Tensor], object], times: int = CALLS) -> Work:
    x = torch.ones(1, 8)

    def work() -> object:
        for _ in range(times):
            result = module(x)
        return result

    return work


WHAT: dict[str, Callable[[ModuleType], Work]] = {
    "identity": identity,
    "linear": linear,
    "mlp": mlp,
    "hooked": hooked,
    "state_dict": state_dict,
    "named_parameters": named_parameters,
}


@contextmanager
def without_arithmetic() -> Iterator[None]:
    """linear and relu of both libraries return their input."""
    functions = [(nn.functional, name) for nn in (tritonnet.nn, torch.nn) for name in ("linear", "relu")]
    kept = [getattr(*function) for function in functions]
    try:
        for function in functions:
            setattr(*function, lambda input, *args, **kwargs: input)
        yield
    finally:
        for function, value in zip(functions, kept, strict=True):
            setattr(*function, value)


def summary(result: Any) -> Any:
    """What both libraries' results have in common: names and shapes."""
    if isinstance(result, Tensor):
        return tuple(result.shape)
    return [(name, summary(tensor)) for name, tensor in (result.items() if isinstance(result, dict) else result)]


def race(what: str, seconds: float) -> dict[str, Any]:
    """One row, timed only where both give the same."""
    with without_arithmetic():
        ours, theirs = WHAT[what](tritonnet.nn), WHAT[what](torch.nn)
        row: dict[str, Any] = {"what": what}
        if summary(ours()) != summary(theirs()):
            return row | {"refused": "names or shapes differ"}
        return row | take_turns(ours, theirs, torch.device("cpu"), seconds)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--what", nargs="+", default=list(WHAT), choices=list(WHAT))
    parser.add_argument("--seconds", type=float, default=5, help="for each row")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder above the device's")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results = Results("module_call", torch.device("cpu"), args.results)
    for what in args.what:
        results.add(race(what, args.seconds))
    print(results)
    print(f"{'':<18}{'ours, ms':>12}{'torch, ms':>12}{'ratio':>8}")
    for row in results.rows:
        figures = f"  not timed: {row['refused']}" if "refused" in row else ""
        print(
            f"{row['what']:<18}" + (figures or f"{row['ours_ms']:>12.4f}{row['torch_ms']:>12.4f}{row['ratio']:>8.2f}")
        )


if __name__ == "__main__":
    main()
