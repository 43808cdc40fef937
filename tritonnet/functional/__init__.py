"""Differentiable functions, one file an operation."""

from .conv2d import conv2d
from .cross_entropy import cross_entropy
from .dropout import dropout
from .flatten import flatten
from .linear import linear
from .matmul import matmul
from .relu import relu

__all__ = ["conv2d", "cross_entropy", "dropout", "flatten", "linear", "matmul", "relu"]
