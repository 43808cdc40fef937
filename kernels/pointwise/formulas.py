"""Each formula y = f(x), and beside it its gradient dx = f'(x) dy and what that in turn depends on x: f''(x) dy ddx.

One element of float32 or float64 at a time, in registers. Hyper-parameters follow the values, in their dtype.
Derivatives at kinks, infinities and NaN are torch's. Some gradients are read off y instead of x: see ops.py.
"""

import triton
import triton.language as tl

from .elementary import expm1, log1p_exp, normal, normal_density, normal_tail, sigmoid, sigmoid_rest, tanh


@triton.jit
def relu(x):
    # Not `x > 0`: a NaN stays one, and its gradient goes through, as in torch.
    return tl.where(x <= 0, 0, x)


@triton.jit
def relu_grad(x, dy):
    """x may be relu(x) as well."""
    return tl.where(x <= 0, 0, dy)


@triton.jit
def leaky_relu(x, slope):
    return tl.where(x > 0, x, slope * x)


@triton.jit
def leaky_relu_grad(x, dy, slope):
    """x may be leaky_relu(x) as well, if the slope is not negative."""
    return tl.where(x > 0, dy, slope * dy)


@triton.jit
def threshold(x, bound, value):
    return tl.where(x <= bound, value, x)


@triton.jit
def threshold_grad(x, dy, bound, value):
    return tl.where(x <= bound, 0, dy)


@triton.jit
def hardtanh(x, low, high):
    return tl.where(x < low, low, tl.where(x > high, high, x))


@triton.jit
def hardtanh_grad(x, dy, low, high):
    """x may be hardtanh(x) as well, if the limits are numbers of its dtype."""
    return tl.where((x <= low) | (x >= high), 0, dy)


@triton.jit
def hardsigmoid(x):
    return hardtanh(x + 3.0, 0.0, 6.0) / 6.0


@triton.jit
def hardsigmoid_grad(x, dy):
    return tl.where((x > -3.0) & (x < 3.0), dy / 6.0, 0.0)


@triton.jit
def hardswish(x):
    """x hardsigmoid(x)."""
    return x * hardsigmoid(x)


@triton.jit
def hardswish_grad(x, dy):
    return tl.where(x <= -3.0, 0.0, tl.where(x < 3.0, dy * (x / 3.0 + 0.5), dy))


@triton.jit
def hardswish_grad_grad(x, dy, ddx):
    return tl.where((x > -3.0) & (x < 3.0), dy * ddx / 3.0, 0.0)


@triton.jit
def hardshrink(x, bound):
    return tl.where((x >= -bound) & (x <= bound), 0.0, x)


@triton.jit
def hardshrink_grad(x, dy, bound):
    return tl.where((x >= -bound) & (x <= bound), 0.0, dy)


@triton.jit
def softshrink(x, bound):
    # x * 0: a NaN stays one.
    return tl.where(x > bound, x - bound, tl.where(x < -bound, x + bound, x * 0.0))


@triton.jit
def sigmoid_grad(y, dy):
    return dy * (y * (1.0 - y))


@triton.jit
def sigmoid_grad_grad(y, dy, ddx):
    return dy * ddx * (1.0 - 2.0 * y)


@triton.jit
def tanh_grad(y, dy):
    return dy * (1.0 - y * y)


@triton.jit
def tanh_grad_grad(y, dy, ddx):
    return dy * ddx * (-2.0 * y)


@triton.jit
def logsigmoid(x):
    return -log1p_exp(-x)


@triton.jit
def logsigmoid_grad(x, dy):
    return dy * sigmoid(-x)


@triton.jit
def logsigmoid_grad_grad(x, dy, ddx):
    s, t = sigmoid(x), sigmoid_rest(x)
    return -dy * ddx * (s * t)


@triton.jit
def softplus(x, beta, threshold):
    """log(1 + exp(beta x)) / beta, and x itself where beta x > threshold."""
    return tl.where(beta * x > threshold, x, log1p_exp(beta * x) / beta)


