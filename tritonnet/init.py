"""Initial values: torch.nn.init's functions, with the same draws from torch's generator under the same seed.

Each fills its tensor in place, outside autograd, and returns it. `generator`: the torch.Generator to draw from.
Fans: for a weight of shape [out, in, *kernel], fan_in = in * prod(kernel) and fan_out = out * prod(kernel).
"""

import functools
import math
import warnings
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from .errors import ShapeError

__all__ = [
    "calculate_gain",
    "constant",
    "constant_",
    "dirac",
    "dirac_",
    "eye",
    "eye_",
    "kaiming_normal",
    "kaiming_normal_",
    "kaiming_uniform",
    "kaiming_uniform_",
    "normal",
    "normal_",
    "ones_",
    "orthogonal",
    "orthogonal_",
    "sparse",
    "sparse_",
    "trunc_normal_",
    "uniform",
    "uniform_",
    "xavier_normal",
    "xavier_normal_",
    "xavier_uniform",
    "xavier_uniform_",
    "zeros_",
]

_GAINS = {
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d", "sigmoid"), 1.0),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), 1.0),
    "tanh": 5.0 / 3,
    "relu": math.sqrt(2.0),
    "selu": 3.0 / 4,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which a layer's standard deviation grows to make up for the nonlinearity after it.

    1 for linear, convolution and sigmoid; 5/3 for tanh; sqrt(2) for relu; 3/4 for selu;
    sqrt(2 / (1 + slope^2)) for leaky_relu, whose slope is `param` (0.01 by default).

    Raises: ValueError for another name or a slope that is not a number.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, int | float):
            raise ValueError(f"calculate_gain: the slope of leaky_relu is {slope!r}, not a number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"calculate_gain: got {nonlinearity!r}; it knows leaky_relu, {', '.join(_GAINS)}")
    return _GAINS[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of shape [out, in, *kernel]. Raises: ShapeError below two dimensions."""
    if tensor.dim() < 2:
        raise ShapeError(f"init: fan in and fan out need two dimensions or more; the tensor is {tuple(tensor.shape)}")
    kernel = math.prod(tensor.shape[2:])
    return tensor.shape[1] * kernel, tensor.shape[0] * kernel


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draws from U(a, b)."""
    with torch.no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draws from N(mean, std^2)."""
    with torch.no_grad():
        return tensor.normal_(mean, std, generator=generator)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """`val` everywhere."""
    with torch.no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """1 everywhere."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """0 everywhere."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix, cut or padded with zeros to the tensor's two dimensions."""
    _need_dims("eye_", tensor, (2,))
    with torch.no_grad():
        tensor.zero_().diagonal().fill_(1)
    return tensor


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution weight [out, in, *kernel] that passes channels through: 1 in the kernel's middle, by groups."""
    _need_dims("dirac_", tensor, (3, 4, 5))
    if tensor.shape[0] % groups:
        raise ShapeError(f"dirac_: the tensor is {tuple(tensor.shape)}; {groups} groups do not divide its first size")
    middle = tuple(size // 2 for size in tensor.shape[2:])
    with torch.no_grad():
        tensor.zero_()
        for group in tensor.chunk(groups) if tensor.numel() else ():
            group[(..., *middle)].diagonal().fill_(1)
    return tensor


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draws from U(-a, a), a = gain * sqrt(6 / (fan_in + fan_out)).

    Source: Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.
    """
    bound = math.sqrt(3.0) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draws from N(0, s^2), s = gain * sqrt(2 / (fan_in + fan_out)). Source: as xavier_uniform_."""
    return normal_(tensor, 0.0, _xavier_std(tensor, gain), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Draws from U(-b, b), b = gain * sqrt(3 / fan).

    Args:
        a: the slope of the leaky_relu that follows (its gain is calculate_gain("leaky_relu", a)).
        mode: "fan_in" keeps the variance of activations, "fan_out" that of gradients.
        nonlinearity: what follows the layer; "relu" or "leaky_relu".

    Source: He et al., Delving deep into rectifiers, 2015.
    """
    if _is_empty(tensor):
        return tensor
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Draws from N(0, s^2), s = gain / sqrt(fan). Arguments and source: as kaiming_uniform_."""
    if _is_empty(tensor):
        return tensor
    return normal_(tensor, 0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Draws from N(mean, std^2) kept within [a, b], by rejection; the draws are those of torch 2.13 and later.

    Where [a, b] holds much of the mass, normal draws are repeated until they fall within; else uniform draws are
    accepted with probability exp(((m - mean)^2 - (x - mean)^2) / (2 std^2)), m being the densest point of [a, b].
    """
    if tensor.is_meta:
        return tensor
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            f"trunc_normal_: mean {mean} is more than two std from [{a}, {b}]; the distribution may be wrong",
            stacklevel=2,
        )
    mass = (math.erf((b - mean) / std / math.sqrt(2.0)) - math.erf((a - mean) / std / math.sqrt(2.0))) / 2
    with torch.no_grad():
        if mass > 0.3:
            return _normal_within(tensor, mean, std, a, b, generator)
        return _uniform_accepted(tensor, mean, std, a, b, generator)


def _normal_within(tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Generator | None) -> Tensor:
    low, high = (torch.tensor(bound, dtype=tensor.dtype, device="cpu").item() for bound in (a, b))
    tensor.normal_(mean, std, generator=generator)
    while (outside := (tensor < low) | (tensor > high)).any():
        tensor.copy_(torch.where(outside, torch.empty_like(tensor).normal_(mean, std, generator=generator), tensor))
    return tensor


def _uniform_accepted(
    tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Generator | None
) -> Tensor:
    log_peak = -0.5 * ((max(a, min(mean, b)) - mean) / std) ** 2

    def rejected(drawn: Tensor) -> Tensor:
        log_density = drawn.clone().sub_(mean).div_(std).pow_(2).mul_(-0.5).sub_(log_peak)
        return torch.empty_like(drawn).uniform_(generator=generator).log_().gt(log_density)

    pending = rejected(tensor.uniform_(a, b, generator=generator))
    while pending.any():
        drawn = torch.empty_like(tensor).uniform_(a, b, generator=generator)
        tensor.copy_(torch.where(pending, drawn, tensor))
        pending = pending & rejected(drawn)
    return tensor


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """gain * Q, Q having orthonormal rows or columns: the QR factor of normal draws, its signs made uniform.

    Dimensions after the first are flattened. Source: Saxe et al., 2013; Mezzadri, math-ph/0609050, for the signs.
    """
    if tensor.dim() < 2:
        raise ShapeError(f"orthogonal_: the tensor is {tuple(tensor.shape)}; it needs two dimensions or more")
    if tensor.numel() == 0 or tensor.is_meta:
        return tensor
    rows, cols = tensor.shape[0], tensor.numel() // tensor.shape[0]
    with torch.no_grad():
        drawn = tensor.new_empty((rows, cols)).normal_(0, 1, generator=generator)
        q, r = torch.linalg.qr(drawn.t() if rows < cols else drawn)
        q = q * r.diagonal().sign()
        tensor.copy_((q.t() if rows < cols else q).reshape(tensor.shape))
        return tensor.mul_(gain)


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """Draws from N(0, std^2), with ceil(sparsity * rows) zeros in each column.

    The zeros are placed by torch's default generator, as torch does. Source: Martens, Hessian-free optimization, 2010.
    """
    _need_dims("sparse_", tensor, (2,))
    if tensor.is_meta:
        return tensor
    rows, cols = tensor.shape
    zeros = math.ceil(sparsity * rows)
    with torch.no_grad():
        tensor.normal_(0, std, generator=generator)
        for col in range(cols):
            tensor[torch.randperm(rows)[:zeros], col] = 0
    return tensor


def _need_dims(name: str, tensor: Tensor, dims: tuple[int, ...]) -> None:
    if tensor.dim() not in dims:
        wanted = " or ".join(map(str, dims))
        raise ShapeError(f"{name}: the tensor is {tuple(tensor.shape)}; it takes {wanted} dimensions")


def _is_empty(tensor: Tensor) -> bool:
    if 0 in tensor.shape:
        warnings.warn("init: the tensor has no elements; nothing to initialise", stacklevel=3)
        return True
    return False


def _xavier_std(tensor: Tensor, gain: float) -> float:
    return gain * math.sqrt(2.0 / sum(fans(tensor)))


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode.lower() not in ("fan_in", "fan_out"):
        raise ValueError(f"init: mode is {mode!r}; it is 'fan_in' or 'fan_out'")
    fan = fans(tensor)[mode.lower() == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


# Layers outside of torch.nn compute their bounds with this, under torch's name for it.
_calculate_fan_in_and_fan_out = fans


def _deprecated(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function under its old name, without the underscore."""
    new = function.__name__
    old = new.removesuffix("_")

    @functools.wraps(function)
    def renamed(*args: object, **kwargs: object) -> Tensor:
        warnings.warn(f"init.{old} is deprecated; it is called init.{new}", FutureWarning, stacklevel=2)
        return function(*args, **kwargs)

    renamed.__name__ = renamed.__qualname__ = old
    renamed.__doc__ = f"The old name of {new}."
    return renamed


constant = _deprecated(constant_)
dirac = _deprecated(dirac_)
eye = _deprecated(eye_)
kaiming_normal = _deprecated(kaiming_normal_)
kaiming_uniform = _deprecated(kaiming_uniform_)
normal = _deprecated(normal_)
orthogonal = _deprecated(orthogonal_)
sparse = _deprecated(sparse_)
uniform = _deprecated(uniform_)
xavier_normal = _deprecated(xavier_normal_)
xavier_uniform = _deprecated(xavier_uniform_)
