"""weight_norm by a hook; parametrizations.weight_norm is the newer form."""

import warnings
from typing import Any

import torch

from ...functional import _norms
from ...module import Module
from ...parameter import Parameter
from . import _hooked


class WeightNorm(_hooked.Normalization):
    """The hook that computes the weight from g and v before each call."""

    parts = ("g", "v")

    def __init__(self, name: str, dim: int | None) -> None:
        super().__init__(name)
        self.dim = -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Any:
        g, v = self.held(module)
        return _norms.weight_norm(v, g, self.dim)


def weight_norm(module: _hooked.M, name: str = "weight", dim: int | None = 0) -> _hooked.M:
    """Train `<name>_g` and `<name>_v` in the place of a parameter, which is g v / ||v|| from each call on.

    dim: the norm is over all other dimensions; None: over all.

    Raises: RuntimeError if the parameter has been so normalized already.
    Warns: FutureWarning, as torch does; parametrizations.weight_norm does the same.
    """
    text = "nn.utils.weight_norm: deprecated; nn.utils.parametrizations.weight_norm computes the same"
    warnings.warn(text, FutureWarning, stacklevel=2)
    hook = WeightNorm(name, dim)
    weight = getattr(module, name)
    norm = torch.norm_except_dim(weight, 2, hook.dim).detach()
    _hooked.add("weight_norm", hook, module, [Parameter(norm), Parameter(weight.detach())])
    setattr(module, name, hook.compute_weight(module))
    return module


def remove_weight_norm(module: _hooked.M, name: str = "weight") -> _hooked.M:
    """Make the weight a parameter again, with the value that it has. Raises: ValueError if it is not normalized."""
    return _hooked.remove("weight_norm", WeightNorm, module, name)
