"""Registry: the part of Module that knows what is registered.

What is registered lies in the instance's own `__dict__`, so that `self.weight` is an ordinary attribute look-up;
`_registered` says which names are registered, and as what.
"""

import functools
from collections.abc import Iterator, Mapping, MutableMapping, MutableSet
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import ModuleError
from ..parameter import Buffer, Parameter
from ._tree import KINDS, Kind, Tree, kind_held
from .hooks import ON_REGISTRATION, Hooked

if TYPE_CHECKING:
    from . import Module

_TAKES = {"parameter": "a Parameter or None", "buffer": "a Buffer, a tensor or None", "module": "a Module or None"}


class _Registered(MutableMapping[str, Any]):
    """What a module holds of one kind, by name: a live view that torch.nn.Module's users know as `_parameters` etc."""

    def __init__(self, module: "Registry", kind: Kind) -> None:
        self._values = module.__dict__
        self._all_names = module._registered
        self._names = module._registered[kind]

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        for names in self._all_names.values():
            if names is not self._names:
                names.pop(name, None)
        self._names.setdefault(name, True)
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        del self._names[name], self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return repr(dict(self))

    def copy(self) -> dict[str, Any]:
        return dict(self)


class _NonPersistent(MutableSet[str]):
    """The names of the buffers that the state dict leaves out: a live view."""

    def __init__(self, module: "Registry") -> None:
        self._persistent = module._registered["buffer"]

    def __contains__(self, name: object) -> bool:
        return not self._persistent.get(name, True)  # type: ignore[call-overload]

    def __iter__(self) -> Iterator[str]:
        return (name for name, persistent in self._persistent.items() if not persistent)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def add(self, name: str) -> None:
        if name in self._persistent:
            self._persistent[name] = False

    def discard(self, name: str) -> None:
        if name in self._persistent:
            self._persistent[name] = True


def _view(kind: Kind) -> Any:
    def get(self: "Registry") -> _Registered:
        return _Registered(self, kind)

    def replace(self: "Registry", members: Mapping[str, Any]) -> None:
        members, view = dict(members), _Registered(self, kind)
        view.clear()
        view.update(members)

    return property(get, replace)


@functools.lru_cache(maxsize=256)
def _of_torch_nn(cls: type[Any]) -> bool:
    origins = [(base.__module__.partition("nn.")[0], base.__name__) for base in cls.__mro__]
    return ("torch.", "Module") in origins or ("torch.", "Parameter") in origins


def _kind_of(value: object) -> Kind | None:
    if isinstance(value, Registry):
        return "module"
    if isinstance(value, Tensor):
        return "parameter" if isinstance(value, Parameter) else "buffer" if isinstance(value, Buffer) else None
    return None


