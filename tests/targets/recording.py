"""What an example launches on a device that need not be there: its launcher runs, its launches are written down."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any
from unittest import mock

import torch

from tests.kernels.examples import Call, Example
from tritonnet.kernels import _launch, _tune

Change = Callable[[str, torch.Tensor], torch.Tensor]
Measured = Callable[..., dict[str, int] | None]


@dataclass(frozen=True)
class Pointer:
    """What a launch is specialised on of a tensor; and, for whoever asks, how many elements its memory holds."""

    dtype: torch.dtype
    offset: int
    extent: int = field(default=0, compare=False)

    def data_ptr(self) -> int:
        return self.offset


@dataclass(frozen=True)
class Launch:
    """What `kernels._launch.launch` was given."""

    kernel: Any
    args: tuple[Any, ...]
    constexprs: dict[str, Any]


def _pointer(tensor: torch.Tensor) -> Pointer:
    size = tensor.element_size()
    return Pointer(tensor.dtype, tensor.storage_offset() * size % 16, tensor.untyped_storage().nbytes() // size)


@contextlib.contextmanager
def recording(
    target: _tune.Target, measured: Measured = lambda *_, **__: None
) -> Iterator[Callable[..., list[Launch]]]:
    """Gives `record(example, dtype, n, change)`: the launches of an example with the tiles picked for `target`.

    measured: in the place of `_tune.measured`. change: see `Example.changed`.
    """
    launches: list[Launch] = []

    def launch(kernel: Any, grid: tuple[int, ...], *args: Any, **constexprs: Any) -> None:
        seen = (_pointer(arg) if isinstance(arg, torch.Tensor) else arg for arg in args)
        launches.append(Launch(kernel, tuple(seen), constexprs))

    def record(example: Example, dtype: torch.dtype, n: int, change: Change | None = None) -> list[Launch]:
        launches.clear()
        call = _made(example, dtype, n)
        if change is not None:
            call = example.changed(call, change)
        call.of(example.op.launcher)
        return list(launches)

    # Each file has names of its own for what it imports.
    replaced = [(_launch.launch, launch), (_tune.target, lambda _: target), (_tune.measured, measured)]
    with contextlib.ExitStack() as stack:
        for module in _modules():
            for name, value in list(vars(module).items()):
                for original, replacement in replaced:
                    if value is original:
                        stack.enter_context(mock.patch.object(module, name, replacement))
        forget_plans()
        stack.callback(forget_plans)
        yield record


@functools.cache
def _made(example: Example, dtype: torch.dtype, n: int) -> Call:
    return example.make(dtype, n, "meta")


def _modules() -> list[ModuleType]:
    """The kernels' files."""
    kernels = [(name, module) for name, module in sys.modules.items() if name.startswith("tritonnet.kernels.")]
    return [module for name, module in kernels if not name.startswith("tritonnet.kernels.cpu")]


def forget_plans() -> None:
    """Empties what kernels keep by shape: it holds the tiles of one target."""
    for module in _modules():
        for value in list(vars(module).values()):
            if isinstance(value, functools._lru_cache_wrapper) and value.__module__ == module.__name__:
                value.cache_clear()
