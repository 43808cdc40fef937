"""Activations and other functions of one element: each formula and each gradient is one small jitted function.

They take float32 or float64 in registers and return the same, for kernels of other files to apply to what they hold.
"""

from .formulas import gelu, gelu_grad, gelu_tanh, gelu_tanh_grad, relu, relu_grad, silu, silu_grad

__all__ = ["gelu", "gelu_grad", "gelu_tanh", "gelu_tanh_grad", "relu", "relu_grad", "silu", "silu_grad"]