class Registry(Tree, Hooked):
    """Named parameters, buffers and child modules, registered by assignment; torch.nn.Module's rules and names."""

    _parameters = _view("parameter")
    _buffers = _view("buffer")
    _modules = _view("module")

    @property
    def _non_persistent_buffers_set(self) -> "_NonPersistent":
        return _NonPersistent(self)

    def __init__(self) -> None:
        object.__setattr__(self, "_registered", {kind: {} for kind in KINDS})

    # Registration

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under `name`; None reserves the name and appears nowhere."""
        _check_name(self, "parameter", name)
        if param is not None and not isinstance(param, Parameter):
            raise _refusal(self, "parameter", name, param)
        if param is not None and param.grad_fn is not None:
            raise ModuleError(
                f"{type(self).__name__}.{name}: the parameter is computed from other tensors (not a leaf of autograd); "
                "register a Parameter made from data, and compute from it in forward"
            )
        _store(self, "parameter", name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that moves with the module and is not trained; persistent: the state dict holds it."""
        _check_name(self, "buffer", name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise _refusal(self, "buffer", name, tensor)
        _store(self, "buffer", name, tensor, persistent)

    def register_module(self, name: str, module: "Module | None") -> None:
        """Same as `add_module`."""
        self.add_module(name, module)

    def add_module(self, name: str, module: "Module | None") -> None:
        """Add a child module under `name`; None reserves the name."""
        if module is not None and not isinstance(module, Registry):
            raise _refusal(self, "module", name, module)
        _check_name(self, "module", name)
        _store(self, "module", name, module)

    def __setattr__(self, name: str, value: Any) -> None:
        kind = _kind_of(value)
        if "_registered" not in self.__dict__:
            if kind is not None:
                raise _too_early(self, name)
            object.__setattr__(self, name, value)
            return
        held = kind_held(self, name)
        if kind == "parameter":
            _check_free(self, type(self), kind, name)
            if held != kind and name in self.__dict__:
                delattr(self, name)
            self.register_parameter(name, value)
        elif held == "parameter" and value is None:
            self.register_parameter(name, None)
        elif (held == "module" and value is None) or (kind == "module" and held != "parameter"):
            _store(self, "module", name, value)
        elif kind == "buffer" and held in (None, "buffer"):
            self._assign_buffer(name, value, value.persistent)
        elif held == "buffer" and (value is None or isinstance(value, Tensor)):
            self._assign_buffer(name, value, self._registered["buffer"][name])
        elif held is not None:
            raise _refusal(self, held, name, value)
        elif _of_torch_nn(type(value)):  # type: ignore[arg-type]
            raise ModuleError(
                f"{type(self).__name__}.{name}: {type(value).__module__}.{type(value).__name__} is torch.nn's and "
                "would not be registered here; use tritonnet's class of that name, or "
                f"{'Parameter(it.data)' if isinstance(value, Tensor) else 'tritonnet.from_torch(it)'}"
            )
        else:
            object.__setattr__(self, name, value)

    def _assign_buffer(self, name: str, value: Tensor | None, persistent: bool) -> None:
        # Classes written before `persistent` override register_buffer(name, tensor).
        self.register_buffer(name, value, **({} if persistent else {"persistent": False}))

    def __getattr__(self, name: str) -> Any:
        if name == "_registered":
            raise _too_early(self, "parameters, buffers, modules")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        for names in self.__dict__.get("_registered", {}).values():
            names.pop(name, None)

    def __dir__(self) -> list[str]:
        return sorted(name for name in {*dir(type(self)), *self.__dict__} if not name[:1].isdigit())

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if "_registered" in state:
            state["_registered"] = {kind: dict(names) for kind, names in self._registered.items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def _check_name(module: Registry, kind: Kind, name: str) -> None:
    if "_registered" not in module.__dict__:
        raise _too_early(module, name)
    if not isinstance(name, str):
        raise ModuleError(f"{type(module).__name__}: the name of a {kind} is a string, and {name!r} is not")
    if "." in name or not name:
        raise ModuleError(f"{type(module).__name__}: {kind} name {name!r} is empty or has a dot, which parts names")
    _check_free(module, module, kind, name)


def _check_free(module: Registry, owner: object, kind: Kind, name: str) -> None:
    if hasattr(owner, name) and name not in module._registered[kind]:
        raise ModuleError(f"{type(module).__name__}: attribute {name!r} exists already; a {kind} cannot take its name")


def _store(module: Registry, kind: Kind, name: str, value: Any, persistent: bool = True) -> None:
    if value is not None or kind != "parameter":
        for hook in ON_REGISTRATION[kind].values():
            replaced = hook(module, name, value)
            value = value if replaced is None else replaced
    _Registered(module, kind)[name] = value
    module._registered[kind][name] = persistent


def _too_early(module: Registry, name: str) -> ModuleError:
    cls = type(module).__name__
    return ModuleError(f"{cls}.{name}: call super().__init__() in {cls}.__init__ before assigning to the module")


def _refusal(module: Registry, kind: Kind, name: str, value: object) -> ModuleError:
    what = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return ModuleError(f"{type(module).__name__}.{name}: cannot assign {what} as {kind}; it takes {_TAKES[kind]}")
