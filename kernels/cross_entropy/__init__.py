"""cross_entropy: log-softmax and the loss of class indices or class probabilities, and its gradients."""

from .backward import cross_entropy_backward, cross_entropy_backward_reference
from .forward import cross_entropy, cross_entropy_reference
from .soft import soft_cross_entropy, soft_cross_entropy_reference
from .soft_backward import soft_cross_entropy_backward, soft_cross_entropy_backward_reference

__all__ = [
    "cross_entropy",
    "cross_entropy_backward",
    "cross_entropy_backward_reference",
    "cross_entropy_reference",
    "soft_cross_entropy",
    "soft_cross_entropy_backward",
    "soft_cross_entropy_backward_reference",
    "soft_cross_entropy_reference",
]
