"""from_torch: a model of torch.nn's layers becomes one of tritonnet's."""

import copy
import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..errors import ConversionError
from ..module import Module
from ..module._registry import Registry
from ..module.hooks import NAMES as HOOKS
from ..module.hooks import WithModule
from ..parameter import Buffer, Parameter
from ._classes import blank, is_torchs, layer_missing, torchs_module

_NOT_COPIED = {
    "_parameters",
    "_buffers",
    "_modules",
    "_non_persistent_buffers_set",
    "_is_full_backward_hook",
    "_compiled_call_impl",
    *HOOKS,
}


def from_torch(module: Any) -> Any:
    """The tritonnet model of a torch.nn model: the same architecture, the same state.

    Layers become tritonnet's of the same name. A class of your own becomes one of the same name that derives from
    tritonnet's and whose methods are yours; its `__init__` is not called. What its forward computes with torch's
    functions (`torch.relu`, `torch.nn.functional`) stays torch's; layers that it calls are ours.

    Parameters, buffers and gradients are copied: the two models share no memory. What was shared within the model (a
    layer or a parameter in two places) is shared in the result. Device, dtype, strides, requires_grad, training flags,
    names and their order, attributes and hooks are carried over; hooks are the same functions, and methods of converted
    modules are those of their counterparts. What `Module.compile` made is not.

    Args:
        module: a torch.nn.Module; or a tritonnet Module, which is returned as it is.

    Raises: TypeError for anything else; ConversionError with one table of all that has no counterpart, by path: layers
        that tritonnet does not offer, parametrizations and weight norm (remove them first), parameters without a shape
        yet (run the model once), tensors of other classes.
    """
    if isinstance(module, Module):
        return module
    if torchs_module(type(module)) is None:
        raise TypeError(f"from_torch: a {type(module).__name__} is not a torch.nn.Module")
    found = dict(_reachable(module))
    rows = [(path, *problem) for path, one in found.items() for problem in _problems(one)]
    if rows:
        raise ConversionError(_table(type(module).__name__, rows))
    return _Conversion(list({id(one): one for one in found.values()}.values())).of(module)


def _reachable(root: Any) -> Iterator[tuple[str, Any]]:
    """All torch.nn modules below, by path: registered ones, and those in attributes and plain containers."""
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", root)]
    while waiting:
        path, value = waiting.pop(0)
        if id(value) in seen:
            continue
        dot = f"{path}." if path else ""
        if torchs_module(type(value)):
            seen.add(id(value))
            yield path, value
            own = {name: one for name, one in vars(value).items() if name not in _NOT_COPIED}
            own.update((name, one) for name, one in value._modules.items() if name != "parametrizations")
            waiting += [(dot + name, one) for name, one in own.items()]
        elif type(value) in (list, tuple, set, dict):
            seen.add(id(value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [(f"{path}[{name!r}]", one) for name, one in items]


def _problems(module: Any) -> Iterator[tuple[str, str]]:
    """What of the module itself, not of those below, cannot be converted: what it is, and why."""
    cls = type(module)
    if "parametrizations" in module._modules:
        names = ", ".join(module._modules["parametrizations"]._modules)
        yield cls.__bases__[0].__name__, f"parametrized: {names}; remove_parametrizations first, and register anew"
        return
    missing = layer_missing(cls)
    if missing is not None:
        yield _named(missing), "tritonnet has no such layer" + ("" if missing is cls else f" ({cls.__name__}'s base)")
    for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
        if tensor is None:
            continue
        if hasattr(tensor, "cls_to_become"):
            yield f"{name}: {type(tensor).__name__}", "no shape yet; run the model once"
        elif not (is_torchs(type(tensor)) or type(tensor) in (Parameter, Buffer)) or tensor.layout is not torch.strided:
            yield f"{name}: {type(tensor).__name__}", f"a tensor of another class or layout ({tensor.layout})"
    for name in HOOKS:
        for hook in getattr(module, name).values():
            if is_torchs(type(hook)) and not isinstance(hook, types.FunctionType) and not hasattr(hook, "with_module"):
                yield f"hook {_named(type(hook))}", "torch's own, for its own modules; take it away first"


def _named(cls: type) -> str:
    return f"{cls.__module__}.{cls.__name__}"


def _table(name: str, rows: list[tuple[str, str, str]]) -> str:
    lines = [("path", "what", "why"), *((path or "(itself)", what, why) for path, what, why in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(3)]
    table = ["  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    parts = "1 part" if len(rows) == 1 else f"{len(rows)} parts"
    return "\n".join([f"from_torch: {parts} of {name} cannot be converted", *map(str.rstrip, table)])


class _Conversion:
    """One call of from_torch: the counterparts of all modules and tensors met so far."""

    def __init__(self, modules: list[Any]) -> None:
        self.originals = modules
        # As deepcopy keeps it: what stands in attributes is copied by deepcopy, which finds counterparts here.
        self.memo: dict[int, Any] = {id(one): blank(type(one)) for one in modules}

    def of(self, root: Any) -> Any:
        for original in self.originals:
            self._registered(original, self.memo[id(original)])
        for original in self.originals:
            self._attributes(original, self.memo[id(original)])
            self._hooks(original, self.memo[id(original)])
        return self.memo[id(root)]

    def _registered(self, original: Any, made: Module) -> None:
        Registry.__init__(made)
        for name, param in original._parameters.items():
            made._parameters[name] = self._tensor(param)
        for name, buffer in original._buffers.items():
            made._buffers[name] = self._tensor(buffer)
            made._registered["buffer"][name] = name not in original._non_persistent_buffers_set
        for name, child in original._modules.items():
            made._modules[name] = None if child is None else self.memo[id(child)]

    def _tensor(self, tensor: Tensor | None) -> Any:
        if tensor is None:
            return None
        if id(tensor) not in self.memo:
            copied: Any = _copy(tensor)
            if isinstance(tensor, Parameter) or _is_torchs_parameter(tensor):
                copied = Parameter(copied, tensor.requires_grad)
            elif isinstance(tensor, Buffer):
                copied = Buffer(copied, persistent=tensor.persistent)
            else:
                copied.requires_grad_(tensor.requires_grad)
            if tensor.is_leaf and tensor.grad is not None:
                copied.grad = _copy(tensor.grad)
            self.memo[id(tensor)] = copied
        return self.memo[id(tensor)]

    def _attributes(self, original: Any, made: Module) -> None:
        for name, value in vars(original).items():
            if isinstance(value, Module):  # which torch's module held, and could not register
                made._modules[name] = copy.deepcopy(value, self.memo)
            elif name not in _NOT_COPIED:
                made.__dict__[name] = copy.deepcopy(value, self.memo)

    def _hooks(self, original: Any, made: Module) -> None:
        for name in HOOKS:
            for number, hook in getattr(original, name).items():
                getattr(made, name)[number] = self._hook(hook, made)
                if getattr(hook, "_from_public_api", False):
                    made._own_hooks().in_place[number] = True
        if original._backward_hooks:
            made._own_hooks().full = original._is_full_backward_hook

    def _hook(self, hook: Any, made: Module) -> Any:
        if hasattr(hook, "with_module"):
            inner = self._hook(hook.hook, made)
            return WithModule(inner, made) if hook.with_module else inner
        if isinstance(hook, types.MethodType) and id(hook.__self__) in self.memo:
            return types.MethodType(hook.__func__, self.memo[id(hook.__self__)])
        return hook


def _is_torchs_parameter(tensor: Tensor) -> bool:
    return any((base.__module__, base.__name__) == ("torch.nn.parameter", "Parameter") for base in type(tensor).__mro__)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.preserve_format)
