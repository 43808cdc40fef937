"""Norms within products: what weight and spectral normalization compute, with gradients of two orders."""

from torch import Tensor

from tritonnet.kernels._tile import wide_dtype

from .matmul import matmul
from .pointwise import threshold
from .pointwise.arithmetic import _Mul
from .pointwise.gradients import run


def _square_sum(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Of x^2, in float32 (float64 for float64), over the dimensions along which `shape` would broadcast."""
    total: Tensor = _Mul.apply(x, x, shape, wide_dtype(x.dtype))
    return total


def weight_norm(v: Tensor, g: Tensor, dim: int) -> Tensor:
    """w = g v / ||v||, where the norm is over all dimensions but `dim`; over all of them if dim is -1."""
    kept = range(v.ndim) if dim != -1 else ()
    shape = tuple(v.shape[at] if at == dim else 1 for at in kept)
    factor = _Mul.apply(g, run("rsqrt", _square_sum(v, shape)), None, wide_dtype(v.dtype))
    w: Tensor = _Mul.apply(v, factor, None, v.dtype)
    return w


def unit(x: Tensor, eps: float) -> Tensor:
    """y = x / max(||x||, eps)."""
    total = threshold(_square_sum(x, ()), eps * eps, eps * eps)
    y: Tensor = _Mul.apply(x, run("rsqrt", total), None, x.dtype)
    return y


def step(matrix: Tensor, found: Tensor, vector: Tensor, eps: float) -> None:
    """Half a step of the power method: found = matrix vector / ||matrix vector||, in place, for what shares it."""
    found.copy_(unit(matmul(matrix, vector), eps))


def spectral_norm(weight: Tensor, matrix: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """w = weight / (u . matrix v), where u and v hold still."""
    sigma = matmul(u[None, :], matmul(matrix, v[:, None])).view(())
    # 1 / sigma, of either sign.
    root = run("rsqrt", _square_sum(sigma, ()))
    inverse = _Mul.apply(_Mul.apply(sigma, root, None, wide_dtype(weight.dtype)), root, None, wide_dtype(weight.dtype))
    w: Tensor = _Mul.apply(weight, inverse, None, weight.dtype)
    return w
