"""What one pays before the first result, and for each launch: `python -m perf.start`.

Import of tritonnet beside torch and triton alone; the first step of the digits network in a fresh process, with an
empty kernel cache and with a warm one; a repeated launch of a kernel that does nothing. Wall time, but process time of
one thread for the launch.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import triton
import triton.language as tl

from tritonnet.kernels._launch import launch

from .timing import RESULTS, Results

IMPORT = """
import time
began = time.perf_counter()
import {modules}
print(time.perf_counter() - began)
"""
FIRST_STEP = """
import time, torch
from perf.step import contestants
torch.set_num_threads({threads})
ours, _ = contestants("digits", torch.float32, torch.device("{device}"))
began = time.perf_counter()
ours.step().item()
print(time.perf_counter() - began)
"""


@triton.jit
def _nothing_kernel(x_ptr, y_ptr, n, factor, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    pass


def fresh(code: str, **environ: str) -> float:
    """Seconds that a fresh process prints."""
    command = [sys.executable, "-c", code]
    root = Path(__file__).parent.parent
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    environ = {**os.environ, "PYTHONPATH": path, **environ}
    done = subprocess.run(command, cwd=root, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def imports(device: torch.device, rounds: int = 3) -> dict[str, float]:
    """Medians of interleaved rounds."""
    pairs = [
        (fresh(IMPORT.format(modules="torch, triton")), fresh(IMPORT.format(modules="torch, triton, tritonnet")))
        for _ in range(rounds)
    ]
    return {
        "torch_and_triton_s": statistics.median(alone for alone, _ in pairs),
        "with_tritonnet_s": statistics.median(both for _, both in pairs),
    }


def first_steps(device: torch.device) -> dict[str, float]:
    """With an empty kernel cache, then with what that left."""
    code = FIRST_STEP.format(device=device, threads=torch.get_num_threads())
    with tempfile.TemporaryDirectory() as cache:
        return {name: fresh(code, TRITON_CACHE_DIR=cache) for name in ("empty_cache_s", "warm_cache_s")}


def launches(device: torch.device, repeats: int = 2000, rounds: int = 15) -> dict[str, float]:
    """Microseconds of a repeated launch of one program."""
    x, y = torch.empty(16, device=device), torch.empty(16, device=device)
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(repeats):
            launch(_nothing_kernel, (1,), x, y, 16, 0.5, BLOCK=16)
        taken.append(1e6 * (time.process_time() - began) / repeats)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return {"us": statistics.median(taken)}


WHAT: dict[str, Callable[[torch.device], dict[str, float]]] = {
    "import": imports,
    "first-step": first_steps,
    "launch": launches,
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--what", nargs="+", default=list(WHAT), choices=list(WHAT))
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder above the device's")
    args = parser.parse_args(arguments)
    results = Results("start", args.device, args.results)
    for what in args.what:
        figures = WHAT[what](args.device)
        results.add({"what": what, **figures})
        print(f"{what:<12}" + ", ".join(f"{name} {figure:.3g}" for name, figure in figures.items()))


if __name__ == "__main__":
    main()
