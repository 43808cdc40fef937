"""Parametrizations of weights: weight_norm and spectral_norm, as torch.nn.utils.parametrizations has them.

`orthogonal` is not offered: its matrix exponential, solver and Householder products have no kernels here.
"""

from typing import Any

import torch
from torch import Tensor

from ..._names import missing
from ...functional import _norms
from ...module import Module
from .parametrize import register_parametrization

__all__ = ["spectral_norm", "weight_norm"]


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Let the tensor be w = g v / ||v||, and train g and v in its place.

    Args:
        dim: the norm is over all other dimensions, so that there is a g for each index of this one; None: over all.

    `module.parametrizations.<name>` holds g as original0 and v as original1; the keys `<name>_g` and `<name>_v` of the
    older torch.nn.utils.weight_norm load too.

    Raises: ValueError if the module has no such tensor.
    Source: Salimans and Kingma, Weight Normalization, 2016.
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def take_older_keys(state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        older = [f"{prefix}{name}_g", f"{prefix}{name}_v"]
        if all(key in state_dict for key in older):
            for at, key in enumerate(older):
                state_dict[f"{prefix}parametrizations.{name}.original{at}"] = state_dict.pop(key)

    module._register_load_state_dict_pre_hook(take_older_keys)
    return module


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return _norms.weight_norm(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return torch.norm_except_dim(weight, 2, self.dim), weight


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divide the tensor by its largest singular value, as a matrix of its first dimension and all others.

    The value is approximated by the power method, which goes on with every computation in training.

    Args:
        n_power_iterations: steps of the power method for each computation.
        eps: the least norm that a vector of the method is divided by.
        dim: the dimension of the matrix's rows; by default 1 for transposed convolutions, else 0.

    Raises: ValueError if the module has no such tensor, or for n_power_iterations < 1; IndexError for another dim.
    Source: Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"spectral_norm: {type(module).__name__} has no parameter or buffer {name!r}")
    dim = rows_of(module) if dim is None else dim
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))


def rows_of(module: Module) -> int:
    """The dimension of a layer's weight whose indices are the rows of its matrix."""
    return int(any(cls.__name__.startswith("ConvTranspose") for cls in type(module).__mro__))


def check_iterations(n_power_iterations: int) -> None:
    if n_power_iterations <= 0:
        raise ValueError(f"spectral_norm: n_power_iterations is {n_power_iterations}; it takes at least one")


class _SpectralNorm(Module):
    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            raise IndexError(f"spectral_norm: dim is {dim}; the tensor has {weight.ndim} dimensions")
        check_iterations(n_power_iterations)
        self.dim = dim % weight.ndim
        self.eps = eps
        if weight.ndim > 1:
            self.n_power_iterations = n_power_iterations
            with torch.no_grad():
                matrix = self._matrix(weight)
                for name, size in zip(("_u", "_v"), matrix.shape, strict=True):
                    self.register_buffer(name, _norms.unit(matrix.new_empty(size).normal_(0, 1), eps))
                self._iterate(matrix, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        return weight.movedim(self.dim, 0).flatten(1)

    @torch.no_grad()
    def _iterate(self, matrix: Tensor, times: int) -> None:
        for _ in range(times):
            _norms.step(matrix, self._u, self._v, self.eps)
            _norms.step(matrix.mT, self._v, self._u, self.eps)

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return _norms.unit(weight, self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        # Copies, as another computation before this one's backward writes the vectors anew.
        u, v = (vector.clone(memory_format=torch.contiguous_format) for vector in (self._u, self._v))
        return _norms.spectral_norm(weight, matrix, u, v)

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def __getattr__(name: str) -> Any:
    raise missing(__name__, "torch.nn.utils.parametrizations", name, __all__)
