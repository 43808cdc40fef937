"""What conv2d and its gradients are planned from, checked once and kept; and what a plan is made of."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._errors import DtypeError, ShapeError, dtype_name
from .._op import FLOATS
from .._precision import conv_precision
from .geometry import Geometry, Padding, Pair, channels_last, format_strides, geometry, hashable, needs_int64

Steps = tuple[Pair, Padding, Pair, int]
"""stride, padding, dilation, groups."""


class Operand(NamedTuple):
    """All of a tensor but its memory."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype

    @property
    def channels_last(self) -> bool:
        return channels_last(self.shape, self.strides)

    @property
    def channels_contiguous(self) -> bool:
        return self.channels_last or self.strides[1] == 1

    @property
    def far(self) -> bool:
        return needs_int64(self.shape, self.strides)

    def empty(self, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty_strided(self.shape, self.strides, dtype=dtype or self.dtype, device=device)


class Given(NamedTuple):
    """All that a plan depends on: two operands; bias, or the shape of what is differentiated by; the rest of a call."""

    left: Operand
    right: Operand
    other: Any
    steps: Steps
    dtype: torch.dtype | None
    precision: str
    device: torch.device

    @classmethod
    def by(cls, key: tuple[Any, ...]) -> "Given":
        left, right, *rest = key
        return cls(Operand(*left), Operand(*right), *rest)


class Call(NamedTuple):
    """What a launch takes beside its tensors."""

    kernel: Any
    grid: tuple[int, ...]
    sizes: tuple[int, ...]
    constexprs: dict[str, Any]


def key(
    left: Tensor,
    right: Tensor,
    other: Tensor | tuple[int, ...] | None,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    dtype: torch.dtype | None,
) -> tuple[Any, ...]:
    """What Given is made of, as plain tuples: a repeated call does no more than to look its plan up by them."""
    if isinstance(other, Tensor):
        other = (other.shape, other.stride(), other.dtype)
    return (
        (left.shape, left.stride(), left.dtype),
        (right.shape, right.stride(), right.dtype),
        other if other is None else tuple(other),
        (hashable(stride), hashable(padding), hashable(dilation), groups),
        dtype,
        conv_precision(dtype or left.dtype),
        left.device,
    )


def checked(
    op: str,
    x: tuple[int, ...],
    weight: tuple[int, ...],
    steps: Steps,
    dtype: torch.dtype | None,
    /,
    **operands: Tensor | Operand | None,
) -> tuple[Geometry, torch.dtype]:
    """The geometry of shapes `x` and `weight`, and the dtype of the products of the operands.

    Raises: ShapeError for sizes that do not fit, those of operands `grad` and `bias` among them; DtypeError.
    """
    conv = geometry(op, tuple(x), tuple(weight), *map(hashable, steps))
    grad, bias = operands.get("grad"), operands.get("bias")
    if grad is not None and tuple(grad.shape) != conv.out_shape:
        raise ShapeError(f"{op}: grad is {tuple(grad.shape)}; the result of this convolution is {conv.out_shape}")
    dtype = _product_dtype(op, dtype, {name: each.dtype for name, each in operands.items() if each is not None})
    if bias is not None and tuple(bias.shape) != (conv.K,):
        raise ShapeError(f"{op}: bias is {tuple(bias.shape)} and weight {tuple(weight)}; bias must be ({conv.K},)")
    return conv, dtype


def _product_dtype(op: str, dtype: torch.dtype | None, operands: dict[str, torch.dtype]) -> torch.dtype:
    """`dtype`, or else the one that all operands have."""
    if dtype is None and len(set(operands.values())) > 1:
        each = ", ".join(f"{name} is {dtype_name(d)}" for name, d in operands.items())
        raise DtypeError(f"{op}: {each}; the operands must have one dtype")
    product = dtype or next(iter(operands.values()))
    for name, d in {**operands, "dtype": product}.items():
        if d not in FLOATS:
            raise DtypeError(f"{op}: {name} is {dtype_name(d)}; it takes floating-point tensors")
    return product


def result(shape: tuple[int, ...], dtype: torch.dtype, *operands: Operand) -> Operand:
    """What is computed from operands: dense, channels last where torch takes one of them for that."""
    return Operand(shape, format_strides(shape, any(each.channels_last for each in operands)), dtype)
