"""Losses of an input and a target, element by element: reduced in two deterministic stages, and their gradients."""

from .formulas import derivative, name_of
from .terms import loss, loss_gradient

__all__ = ["derivative", "loss", "loss_gradient", "name_of"]