@triton.jit
def softplus_grad(x, dy, beta, threshold):
    return tl.where(beta * x > threshold, dy, dy * sigmoid(beta * x))


@triton.jit
def softplus_grad_grad(x, dy, ddx, beta, threshold):
    s, t = sigmoid(beta * x), sigmoid_rest(beta * x)
    return tl.where(beta * x >= threshold, 0.0, dy * ddx * (beta * s * t))


@triton.jit
def elu(x, alpha):
    return tl.where(x <= 0, alpha * expm1(x), x)


@triton.jit
def elu_grad(x, dy, alpha):
    return tl.where(x <= 0, dy * (alpha * tl.exp(x)), dy)


@triton.jit
def elu_grad_grad(x, dy, ddx, alpha):
    return tl.where(x < 0, dy * ddx * (alpha * tl.exp(x)), 0.0)


@triton.jit
def elu_grad_of_y(y, dy, alpha):
    return tl.where(y <= 0, dy * (y + alpha), dy)


@triton.jit
def elu_grad_grad_of_y(y, dy, ddx, alpha):
    return tl.where(y < 0, dy * ddx, 0.0)


@triton.jit
def celu(x, alpha):
    return tl.where(x <= 0, alpha * expm1(x / alpha), x)


@triton.jit
def celu_grad(x, dy, alpha):
    return tl.where(x <= 0, dy * tl.exp(x / alpha), dy)


@triton.jit
def celu_grad_grad(x, dy, ddx, alpha):
    return tl.where(x < 0, dy * ddx * (tl.exp(x / alpha) / alpha), 0.0)


@triton.jit
def celu_grad_of_y(y, dy, alpha):
    return tl.where(y <= 0, dy * (y / alpha + 1.0), dy)


@triton.jit
def celu_grad_grad_of_y(y, dy, ddx, alpha):
    return tl.where(y < 0, dy * ddx / alpha, 0.0)


# Klambauer et al., Self-Normalizing Neural Networks, 2017: the scale, and the scale times alpha.
_SELU = tl.constexpr(1.0507009873554805)
_SELU_ALPHA = tl.constexpr(1.7580993408473766)


@triton.jit
def selu(x):
    return tl.where(x <= 0, _SELU_ALPHA * expm1(x), _SELU * x)


@triton.jit
def selu_grad(x, dy):
    return dy * tl.where(x <= 0, _SELU_ALPHA * tl.exp(x), _SELU)


@triton.jit
def selu_grad_grad(x, dy, ddx):
    return tl.where(x < 0, dy * ddx * (_SELU_ALPHA * tl.exp(x)), 0.0)


@triton.jit
def selu_grad_of_y(y, dy):
    return dy * tl.where(y <= 0, y + _SELU_ALPHA, _SELU)


@triton.jit
def selu_grad_grad_of_y(y, dy, ddx):
    return tl.where(y < 0, dy * ddx, 0.0)


@triton.jit
def silu(x):
    return x * sigmoid(x)


@triton.jit
def silu_grad(x, dy):
    s, t = sigmoid(x), sigmoid_rest(x)
    return dy * (s * (1.0 + x * t))


@triton.jit
def silu_grad_grad(x, dy, ddx):
    s, t = sigmoid(x), sigmoid_rest(x)
    return dy * ddx * (s * t * (2.0 + x * (t - s)))


@triton.jit
def gelu(x):
    """x P(x), where P is the normal distribution: x (1 + erf(x / sqrt(2))) / 2."""
    return x * normal(x)


@triton.jit
def gelu_grad(x, dy):
    """P(x) + x P'(x), which is 1 minus itself at -x; for -a = x < 0 a product, so that its zero is that of a factor."""
    a = tl.abs(x)
    below = tl.exp(-0.5 * a * a) * (normal_tail(a) - 0.3989422804014327 * a)
    return dy * tl.where(x >= 0, 1.0 - below, below)


@triton.jit
def gelu_grad_grad(x, dy, ddx):
    return dy * ddx * (normal_density(x) * (2.0 - x * x))


