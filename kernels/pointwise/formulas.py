"""The formulas: y = f(x), and beside each dx = f'(x) dy. Float32 or float64 in, the same out."""

import triton
import triton.language as tl


@triton.jit
def relu(x):
    # Not `x > 0`: a NaN stays one, and its gradient goes through, as in torch.
    return tl.where(x <= 0, 0.0, x).to(x.dtype)


@triton.jit
def relu_grad(x, dy):
    """`x` may be relu(x) as well."""
    return tl.where(x <= 0, 0.0, dy).to(dy.dtype)


@triton.jit
def sigmoid(x):
    # exp of what is not positive: no overflow, and small values keep their digits.
    e = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, e).to(x.dtype) / (1.0 + e)


@triton.jit
def silu(x):
    return x * sigmoid(x)


@triton.jit
def silu_grad(x, dy):
    return dy * (sigmoid(x) * (1.0 + x * sigmoid(-x)))


@triton.jit
def _gelu_tanh_argument(x):
    """gelu_tanh(x) = x sigmoid(u)."""
    return x * (1.5957691216057308 + 0.07135481627260025 * (x * x))


@triton.jit
def gelu_tanh(x):
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    return x * sigmoid(_gelu_tanh_argument(x))


@triton.jit
def gelu_tanh_grad(x, dy):
    u = _gelu_tanh_argument(x)
    slope = 1.5957691216057308 + 0.21406444881780076 * (x * x)
    return dy * (sigmoid(u) * (1.0 + x * (slope * sigmoid(-u))))


@triton.jit
def gelu(x):
    """x (1 + erf(x / sqrt(2))) / 2."""
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def gelu_grad(x, dy):
    density = 0.3989422804014327 * tl.exp(-0.5 * x * x)
    return dy * (0.5 * (1.0 + tl.erf(x * 0.7071067811865476)) + x * density)
