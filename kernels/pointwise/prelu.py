"""prelu, whose slope below zero is a weight for each channel, and its gradients."""

import torch
from torch import Tensor

from .._errors import DtypeError, ShapeError, dtype_name
from .._op import FLOATS, op
from .._tile import wide_dtype
from . import formulas as f
from .each import apply
from .sums import sum_into


def prelu_reference(x: Tensor, weight: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    _check("prelu", x, weight)
    wide = wide_dtype(x.dtype)
    x_wide, weight_wide = x.to(wide), over_channels("prelu", weight, x).to(wide)
    return torch.where(x > 0, x_wide, weight_wide * x_wide).to(dtype or x.dtype)


def prelu_backward_reference(dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    _check("prelu_backward", x, weight, dy)
    wide = wide_dtype(x.dtype)
    dy_wide, weight_wide = dy.to(wide), over_channels("prelu_backward", weight, x).to(wide)
    return torch.where(x > 0, dy_wide, weight_wide * dy_wide).to(x.dtype)


def prelu_product_reference(
    x: Tensor, u: Tensor, v: Tensor, channels: int | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    _check("prelu_product", x, u, v)
    wide = wide_dtype(x.dtype)
    u, v = (over_channels("prelu_product", one, x).to(wide) for one in (u, v))
    y = torch.where(x > 0, 0, u * v)
    if channels is not None:
        y = y.sum() if channels == 1 else y.sum([dim for dim in range(x.dim()) if dim != 1])
        y = y.view(channels)
    return y.to(dtype or x.dtype)


@op(reference=prelu_reference, flops=lambda x, *_, **__: x.numel())
def prelu(x: Tensor, weight: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """y = x where x > 0, else weight x.

    Args:
        x: any shape and strides; dimension 1 is that of channels.
        weight: [1] for all elements, or one for each channel; any floating-point dtype and stride.
        dtype: of y; that of `x` if not given.

    Returns: a fresh tensor, laid out in memory as `torch.empty_like(x)`.
    Raises: ShapeError for another number of weights, DtypeError for other dtypes.

    Source: He et al., Delving Deep into Rectifiers, 2015.
    """
    _check("prelu", x, weight)
    y = torch.empty_like(x, dtype=dtype)
    apply(f.leaky_relu, y, (x, over_channels("prelu", weight, x)))
    return y


@op(reference=prelu_backward_reference, flops=lambda dy, *_: dy.numel())
def prelu_backward(dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """dx = dy where x > 0, else weight dy.

    Args:
        dy: of x's shape, any floating-point dtype and strides.

    Returns: a fresh tensor, laid out in memory as `torch.empty_like(x)`.
    Raises: ShapeError for shapes that do not fit, DtypeError for other dtypes.
    """
    _check("prelu_backward", x, weight, dy)
    dx = torch.empty_like(x)
    apply(
        f.leaky_relu_grad, dx, (x, over_channels("prelu_backward", dy, x), over_channels("prelu_backward", weight, x))
    )
    return dx


@op(reference=prelu_product_reference, flops=lambda x, *_, **__: 2 * x.numel())
def prelu_product(
    x: Tensor, u: Tensor, v: Tensor, channels: int | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """y = 0 where x > 0, else u v; with `channels` its sum over all dimensions but dimension 1, with 1 over all.

    The gradient of prelu's weight is prelu_product(x, x, dy, channels). Sums are float32 (float64 for float64), in an
    order that depends on the sizes alone.

    Args:
        u, v: of x's shape, or a value for each channel or [1] for all; any floating-point dtype and strides.
        dtype: of y; that of `x` if not given.

    Returns: [channels], or a fresh tensor laid out in memory as `torch.empty_like(x)`.
    Raises: ShapeError for shapes that do not fit, DtypeError for other dtypes.
    """
    _check("prelu_product", x, u, v)
    operands = (x, over_channels("prelu_product", u, x), over_channels("prelu_product", v, x))
    if channels is None:
        y = torch.empty_like(x, dtype=dtype)
        apply(f.product_where_not_positive, y, operands)
        return y
    y = x.new_empty([channels if dim == 1 else 1 for dim in range(max(x.dim(), 1))], dtype=dtype)
    sum_into(f.product_where_not_positive, y, [one if one.dim() else one[None] for one in operands])
    return y.view(channels)


def over_channels(name: str, one: Tensor, x: Tensor) -> Tensor:
    """A view of x's shape of what has that shape already, or is [1], or [C] for the C sizes of dimension 1."""
    if one.shape == x.shape:
        return one
    if one.dim() > 1 or (one.numel() != 1 and (x.dim() < 2 or one.numel() != x.shape[1])):
        raise ShapeError(
            f"{name}: x is {tuple(x.shape)}, and beside it is {tuple(one.shape)}; it needs to have x's shape, or one "
            "element, or one for each size of x's dimension 1"
        )
    if one.numel() == 1:
        return one.expand(x.shape) if x.dim() else one.view(())
    return one.view(-1, *(1 for _ in x.shape[2:])).expand(x.shape)


def _check(name: str, *tensors: Tensor) -> None:
    if any(one.dtype not in FLOATS for one in tensors):
        raise DtypeError(
            f"{name}: got {', '.join(dtype_name(one.dtype) for one in tensors)}; it takes floating-point tensors"
        )