# 2 sqrt(2 / pi), and 0.044715 times it.
_TANH_A = tl.constexpr(1.5957691216057308)
_TANH_B = tl.constexpr(0.07135481627260025)


@triton.jit
def gelu_tanh(x):
    """x (1 + tanh(u / 2)) / 2 = x sigmoid(u), where u = 2 sqrt(2 / pi) (x + 0.044715 x^3)."""
    return x * sigmoid(x * (_TANH_A + _TANH_B * (x * x)))


@triton.jit
def gelu_tanh_grad(x, dy):
    u = x * (_TANH_A + _TANH_B * (x * x))
    slope = _TANH_A + 3.0 * _TANH_B * (x * x)
    s, t = sigmoid(u), sigmoid_rest(u)
    return dy * (s * (1.0 + x * (slope * t)))


@triton.jit
def gelu_tanh_grad_grad(x, dy, ddx):
    u = x * (_TANH_A + _TANH_B * (x * x))
    slope = _TANH_A + 3.0 * _TANH_B * (x * x)
    s, t = sigmoid(u), sigmoid_rest(u)
    return dy * ddx * (s * t * (2.0 * slope + x * (6.0 * _TANH_B * x + slope * slope * (t - s))))


@triton.jit
def _tanh_log1p_exp(x):
    """t = tanh(log(1 + exp(x))) and 1 - t, from e = exp(-|x|): neither cancels."""
    e = tl.exp(-tl.abs(x))
    part = tl.where(x >= 0, 1.0 + 2.0 * e, e * e + 2.0 * e)
    rest = tl.where(x >= 0, 2.0 * e * e, 2.0)
    return part / (part + rest), rest / (part + rest)


@triton.jit
def mish(x):
    """x tanh(log(1 + exp(x)))."""
    parts = _tanh_log1p_exp(x)
    return x * parts[0]


@triton.jit
def mish_grad(x, dy):
    t, rest = _tanh_log1p_exp(x)
    slope = rest * (1.0 + t) * sigmoid(x)
    return dy * (t + x * slope)


@triton.jit
def mish_grad_grad(x, dy, ddx):
    t, rest = _tanh_log1p_exp(x)
    slope = rest * (1.0 + t) * sigmoid(x)
    return dy * ddx * (slope * (2.0 + x * (sigmoid_rest(x) - 2.0 * t * sigmoid(x))))


@triton.jit
def softsign(x):
    return x / (1.0 + tl.abs(x))


@triton.jit
def softsign_grad(x, dy):
    d = 1.0 + tl.abs(x)
    return dy / (d * d)


@triton.jit
def softsign_grad_grad(x, dy, ddx):
    d = 1.0 + tl.abs(x)
    return dy * ddx * (tl.where(x > 0, -2.0, tl.where(x < 0, 2.0, 0.0)) / (d * d * d))


@triton.jit
def tanhshrink(x):
    return x - tanh(x)


@triton.jit
def tanhshrink_grad(x, dy):
    y = tanh(x)
    return dy * (y * y)


@triton.jit
def tanhshrink_grad_grad(x, dy, ddx):
    y = tanh(x)
    return dy * ddx * (2.0 * y * (1.0 - y * y))


@triton.jit
def identity(x):
    return x


@triton.jit
def scaled(x, factor):
    return factor * x


@triton.jit
def affine(x, factor, shift):
    return factor * x + shift


@triton.jit
def total(x, y, alpha):
    return x + alpha * y


@triton.jit
def product(x, y):
    return x * y


@triton.jit
def product_where_not_positive(x, u, v):
    return tl.where(x > 0, 0.0, u * v)


@triton.jit
def rsqrt(x):
    return 1.0 / tl.sqrt(x)


@triton.jit
def rsqrt_grad(y, dy):
    return dy * (-0.5 * (y * y * y))


@triton.jit
def rsqrt_grad_grad(y, dy, ddx):
    return dy * ddx * (-1.5 * (y * y))
