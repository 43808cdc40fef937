"""Differentiable functions, one file an operation."""

from typing import Any

from .._names import missing
from .conv2d import conv2d
from .cross_entropy import cross_entropy
from .dropout import dropout
from .flatten import flatten
from .linear import linear
from .loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    poisson_nll_loss,
    smooth_l1_loss,
    soft_margin_loss,
)
from .matmul import matmul
from .nll_loss import nll_loss
from .one_hot import one_hot
from .relu import relu
from .softmax import log_softmax, softmax, softmin

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv2d",
    "cross_entropy",
    "dropout",
    "flatten",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "linear",
    "log_softmax",
    "matmul",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "poisson_nll_loss",
    "relu",
    "smooth_l1_loss",
    "soft_margin_loss",
    "softmax",
    "softmin",
]


def __getattr__(name: str) -> Any:
    raise missing(__name__, "torch.nn.functional", name, __all__)
