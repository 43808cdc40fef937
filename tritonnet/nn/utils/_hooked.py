"""Tensors that a hook computes before each call: the older form of torch.nn.utils' normalizations."""

from typing import Any, TypeVar

import torch
from torch import Tensor

from ...module import Module
from ...parameter import Parameter

M = TypeVar("M", bound=Module)


class Normalization:
    """The hook. `parts`: the ends of the names of what stands in the tensor's place."""

    parts: tuple[str, ...]

    def __init__(self, name: str) -> None:
        self.name = name

    def compute_weight(self, module: Module) -> Any:
        raise NotImplementedError

    def held(self, module: Module) -> list[Any]:
        """What the tensor is computed from."""
        return [getattr(module, f"{self.name}_{part}") for part in self.parts]

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def add(what: str, hook: Normalization, module: M, parts: list[Tensor]) -> M:
    """Put the parts, Parameters and buffers, in the tensor's place, and compute it before each call."""
    if any(type(other) is type(hook) and other.name == hook.name for other in module._forward_pre_hooks.values()):
        raise RuntimeError(f"{what}: {hook.name!r} of {type(module).__name__} is normalized already")
    delattr(module, hook.name)
    for part, tensor in zip(hook.parts, parts, strict=True):
        register = module.register_parameter if isinstance(tensor, Parameter) else module.register_buffer
        register(f"{hook.name}_{part}", tensor)  # type: ignore[arg-type]
    module.register_forward_pre_hook(hook)
    return module


def remove(what: str, kind: type[Normalization], module: M, name: str) -> M:
    """Make the tensor a parameter again, with the value that it has."""
    for number, hook in module._forward_pre_hooks.items():
        if type(hook) is kind and hook.name == name:
            with torch.no_grad():
                weight = hook.compute_weight(module)
            for held in (name, *(f"{name}_{part}" for part in hook.parts)):
                delattr(module, held)
            setattr(module, name, Parameter(weight.detach()))
            del module._forward_pre_hooks[number]
            return module
    raise ValueError(f"remove_{what}: {name!r} of {type(module).__name__} is not normalized")
