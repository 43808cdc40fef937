"""conv2d and its gradients, as implicit matrix products: no im2col buffer, no copy of the image."""

from .forward import conv2d, conv2d_reference
from .grad_input import conv2d_grad_input, conv2d_grad_input_reference
from .grad_weight import conv2d_grad_weight, conv2d_grad_weight_reference

__all__ = [
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_input_reference",
    "conv2d_grad_weight",
    "conv2d_grad_weight_reference",
    "conv2d_reference",
]
