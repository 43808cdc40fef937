"""A progress bar on the terminal for what takes a while to read or write."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LARGE = 1 << 29
"""Bytes from which a bar is shown."""


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], object]]:
    """Gives a function that is told of every so many bytes done. Nothing is shown of small files, without a terminal,
    without rich, or within another of rich's bars."""
    bar = None
    if total >= LARGE and sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.errors import LiveError
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
        except ImportError:
            pass
        else:
            columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
            bar = Progress(*columns, console=Console(stderr=True), transient=True)
            try:
                bar.start()
            except LiveError:
                bar = None
    if bar is None:
        yield lambda done: None
        return
    task = bar.add_task(what, total=total)
    try:
        yield lambda done: bar.advance(task, done)
    finally:
        bar.stop()
