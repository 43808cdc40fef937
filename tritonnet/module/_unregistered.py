"""What a module holds and torch would silently leave out: found when its parameters or state dict are asked for."""

import itertools
import warnings
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..parameter import Parameter

if TYPE_CHECKING:
    from ._registry import Registry

_warned: "weakref.WeakSet[type]" = weakref.WeakSet()
_CONTAINERS = (list, tuple, dict)
_LOOKED_AT = 1000  # items of a container: enough for any list of layers, and a data set in an attribute costs nothing


def warn_of_unregistered(root: "Registry") -> None:
    """Warn, once a class, of modules and parameters in plain containers and of computed copies of parameters.

    What a registered attribute of `root` also reaches is left alone: a list that later fed a Sequential is honest code.
    """
    if root.__dict__.get("_looked_at"):
        return
    root.__dict__["_looked_at"] = True
    modules = list(root.named_modules())
    suspects = [
        (path, module, name, value)
        for path, module in modules
        if type(module) not in _warned
        for name, value in module.__dict__.items()
        if isinstance(value, (*_CONTAINERS, Tensor)) and name != "_registered" and module._kind(name) is None
    ]
    if not suspects:
        return
    reached = {id(module) for _, module in modules} | {id(param) for _, param in root._named_tensors("parameter")}
    found: dict[type, dict[str, str]] = {}
    for path, module, name, value in suspects:
        text = _copy_text(value, reached) if isinstance(value, Tensor) else _container_text(value, reached)
        if text:
            where = f" (at {path})" if path else ""
            found.setdefault(type(module), {}).setdefault(name, f"{type(module).__name__}.{name}{where} {text}")
    for cls, texts in found.items():
        _warned.add(cls)
        warnings.warn("\n".join(texts.values()), stacklevel=4)


def _container_text(container: Any, reached: set[int]) -> str:
    for item in _items(container, set()):
        if id(item) not in reached:
            holder = f"is a {type(container).__name__} that holds a {type(item).__name__}"
            if isinstance(item, Parameter):
                return f"{holder}: it is not trained, moved or saved. Give each Parameter an attribute of its own"
            return (
                f"{holder}: its parameters are not trained, moved or saved, and train() and eval() pass it by. "
                "Use nn.ModuleList, or attributes of their own (a module hidden on purpose can stay)"
            )
    return ""


def _items(container: Any, seen: set[int]) -> Iterator[Any]:
    """Modules and parameters within nested plain containers."""
    from ._registry import Registry

    if id(container) in seen:
        return
    seen.add(id(container))
    values = container.values() if isinstance(container, dict) else container
    for value in itertools.islice(values, _LOOKED_AT):
        if isinstance(value, _CONTAINERS):
            yield from _items(value, seen)
        elif isinstance(value, Registry | Parameter):
            yield value


def _copy_text(tensor: Tensor, reached: set[int]) -> str:
    """On a tensor that one operation made of a Parameter which nothing reaches, e.g. `Parameter(...).to(device)`."""
    if tensor.grad_fn is None:
        return ""
    sources = [node.variable for node, _ in tensor.grad_fn.next_functions if hasattr(node, "variable")]
    if not any(isinstance(source, Parameter) and id(source) not in reached for source in sources):
        return ""
    return (
        f"is computed from a Parameter ({tensor.grad_fn.name()}) that no attribute holds: it is not trained, moved or "
        "saved. Convert the data first, Parameter(data.to(...)), or move the whole module"
    )
