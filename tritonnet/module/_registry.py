"""Registry: the half of Module that knows what is registered, and walks it.

What is registered lies in the instance's own `__dict__`, so that `self.weight` is an ordinary attribute look-up;
`_registered` says which names are registered, and as what.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import ModuleError
from ..parameter import Buffer, Parameter
from ._unregistered import warn_of_unregistered

if TYPE_CHECKING:
    from . import Module

Kind = str
_KINDS: tuple[Kind, ...] = ("parameter", "buffer", "module")
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


class Registry:
    """Named parameters, buffers and child modules, registered by assignment; torch.nn.Module's rules and names."""

    _registered: dict[Kind, dict[str, bool]]
    """Registered names by kind, in order; the value says whether the state dict holds them (buffers: persistent)."""

    _parameters = _view("parameter")
    _buffers = _view("buffer")
    _modules = _view("module")

    def __init__(self) -> None:
        self.__dict__["_registered"] = {kind: {} for kind in _KINDS}

    # Registration

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under `name`; None reserves the name and appears nowhere."""
        self._check_name("parameter", name)
        if param is not None and not isinstance(param, Parameter):
            raise self._refusal("parameter", name, param)
        if param is not None and param.grad_fn is not None:
            raise ModuleError(
                f"{type(self).__name__}.{name}: the parameter is computed from other tensors (not a leaf of autograd); "
                "register a Parameter made from data, and compute from it in forward"
            )
        self._store("parameter", name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that moves with the module and is not trained; persistent: the state dict holds it."""
        self._check_name("buffer", name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise self._refusal("buffer", name, tensor)
        self._store("buffer", name, tensor, persistent)

    def register_module(self, name: str, module: "Module | None") -> None:
        """Add a child module under `name`; None reserves the name."""
        if module is not None and not isinstance(module, Registry):
            raise self._refusal("module", name, module)
        self._check_name("module", name)
        self._store("module", name, module)

    def add_module(self, name: str, module: "Module | None") -> None:
        """Same as `register_module`."""
        self.register_module(name, module)

    def _check_name(self, kind: Kind, name: str) -> None:
        if "_registered" not in self.__dict__:
            raise self._too_early(name)
        if not isinstance(name, str):
            raise ModuleError(f"{type(self).__name__}: the name of a {kind} is a string, and {name!r} is not")
        if "." in name or not name:
            raise ModuleError(f"{type(self).__name__}: {kind} name {name!r} is empty or has a dot, which parts names")
        self._check_free(self, kind, name)

    def _check_free(self, owner: object, kind: Kind, name: str) -> None:
        if hasattr(owner, name) and name not in self._registered[kind]:
            raise ModuleError(
                f"{type(self).__name__}: attribute {name!r} exists already; a {kind} cannot take its name"
            )

    def _store(self, kind: Kind, name: str, value: Any, persistent: bool = True) -> None:
        _Registered(self, kind)[name] = value
        self._registered[kind][name] = persistent

    def _kind(self, name: str) -> Kind | None:
        return next((kind for kind in _KINDS if name in self._registered[kind]), None)

    def _too_early(self, name: str) -> ModuleError:
        cls = type(self).__name__
        return ModuleError(f"{cls}.{name}: call super().__init__() in {cls}.__init__ before assigning to the module")

    def _refusal(self, kind: Kind, name: str, value: object) -> ModuleError:
        what = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        return ModuleError(f"{type(self).__name__}.{name}: cannot assign {what} as {kind}; it takes {_TAKES[kind]}")

    def __setattr__(self, name: str, value: Any) -> None:
        kind = _kind_of(value)
        if "_registered" not in self.__dict__:
            if kind is not None:
                raise self._too_early(name)
            object.__setattr__(self, name, value)
            return
        held = self._kind(name)
        if held is not None and value is None:
            self.__dict__[name] = None
        elif kind == "parameter":
            self._check_free(type(self), kind, name)
            if held != kind and name in self.__dict__:
                delattr(self, name)
            self.register_parameter(name, value)
        elif kind == "buffer" and held in (None, "buffer"):
            self.register_buffer(name, value, value.persistent)
        elif kind == "module" and held != "parameter":
            self._store("module", name, value)
        elif held == "buffer" and isinstance(value, Tensor):
            self.register_buffer(name, value, self._registered["buffer"][name])
        elif held is not None:
            raise self._refusal(held, name, value)
        elif _of_torch_nn(type(value)):  # type: ignore[arg-type]
            raise ModuleError(
                f"{type(self).__name__}.{name}: {type(value).__module__}.{type(value).__name__} is torch.nn's and "
                "would not be registered here; use tritonnet's class of that name"
            )
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name == "_registered":
            raise self._too_early("parameters, buffers, modules")
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

    # Walking the tree

    def named_modules(
        self, memo: "set[Module] | None" = None, prefix: str = "", remove_duplicate: bool = True
    ) -> "Iterator[tuple[str, Module]]":
        """This module and all below it, depth first, each once (unless remove_duplicate=False), with dotted names."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)  # type: ignore[arg-type]
        yield prefix, self  # type: ignore[misc]
        for name, module in self._members("module"):
            yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> "Iterator[Module]":
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

    def named_children(self) -> "Iterator[tuple[str, Module]]":
        """The modules directly below, each once."""
        seen: set[Module] = set()
        for name, module in self._members("module"):
            if module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> "Iterator[Module]":
        return (module for _, module in self.named_children())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Parameters of this module and (recurse) those below; a shared one once, under its first name."""
        warn_of_unregistered(self)
        return self._named_tensors("parameter", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (param for _, param in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Buffers, persistent or not, of this module and (recurse) those below; a shared one once."""
        return self._named_tensors("buffer", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _members(self, kind: Kind) -> list[tuple[str, Any]]:
        values = self.__dict__
        names = self._registered[kind]
        return [(name, values[name]) for name in names if values[name] is not None] if names else []

    def _named_tensors(
        self, kind: Kind, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        seen: set[Tensor] = set()
        modules: Iterable[tuple[str, Registry]] = [(prefix, self)]
        if recurse:
            modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        for path, module in modules:
            for name, tensor in module._members(kind):
                if tensor in seen:
                    continue
                if remove_duplicate:
                    seen.add(tensor)
                yield f"{path}.{name}" if path else name, tensor

    def get_submodule(self, target: str) -> "Module":
        """The module under a dotted name ("" is this one). Raises: ModuleError (an AttributeError) if there is none."""
        module: Registry = self
        for name in target.split(".") if target else []:
            child = getattr(module, name, None)
            if not isinstance(child, Registry):
                raise ModuleError(f"{type(module).__name__} has no module {name!r} (looking for {target!r})")
            module = child
        return module  # type: ignore[return-value]

    def get_parameter(self, target: str) -> Parameter:
        """The parameter under a dotted name. Raises: ModuleError (an AttributeError) if there is none."""
        return self._get_tensor("parameter", target)  # type: ignore[return-value]

    def get_buffer(self, target: str) -> Tensor:
        """The buffer under a dotted name. Raises: ModuleError (an AttributeError) if there is none."""
        return self._get_tensor("buffer", target)

    def _get_tensor(self, kind: Kind, target: str) -> Tensor:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if name not in module._registered[kind] or module.__dict__[name] is None:
            raise ModuleError(f"{type(module).__name__} has no {kind} {name!r} (looking for {target!r})")
        return module.__dict__[name]  # type: ignore[no-any-return]
