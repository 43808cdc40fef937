"""python -m tritonnet: what will run here, and why."""

import platform
from collections.abc import Iterator

import torch
import triton
from triton import knobs

from . import __version__, errors, kernels
from .kernels import _tune
from .kernels.cpu import compiler


def main() -> None:
    """Prints a table, with rich where it is installed."""
    rows = list(report())
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        for name, value in rows:
            print(f"{name:<14}{value}")
        return
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(f"[bold]{name}[/bold]", value.replace("[", "\\["))
    Console().print(table, soft_wrap=True)


def report() -> Iterator[tuple[str, str]]:
    """Names and values, a line each."""
    yield "tritonnet", f"{__version__}, torch {torch.__version__}, triton {triton.__version__}"
    yield "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield "C compiler", _c_compiler()
    devices = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    for device in devices:
        yield f"GPU {device.index}", _gpu(device)
    if not devices:
        built = torch.version.cuda or torch.version.hip
        yield "GPUs", "none that torch sees" if built else "none: this torch is built for the CPU alone"
    for device in [torch.device("cpu"), *devices]:
        what, why = kernels.path(device)
        yield f"{device} tensors", f"{what}: {why}"
    yield "kernel cache", knobs.cache.dir
    for device in [torch.device("cpu"), *devices]:
        yield f"{device} tiles", _tiles(device)


def _c_compiler() -> str:
    try:
        found = compiler.c_compiler()
    except errors.CompilerError as error:
        return str(error)
    return f"{' '.join(found.command)}: {found.version.splitlines()[0]}"


def _gpu(device: torch.device) -> str:
    found = torch.cuda.get_device_properties(device)
    return (
        f"{found.name}, compute capability {found.major}.{found.minor}, "
        f"{found.multi_processor_count} multiprocessors, {found.total_memory / 2**30:.0f} GiB"
    )


def _tiles(device: torch.device) -> str:
    name = _tune.target(device).name
    measured = sum(len(entries) for entries in _tune.table(name).values())
    return f"{measured} measured for {name}" if measured else f"by rule: none measured for {name}"


if __name__ == "__main__":
    main()
