"""The modules that behaviours are shown on, made of the layers of whichever library is asked for."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from tests.beside_torch import Behaviour
from tritonnet.module.hooks import EVERYWHERE


@contextmanager
def apart() -> Iterator[None]:
    """Nothing that one behaviour leaves behind, and no warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            # Neither forgets which sort of backward hook there was for all modules.
            torch.nn.modules.module._global_is_full_backward_hook = None
            EVERYWHERE.full = None


def leaf(nn: ModuleType, size: int = 3) -> Any:
    """One of each: parameter, None parameter, persistent and non-persistent buffer."""
    module = nn.Module()
    module.weight = nn.Parameter(torch.arange(float(size)))
    module.register_parameter("bias", None)
    module.register_buffer("mean", torch.ones(size))
    module.cache = nn.Buffer(torch.zeros(2), persistent=False)
    return module


def tree(nn: ModuleType) -> Any:
    """Two leaves of which the second shares its weight with the first, the first also under another name."""
    module = nn.Module()
    module.a, module.b = leaf(nn), leaf(nn)
    module.b.weight = module.a.weight
    module.again = module.a
    module.none = None
    module.add_module("gone", None)
    return module


def deep(nn: ModuleType) -> Any:
    """Leaves three levels down."""
    module = nn.Module()
    module.x = nn.Module()
    module.x.y = nn.Module()
    module.x.y.z = leaf(nn)
    module.own = nn.Parameter(torch.ones(2))
    return module


def scaling(nn: ModuleType, factor: float = 2.0) -> Any:
    """x * scale + shift, where shift is an argument by keyword."""

    class Scaling(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(factor))

        def forward(self, x: Tensor, shift: float = 0.0) -> Any:
            if isinstance(x, str):
                raise ValueError("text")
            return x * self.scale + shift

    return Scaling()


def names(pairs: Any) -> list[str]:
    return [name for name, _ in pairs]


def listed(result: Any) -> Any:
    """An iterator as its names or its length, a dict as its keys, another value as its type."""
    if hasattr(result, "__next__"):
        items = list(result)
        return names(items) if items and isinstance(items[0], tuple) else len(items)
    return list(result) if isinstance(result, dict) else type(result).__name__


def call(method: str, *args: Any, make: Behaviour = tree, **kwargs: Any) -> Behaviour:
    """What a method of a module gives."""
    return lambda nn: listed(getattr(make(nn), method)(*args, **kwargs))


def where(module: Any, name: str) -> tuple[bool, ...]:
    """In which views a name is found, and whether it is saved."""
    views = (module._parameters, module._buffers, module._modules)
    return (*(name in view for view in views), getattr(module, name) is None, name in module.state_dict())


def values(module: Any) -> dict[str, Any]:
    return {key: value.tolist() for key, value in module.state_dict().items() if isinstance(value, Tensor)}
