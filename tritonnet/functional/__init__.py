"""Differentiable functions, one file an operation."""

from .linear import linear
from .matmul import matmul

__all__ = ["linear", "matmul"]
