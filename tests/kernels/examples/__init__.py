"""Calls of every operation, one file a stem: what the tests that hold for all kernels walk.

A file holds `EXAMPLES = {"op": [factory, ...]}`. `factory(dtype, n)` returns the arguments of a call: a tuple of the
positional ones, or `call(*args, **kwargs)` where there are keyword arguments too. With n = 1 the call is a small one,
with n = 8 one whose launches have several programs. Together the factories of an operation launch each of its kernels,
and each variant that a constexpr or a missing tensor makes of one.

Tensors are drawn by torch alone (`torch.randn(...).to(dtype)`), no device is named and no value looked at (`.item()`,
`.tolist()`): so the same factory serves a GPU, and the meta device, where the compile tier calls it with n in the
hundreds to see the tiles of large sizes. Whatever a tile is picked by therefore grows with n.

A file whose operations take some tensor only as it lies densely in memory says so: `DENSE = {"op": {"parameter"}}`.
Those behind a table of pointers (`op(tables=)`) need not be named.
"""

import importlib
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._pytree import tree_leaves
from triton import JITFunction

from tritonnet.kernels import OPS
from tritonnet.kernels._op import Op

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""Where what walks the examples runs them."""


@dataclass(frozen=True)
class Call:
    """The arguments of a call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)

    def of(self, function: Callable[..., Any]) -> Any:
        """Calls `function` with them."""
        return function(*self.args, **self.kwargs)


def call(*args: Any, **kwargs: Any) -> Call:
    """The arguments of a call, as they would be written in one."""
    return Call(args, kwargs)


Factory = Callable[[torch.dtype, int], tuple[Any, ...] | Call]

EXAMPLES: dict[str, list[Factory]] = {}
DENSE: dict[str, set[str]] = {}
for _file in pkgutil.iter_modules(__path__):
    _module = importlib.import_module(f"{__name__}.{_file.name}")
    EXAMPLES |= _module.EXAMPLES
    DENSE |= getattr(_module, "DENSE", {})


@dataclass(frozen=True)
class Example:
    """One factory of one operation."""

    op: Op
    factory: Factory

    def make(self, dtype: torch.dtype, n: int, device: str | torch.device = DEVICE) -> Call:
        """The same call each time that it is asked for, in memory of its own on `device`."""
        # torch.manual_seed takes a millisecond where there is no GPU.
        (torch.manual_seed if torch.device(device).type == "cuda" else torch.default_generator.manual_seed)(0)
        with torch.device(device):
            made = self.factory(dtype, n)
        return made if isinstance(made, Call) else Call(made)

    def changed(self, call: Call, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Call:
        """The call with `change(label, tensor)` for each tensor that need not lie densely in memory."""
        bound = self.op.signature.bind(*call.args, **call.kwargs)
        for name in bound.arguments.keys() - {*self.op.tables, *DENSE.get(self.op.name, ())}:
            bound.arguments[name] = _changed(name, bound.arguments[name], change)
        return Call(bound.args, bound.kwargs)

    def __str__(self) -> str:
        return f"{self.op.name}-{self.factory.__name__}"


def _changed(label: str, value: Any, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_changed(f"{label}[{at}]", each, change) for at, each in enumerate(value))
    return change(label, value) if isinstance(value, torch.Tensor) else value


def examples() -> list[Example]:
    """All of them, in the order of the operations' names."""
    return [Example(OPS[name], factory) for name in sorted(OPS) for factory in EXAMPLES.get(name, ())]


def kernels() -> set[Callable[..., Any]]:
    """The functions of all kernels there are, launched by an example or not."""
    return {
        kernel.fn
        for name, module in list(sys.modules.items())
        if name.startswith("tritonnet.kernels.")
        for kernel in vars(module).values()
        if isinstance(kernel, JITFunction) and kernel.__name__.endswith("_kernel")
    }


def tensors(*values: Any) -> list[torch.Tensor]:
    """The tensors in arguments or results, those in lists and tuples too."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]
