"""Tree: the part of Module that walks what is registered, and finds it by its dotted name."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import ModuleError
from ..parameter import Parameter
from ._unregistered import warn_of_unregistered

if TYPE_CHECKING:
    from . import Module

Kind = str
KINDS: tuple[Kind, ...] = ("parameter", "buffer", "module")


def members(module: "Tree", kind: Kind) -> list[tuple[str, Any]]:
    """What is registered with the module itself, without what is None."""
    values = module.__dict__
    names = module._registered[kind]
    return [(name, values[name]) for name in names if values[name] is not None] if names else []


def kind_held(module: "Tree", name: str) -> Kind | None:
    """What is registered under the name."""
    return next((kind for kind in KINDS if name in module._registered[kind]), None)


class Tree:
    """Walks over a module and those below it."""

    _registered: dict[Kind, dict[str, bool]]
    """Registered names by kind, in order; the value says whether the state dict holds them (buffers: persistent)."""

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
        for name, module in members(self, "module"):
            yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> "Iterator[Module]":
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

    def named_children(self) -> "Iterator[tuple[str, Module]]":
        """The modules directly below, each once."""
        seen: set[Module] = set()
        for name, module in members(self, "module"):
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
        return named_tensors(self, "parameter", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (param for _, param in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Buffers, persistent or not, of this module and (recurse) those below; a shared one once."""
        return named_tensors(self, "buffer", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _named_members(
        self,
        get_members_fn: "Callable[[Module], Iterable[tuple[str, Any]]]",
        prefix: str = "",
        recurse: bool = True,
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Any]]:
        """What a function finds in this module and (recurse) those below, with dotted names and without None."""
        seen: set[Any] = set()
        modules: Iterable[tuple[str, Any]] = [(prefix, self)]
        if recurse:
            modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        for path, module in modules:
            for name, value in get_members_fn(module):
                if value is None or value in seen:
                    continue
                if remove_duplicate:
                    seen.add(value)
                yield f"{path}.{name}" if path else name, value

    def get_submodule(self, target: str) -> "Module":
        """The module under a dotted name ("" is this one). Raises: ModuleError (an AttributeError) if there is none."""
        module: Tree = self
        for name in target.split(".") if target else []:
            child = getattr(module, name, None)
            if not isinstance(child, Tree):
                raise ModuleError(f"{type(module).__name__} has no module {name!r} (looking for {target!r})")
            module = child
        return module  # type: ignore[return-value]

    def set_submodule(self, target: str, module: "Module", strict: bool = False) -> None:
        """Put a module in the place under a dotted name.

        A name that is not there yet is added to its parent, unless strict.

        Raises: ModuleError if the parent is missing, or the place holds something else than a module.
        """
        if not target:
            raise ModuleError("set_submodule: target is empty; name the module to replace")
        if not isinstance(module, Tree):
            raise ModuleError(f"set_submodule: a {type(module).__name__} is not a Module")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if hasattr(parent, name) and not isinstance(getattr(parent, name), Tree):
            raise ModuleError(f"{type(parent).__name__}.{name} is not a module (looking for {target!r})")
        if strict and not hasattr(parent, name):
            raise ModuleError(f"{type(parent).__name__} has no module {name!r} (looking for {target!r})")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter under a dotted name. Raises: ModuleError (an AttributeError) if there is none."""
        return _get_tensor(self, "parameter", target)  # type: ignore[return-value]

    def get_buffer(self, target: str) -> Tensor:
        """The buffer under a dotted name. Raises: ModuleError (an AttributeError) if there is none."""
        return _get_tensor(self, "buffer", target)


def named_tensors(
    root: Tree, kind: Kind, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
) -> Iterator[tuple[str, Any]]:
    """`_named_members` of one kind, by identity: the hash of a tensor is a function of Python's."""
    seen: dict[int, Tensor] = {}
    modules: Iterable[tuple[str, Any]] = [(prefix, root)]
    if recurse:
        modules = root.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
    for path, module in modules:
        start = f"{path}." if path else ""
        for name, tensor in members(module, kind):
            if id(tensor) not in seen:
                if remove_duplicate:
                    seen[id(tensor)] = tensor
                yield start + name, tensor


def _get_tensor(root: Tree, kind: Kind, target: str) -> Tensor:
    path, _, name = target.rpartition(".")
    module = root.get_submodule(path)
    if name not in module._registered[kind] or module.__dict__[name] is None:
        raise ModuleError(f"{type(module).__name__} has no {kind} {name!r} (looking for {target!r})")
    return module.__dict__[name]  # type: ignore[no-any-return]
