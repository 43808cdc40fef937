"""Classes that derive from torch.nn's, rebuilt to derive from tritonnet's with the functions they have."""

import functools
import types
from collections.abc import Callable
from typing import Any

from .. import nn
from ..module import Module

_BASE = ("torch.nn.modules.module", "Module")


def torchs_module(cls: type) -> type | None:
    """torch.nn.Module, if the class derives from it; found without an import."""
    return next((base for base in cls.__mro__ if (base.__module__, base.__name__) == _BASE), None)


def is_torchs(cls: type) -> bool:
    """Whether torch itself defines the class."""
    return cls.__module__.partition(".")[0] == "torch"


def layer_missing(cls: type) -> type | None:
    """The class, or that of torch's from which it derives, for which tritonnet has none; None if it has all."""
    if is_torchs(cls):
        return None if _layer(cls) else cls
    missing = (layer_missing(base) for base in cls.__bases__ if torchs_module(base))
    return next((base for base in missing if base), None)


def _layer(cls: type) -> type | None:
    if cls is torchs_module(cls):
        return Module
    # Private ones are bases that layers share, such as _Loss; nn.modules finds ours.
    known = cls.__module__.startswith("torch.nn.modules.") and (cls.__name__ in nn.__all__ or cls.__name__[0] == "_")
    found = getattr(nn.modules, cls.__name__, None) if known else None
    return found if isinstance(found, type) else None


@functools.cache
def counterpart(cls: type) -> type:
    """tritonnet's layer for torch's, and for a class of the user's one of the same name that derives from tritonnet's.

    Its functions are the user's, each `super()` of which means the new class. It is pickled by way of the original.
    """
    if torchs_module(cls) is None:
        return cls
    if is_torchs(cls):
        layer = _layer(cls)
        assert layer is not None
        return layer
    new = types.CellType()
    namespace = {
        name: _rebound(value, cls, new)
        for name, value in vars(cls).items()
        if name not in ("__dict__", "__weakref__", "__classcell__")
    }
    if "__reduce_ex__" not in namespace and "__reduce__" not in namespace:
        namespace["__reduce_ex__"] = _reduced(cls)
    bases = tuple(dict.fromkeys(counterpart(base) for base in cls.__bases__))
    made: type = types.new_class(cls.__name__, bases, {"metaclass": type(cls)}, lambda space: space.update(namespace))
    new.cell_contents = made
    return made


def _reduced(cls: type) -> Callable[[Module, object], tuple[Any, ...]]:
    def __reduce_ex__(self: Module, protocol: object) -> tuple[Any, ...]:
        return blank, (cls,), self.__getstate__()

    return __reduce_ex__


def blank(cls: type) -> Any:
    """An instance of the class's counterpart in which nothing is registered; its `__init__` is not called."""
    made: Any = counterpart(cls)
    return made.__new__(made)


def _rebound(value: Any, cls: type, new: types.CellType) -> Any:
    """The function (or what wraps one), with the new class for what `super()` finds as `__class__`."""
    if isinstance(value, staticmethod | classmethod):
        return type(value)(_rebound(value.__func__, cls, new))
    if isinstance(value, property):
        get, put, delete = (_rebound(one, cls, new) for one in (value.fget, value.fset, value.fdel))
        return property(get, put, delete, value.__doc__)
    if not isinstance(value, types.FunctionType) or not value.__closure__:
        return value
    cells = []
    for name, cell in zip(value.__code__.co_freevars, value.__closure__, strict=True):
        held = _held(cell)
        if name == "__class__" and held is cls:
            cells.append(new)
        elif isinstance(held, types.FunctionType) and held is not value:
            inner = _rebound(held, cls, new)
            cells.append(cell if inner is held else types.CellType(inner))
        else:
            cells.append(cell)
    if cells == list(value.__closure__):
        return value
    made = types.FunctionType(value.__code__, value.__globals__, value.__name__, value.__defaults__, tuple(cells))
    made.__kwdefaults__ = value.__kwdefaults__
    return functools.update_wrapper(made, value, updated=("__dict__",))


def _held(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet filled
        return None
