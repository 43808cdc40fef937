"""The activations, with torch.nn.functional's names, arguments and defaults.

Each takes a tensor of any shape and strides, float32/float16/bfloat16/float64, and returns one of its shape and dtype
that is laid out in memory as it is; values are computed in float32 (float64 for float64) and rounded once. With
`inplace`, and by the names that end in an underscore, the input itself is overwritten and returned. Integers are taken
where torch takes them. Derivatives at kinks, and what becomes of infinities and NaN, are as in torch.

The gradient keeps x, or y where that does as well (relu, sigmoid, tanh), or where x was overwritten. It can be
differentiated once more; any number of times where the function is piecewise linear.

Raises: DtypeError for other dtypes; with `inplace` BackwardError for a leaf that requires a gradient or a view of one,
ShapeError for an expanded tensor. BackwardError for a third derivative.
"""

import functools

import torch
from torch import Tensor

from tritonnet.errors import ShapeError

from ..matmul import autocasts
from .gradients import overwrite, run


@functools.lru_cache(1024)
def _rounded(bound: float, dtype: torch.dtype) -> float:
    """The number of this dtype that a bound stands for: what was clipped to it is found equal to it."""
    return float(torch.tensor(bound, dtype=dtype, device="cpu"))


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """y = max(x, 0)."""
    return overwrite("relu", input) if inplace else run("relu", input)


def relu_(input: Tensor) -> Tensor:
    """relu in place."""
    return overwrite("relu", input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """y = min(max(x, 0), 6)."""
    return hardtanh(input, 0.0, 6.0, inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """y = x where x > 0, else negative_slope x."""
    scalars = (float(negative_slope),)
    if inplace:
        return overwrite("leaky_relu", input, scalars, readable=negative_slope >= 0)
    return run("leaky_relu", input, scalars)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """leaky_relu in place."""
    return leaky_relu(input, negative_slope, inplace=True)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """y = x where x > threshold, else value."""
    scalars = _rounded(threshold, input.dtype), _rounded(value, input.dtype)
    if inplace:
        return overwrite("threshold", input, scalars, readable=scalars[1] <= scalars[0])
    return run("threshold", input, scalars)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """threshold in place."""
    return _threshold(input, threshold, value, inplace=True)


_threshold = threshold


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """y = min(max(x, min_val), max_val).

    Raises: ShapeError for min_val > max_val, and for a negative limit of unsigned integers.
    """
    if min_val > max_val:
        raise ShapeError(f"hardtanh: min_val is {min_val} and max_val is {max_val}; the first cannot be the greater")
    if input.dtype == torch.uint8 and min_val < 0:
        raise ShapeError(f"hardtanh: min_val is {min_val}; for an unsigned dtype it cannot be negative")
    scalars = _rounded(min_val, input.dtype), _rounded(max_val, input.dtype)
    return overwrite("hardtanh", input, scalars) if inplace else run("hardtanh", input, scalars)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """hardtanh in place."""
    return hardtanh(input, min_val, max_val, inplace=True)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """y = min(max(x + 3, 0), 6) / 6."""
    return overwrite("hardsigmoid", input) if inplace else run("hardsigmoid", input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """y = x min(max(x + 3, 0), 6) / 6.

    Source: Howard et al., Searching for MobileNetV3, 2019.
    """
    return overwrite("hardswish", input) if inplace else run("hardswish", input)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """y = x where |x| > lambd, else 0."""
    return run("hardshrink", input, (_rounded(lambd, input.dtype),))


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """y = x - lambd where x > lambd, x + lambd where x < -lambd, else 0.

    Raises: ShapeError for lambd < 0.
    """
    if not lambd >= 0:
        raise ShapeError(f"softshrink: lambd is {lambd}; it cannot be negative")
    return run("softshrink", input, (float(lambd),))


def sigmoid(input: Tensor) -> Tensor:
    """y = 1 / (1 + exp(-x)). Integers become torch's default dtype."""
    return run("sigmoid", input)


def tanh(input: Tensor) -> Tensor:
    """y = (exp(x) - exp(-x)) / (exp(x) + exp(-x)). Integers become torch's default dtype."""
    return run("tanh", input)


def tanhshrink(input: Tensor) -> Tensor:
    """y = x - tanh(x). Integers become torch's default dtype."""
    return run("tanhshrink", input)


def softsign(input: Tensor) -> Tensor:
    """y = x / (1 + |x|). Integers become torch's default dtype."""
    return run("softsign", input)


def logsigmoid(input: Tensor) -> Tensor:
    """y = -log(1 + exp(-x))."""
    return run("logsigmoid", input)


def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """y = log(1 + exp(beta x)) / beta, and x where beta x > threshold. Under autocast y is float32."""
    widened = autocasts(input.device.type) and input.dtype in (torch.float16, torch.bfloat16)
    return run("softplus", input, (float(beta), float(threshold)), torch.float32 if widened else None)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """y = x where x > 0, else alpha (exp(x) - 1).

    Source: Clevert et al., Fast and Accurate Deep Network Learning by Exponential Linear Units, 2016.
    """
    return elu_(input, alpha) if inplace else run("elu", input, (float(alpha),))


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """elu in place."""
    return overwrite("elu", input, (float(alpha),), readable=alpha >= 0)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """y = x where x > 0, else alpha (exp(x / alpha) - 1).

    Raises: ShapeError for alpha = 0.

    Source: Barron, Continuously Differentiable Exponential Linear Units, 2017.
    """
    if alpha == 0:
        raise ShapeError("celu: alpha is 0; it divides")
    scalars = (float(alpha),)
    return overwrite("celu", input, scalars, readable=alpha > 0) if inplace else run("celu", input, scalars)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """celu in place."""
    return celu(input, alpha, inplace=True)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """y = s x where x > 0, else s a (exp(x) - 1), with s = 1.0507... and a = 1.6732...

    Source: Klambauer et al., Self-Normalizing Neural Networks, 2017.
    """
    return overwrite("selu", input) if inplace else run("selu", input)


def selu_(input: Tensor) -> Tensor:
    """selu in place."""
    return overwrite("selu", input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """y = x / (1 + exp(-x)).

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016; also known as swish.
    """
    return overwrite("silu", input) if inplace else run("silu", input)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """y = x P(x), where P is the standard normal distribution: x (1 + erf(x / sqrt(2))) / 2.

    Args:
        approximate: "none", or "tanh" for y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.

    Raises: ShapeError for another `approximate`.

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016.
    """
    if approximate == "none":
        return run("gelu", input)
    if approximate == "tanh":
        return run("gelu_tanh", input)
    raise ShapeError(f"gelu: approximate is {approximate!r}; it is 'none' or 'tanh'")


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """y = x tanh(log(1 + exp(x))).

    Source: Misra, Mish: A Self Regularized Non-Monotonic Activation Function, 2019.
    """
    return overwrite("mish", input) if inplace else run("mish", input)
