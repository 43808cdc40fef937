"""Norms within products: what weight and spectral normalization compute, with gradients of two orders."""

import torch
from torch import Tensor

from .matmul import matmul
from .pointwise import threshold
from .pointwise.arithmetic import _Mul
from .pointwise.gradients import run


def _wide(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _square_sum(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Of x^2, in float32 (float64 for float64), over the dimensions along which `shape` would broadcast."""
    total: Tensor = _Mul.apply(x, x, shape, _wide(x))
    return total


def weight_norm(v: Tensor, g: Tensor, dim: int) -> Tensor:
    """w = g v / ||v||, where the norm is over all dimensions but `dim`; over all of them if dim is -1."""
    kept = range(v.ndim) if dim != -1 else ()
    shape = tuple(v.shape[at] if at == dim else 1 for at in kept)
    factor = _Mul.apply(g, run("rsqrt", _square_sum(v, shape)), None, _wide(v))
    w: Tensor = _Mul.apply(v, factor, None, v.dtype)
    return w


def unit(x: Tensor, eps: float) -> Tensor:
    """y = x / max(||x||, eps)."""
    total = threshold(_square_sum(x, ()), eps * eps, eps * eps)
    y: Tensor = _Mul.apply(x, run("rsqrt", total), None, x.dtype)
    return y


def spectral_norm(weight: Tensor, matrix: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """w = weight / (u . matrix v), where u and v hold still."""
    sigma = matmul(u[None, :], matmul(matrix, v[:, None])).view(())
    # 1 / sigma, of either sign.
    root = run("rsqrt", _square_sum(sigma, ()))
    inverse = _Mul.apply(_Mul.apply(sigma, root, None, _wide(weight)), root, None, _wide(weight))
    w: Tensor = _Mul.apply(weight, inverse, None, weight.dtype)
    return w
