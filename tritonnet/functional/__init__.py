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
from .softmax import log_softmax, softmax, softmin

__all__ = [
    "conv2d",
    "cross_entropy",
    "dropout",
    "flatten",
    "linear",
    "log_softmax",
    "matmul",
    "one_hot",
    "relu",
    "softmax",
    "softmin",
]


def __getattr__(name: str) -> Any:
    raise missing(__name__, "torch.nn.functional", name, __all__)
