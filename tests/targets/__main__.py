"""Every kernel compiled ahead of time for GPUs that need not be there: `make targets`, or `python -m tests.targets`.

Launches of the examples are recorded with the tiles that each GPU gets, then compiled by Triton. A kernel fails that
does not compile, spills registers, takes more shared memory than the GPU has, or multiplies half types without tensor
cores. What was compiled once is not compiled again until the kernel, its tile, Triton or these checks change.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from .builds import Build, builds
from .devices import DEVICES
from .ledger import Ledger
from .reports import Report, report

_WRITTEN_EVERY = 100

_todo: list[Build] = []
"""What the processes inherit that compile it."""


def main() -> None:
    arguments = argparse.ArgumentParser(prog="make targets", description=__doc__.splitlines()[0])
    arguments.add_argument("--devices", nargs="+", choices=[d.name for d in DEVICES], help="all of them if not given")
    arguments.add_argument("--kernels", default="", help="only those whose name contains this")
    arguments.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 8))
    options = arguments.parse_args()

    # Wide enough for the table, also into a file.
    console, start = Console(width=None if sys.stdout.isatty() else 170), time.monotonic()
    devices = [d for d in DEVICES if not options.devices or d.name in options.devices]
    ledger = Ledger.read()
    with console.status("recording what the examples launch"):
        found = {d.name: builds(d) for d in devices if not ledger.complete(d.name)}
    ledger.wanted |= {name: [each.key for each in of_device] for name, of_device in found.items()}
    missing = {each.key: each for of_device in found.values() for each in of_device if each.key not in ledger.reports}
    _todo[:] = [each for each in missing.values() if options.kernels in each.name]
    # Without a thread of its own, which a fork would find in the middle of something.
    with Progress(console=console, auto_refresh=False) as progress:
        task = progress.add_task(f"compiling {len(_todo)}", total=len(_todo))
        for at, (key, one) in enumerate(compiled(options.processes), 1):
            ledger.reports[key] = one
            progress.update(task, advance=1, refresh=True)
            if at % _WRITTEN_EVERY == 0:
                ledger.write()
    if not options.devices:
        ledger.forget_others()
    ledger.write()

    keys = [key for device in devices for key in ledger.wanted[device.name]]
    reports = [ledger.reports[key] for key in keys if key in ledger.reports]
    reports = [one for one in reports if options.kernels in one.kernel]
    console.print(table(reports, [d.name for d in devices]))
    failures = [(one, problem) for one in reports for problem in one.problems]
    for one, problem in failures:
        console.print(f"{one.build}: {problem}", style="red", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"{len(reports)} builds of {len({one.kernel for one in reports})} kernels, {len(_todo)} of them compiled, "
        f"{len(failures)} failures, in {time.monotonic() - start:.0f} s"
    )
    sys.exit(bool(failures))


def compiled(processes: int) -> Iterator[tuple[str, Report]]:
    """The reports of `_todo` by key, as they come. A compiler that dies takes no other kernel with it."""
    left = set(range(len(_todo)))
    while left:
        with executor(processes) as pool:
            running = {pool.submit(_report, at): at for at in sorted(left)}
            for future in concurrent.futures.as_completed(running):
                try:
                    result = future.result()
                except BrokenProcessPool:
                    break
                left.remove(running[future])
                yield _todo[running[future]].key, result
        # One of the first that are left has killed its process: each of them gets one of its own.
        for at in sorted(left)[: 2 * processes]:
            left.remove(at)
            with executor(1) as pool:
                try:
                    yield _todo[at].key, pool.submit(_report, at).result()
                except BrokenProcessPool:
                    each = _todo[at]
                    yield each.key, Report(each.name, each.device.name, str(each), problems=["the compiler dies of it"])


def executor(processes: int) -> concurrent.futures.ProcessPoolExecutor:
    return concurrent.futures.ProcessPoolExecutor(processes, multiprocessing.get_context("fork"))


def _report(at: int) -> Report:
    return report(_todo[at])


def table(reports: list[Report], devices: list[str]) -> Table:
    """For each kernel and device the most that any of its builds takes."""
    cells: dict[str, dict[str, list[Report]]] = defaultdict(lambda: defaultdict(list))
    for one in reports:
        cells[one.kernel][one.device].append(one)
    made = Table(title="registers, KiB of shared memory and bytes spilled: the most of any build; red: it fails")
    made.add_column("kernel")
    for device in devices:
        made.add_column(device, justify="right", no_wrap=True)
    for kernel in sorted(cells):
        made.add_row(kernel, *(cell(cells[kernel][device]) for device in devices))
    return made


def cell(builds: list[Report]) -> str:
    if not builds:
        return "-"
    registers, shared, spilled = (
        max(column) for column in zip(*((r.registers, r.shared, r.spilled) for r in builds), strict=True)
    )
    text = f"{registers} {shared / 1024:.0f} {spilled}"
    return f"[red]{text}[/red]" if any(one.problems for one in builds) else text


if __name__ == "__main__":
    main()
