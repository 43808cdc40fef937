"""Differentiable functions, one file an operation."""

from typing import Any

from .._names import missing
from .conv2d import conv2d
from .cross_entropy import cross_entropy
from .dropout import dropout
from .flatten import flatten
from .linear import linear
from .matmul import matmul
from .one_hot import one_hot
from .relu import relu

__all__ = ["conv2d", "cross_entropy", "dropout", "flatten", "linear", "matmul", "one_hot", "relu"]


def __getattr__(name: str) -> Any:
    raise missing(__name__, "torch.nn.functional", name, __all__)
