"""Differentiable functions, one file an operation."""

from .conv2d import conv2d
from .linear import linear
from .matmul import matmul

__all__ = ["conv2d", "linear", "matmul"]
