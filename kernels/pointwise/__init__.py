"""Functions of one element: activations and their gradients, sums and products.

A formula is a small jitted function (formulas.py) of float32 or float64 values in registers, which any kernel may apply
to what it holds. Here each also runs by itself, through two generic kernels (each.py, sums.py).
"""

from .formulas import gelu, gelu_grad, gelu_tanh, gelu_tanh_grad, relu, relu_grad, silu, silu_grad

__all__ = ["gelu", "gelu_grad", "gelu_tanh", "gelu_tanh_grad", "relu", "relu_grad", "silu", "silu_grad"]
