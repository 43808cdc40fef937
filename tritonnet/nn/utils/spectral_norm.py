"""spectral_norm by a hook; parametrizations.spectral_norm is the newer form."""

from typing import Any

import torch
from torch import Tensor

from ...functional import _norms
from ...module import Module
from . import _hooked
from .parametrizations import check_iterations, rows_of


class SpectralNorm(_hooked.Normalization):
    """The hook that takes steps of the power method, in training, and divides by the singular value that it finds."""

    parts = ("orig", "u", "v")

    def __init__(self, name: str = "weight", n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__(name)
        check_iterations(n_power_iterations)
        self.n_power_iterations, self.dim, self.eps = n_power_iterations, dim, eps

    def matrix(self, weight: Tensor) -> Tensor:
        return weight.movedim(self.dim, 0).flatten(1) if weight.ndim > 1 else weight[:, None]

    def compute_weight(self, module: Module) -> Any:
        weight, u, v = self.held(module)
        # Copies, as another call before this one's backward writes the vectors anew.
        return _norms.spectral_norm(weight, self.matrix(weight), u.clone(), v.clone())

    def __call__(self, module: Module, inputs: Any) -> None:
        if module.training:
            weight, u, v = self.held(module)
            with torch.no_grad():
                matrix = self.matrix(weight)
                for _ in range(self.n_power_iterations):
                    _norms.step(matrix.mT, v, u, self.eps)
                    _norms.step(matrix, u, v, self.eps)
        super().__call__(module, inputs)


def spectral_norm(
    module: _hooked.M,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> _hooked.M:
    """Train `<name>_orig` in the place of a parameter, which is that over its largest singular value from each call on.

    The buffers `<name>_u` and `<name>_v` approximate its singular vectors; in training each call goes on with them.

    Args:
        n_power_iterations, eps, dim: as for parametrizations.spectral_norm.

    Raises: RuntimeError if the parameter has been so normalized already; ValueError for n_power_iterations < 1.
    Source: Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.
    """
    hook = SpectralNorm(name, n_power_iterations, rows_of(module) if dim is None else dim, eps)
    weight = getattr(module, name)
    with torch.no_grad():
        sizes = hook.matrix(weight).shape
        u, v = (_norms.unit(weight.new_empty(size).normal_(0, 1), eps) for size in sizes)
    _hooked.add("spectral_norm", hook, module, [weight, u, v])
    setattr(module, name, weight.detach())
    return module


def remove_spectral_norm(module: _hooked.M, name: str = "weight") -> _hooked.M:
    """Make the weight a parameter again, with the value that it has. Raises: ValueError if it is not normalized."""
    return _hooked.remove("spectral_norm", SpectralNorm, module, name)
