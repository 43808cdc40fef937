"""What a module holds and torch would silently leave out: found when its parameters or state dict are asked for."""

import itertools
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import ModuleError
from ..parameter import Parameter
from ._strict import complain, is_strict

if TYPE_CHECKING:
    from ._tree import Tree

_warned: "weakref.WeakSet[type]" = weakref.WeakSet()
_CONTAINERS = (list, tuple, dict)
_LOOKED_AT = 1000  # items of a container: enough for any list of layers, and a data set in an attribute costs nothing


def warn_of_unregistered(root: "Tree") -> None:
    """Warn, once a class, of modules and parameters in plain containers and of computed copies of parameters.

    What a registered attribute of `root` also reaches is left alone: a list that later fed a Sequential is honest code.
    Under `strict()` it is an error each time.
    """
    looked = root.__dict__.get("_looked_at")
    if looked == "clean" or (looked and not is_strict()):
        return
    root.__dict__["_looked_at"] = "warned"
    from ._tree import kind_held, named_tensors

    modules = list(root.named_modules())
    passed = () if is_strict() else _warned
    suspects = [
        (path, module, name, value)
        for path, module in modules
        if type(module) not in passed
        for name, value in module.__dict__.items()
        if isinstance(value, (*_CONTAINERS, Tensor)) and name != "_registered" and kind_held(module, name) is None
    ]
    found: dict[type, dict[str, str]] = {}
    reached = {id(module) for _, module in modules} if suspects else set()
    reached |= {id(param) for _, param in named_tensors(root, "parameter")} if suspects else set()
    for path, module, name, value in suspects:
        text = _copy_text(value, reached) if isinstance(value, Tensor) else _container_text(value, reached)
        if text:
            where = f" (at {path})" if path else ""
            found.setdefault(type(module), {}).setdefault(name, f"{type(module).__name__}.{name}{where} {text}")
    if not found and is_strict():
        root.__dict__["_looked_at"] = "clean"
    for cls, texts in found.items():
        complain("\n".join(texts.values()), ModuleError, stacklevel=4)
        _warned.add(cls)


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
    from ._tree import Tree

    if id(container) in seen:
        return
    seen.add(id(container))
    values = container.values() if isinstance(container, dict) else container
    for value in itertools.islice(values, _LOOKED_AT):
        if isinstance(value, _CONTAINERS):
            yield from _items(value, seen)
        elif isinstance(value, Tree | Parameter):
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
