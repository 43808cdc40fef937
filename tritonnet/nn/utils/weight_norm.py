"""weight_norm by a hook, torch.nn.utils' older form; parametrizations.weight_norm is the newer."""

import warnings
from typing import Any, TypeVar

import torch

from ...functional import _norms
from ...module import Module
from ...parameter import Parameter

_Module = TypeVar("_Module", bound=Module)


class WeightNorm:
    """The hook that computes the weight from g and v before each call."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Any:
        g, v = (getattr(module, f"{self.name}_{part}") for part in "gv")
        return _norms.weight_norm(v, g, self.dim)

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def weight_norm(module: _Module, name: str = "weight", dim: int | None = 0) -> _Module:
    """Train `<name>_g` and `<name>_v` in the place of a parameter, which is g v / ||v|| from each call on.

    dim: the norm is over all other dimensions; None: over all.

    Raises: RuntimeError if the parameter has been so normalized already.
    Warns: FutureWarning, as torch does; parametrizations.weight_norm does the same.
    """
    warnings.warn(
        "`torch.nn.utils.weight_norm` is deprecated in favor of `torch.nn.utils.parametrizations.weight_norm`.",
        FutureWarning,
        stacklevel=2,
    )
    if any(isinstance(hook, WeightNorm) and hook.name == name for hook in module._forward_pre_hooks.values()):
        raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
    hook = WeightNorm(name, dim)
    weight = getattr(module, name)
    delattr(module, name)
    module.register_parameter(f"{name}_g", Parameter(torch.norm_except_dim(weight, 2, hook.dim).detach()))
    module.register_parameter(f"{name}_v", Parameter(weight.detach()))
    setattr(module, name, hook.compute_weight(module))
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: _Module, name: str = "weight") -> _Module:
    """Make the weight a parameter again, with the value that it has. Raises: ValueError if it is not normalized."""
    for number, hook in module._forward_pre_hooks.items():
        if isinstance(hook, WeightNorm) and hook.name == name:
            weight = hook.compute_weight(module)
            for held in (name, f"{name}_g", f"{name}_v"):
                delattr(module, held)
            setattr(module, name, Parameter(weight.detach()))
            del module._forward_pre_hooks[number]
            return module
    raise ValueError(f"weight_norm of '{name}' not found in {module}")
