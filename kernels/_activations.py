"""The activations that a kernel may apply to what it is about to store."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ._errors import ShapeError
from .pointwise import formulas


@dataclass(frozen=True)
class Activation:
    """y = f(z).

    formula, gradient: jitted, z -> y and (kept, dy) -> dz; None for y = z.
    reference: the same as formula in plain torch.
    keeps: what the gradient is computed from: "y", "z", or nothing.
    """

    formula: Any
    gradient: Any
    reference: Callable[[Tensor], Tensor]
    keeps: str


def _gelu(z: Tensor) -> Tensor:
    return 0.5 * z * (1 + torch.erf(z * 0.5**0.5))


def _gelu_tanh(z: Tensor) -> Tensor:
    return 0.5 * z * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (z + 0.044715 * z**3)))


ACTIVATIONS = {
    "none": Activation(None, None, lambda z: z, ""),
    "relu": Activation(formulas.relu, formulas.relu_grad, torch.relu, "y"),
    "gelu": Activation(formulas.gelu, formulas.gelu_grad, _gelu, "z"),
    "gelu_tanh": Activation(formulas.gelu_tanh, formulas.gelu_tanh_grad, _gelu_tanh, "z"),
    "silu": Activation(formulas.silu, formulas.silu_grad, lambda z: z * torch.sigmoid(z), "z"),
}


def activation_named(op: str, name: str) -> Activation:
    """Raises ShapeError, in the name of `op`, for a name that there is none of."""
    if name not in ACTIVATIONS:
        raise ShapeError(f"{op}: activation is {name!r}; it is one of {', '.join(map(repr, ACTIVATIONS))}")
    return ACTIVATIONS[name]
