"""What the losses refuse or warn of."""

import warnings

import torch
from torch import Tensor

from tritonnet.errors import BackwardError, DtypeError, ShapeError, dtype_name
from tritonnet.kernels.loss import name_of

REDUCTIONS = ("none", "mean", "sum")


def warn_of_sizes(input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). "
            "This will likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=3,
        )


def checked_weight(name: str, weight: Tensor | None, input: Tensor) -> Tensor | None:
    """A weight of the losses that want one of input's shape."""
    if weight is not None and weight.shape != input.shape:
        both = f"weight is {tuple(weight.shape)} and input is {tuple(input.shape)}"
        raise ShapeError(f"{name}: {both}; they must be the same")
    return weight


def check_reduction(of: str, reduction: str, reductions: tuple[str, ...] = REDUCTIONS) -> None:
    if reduction not in reductions:
        offered = ", ".join(map(repr, reductions))
        raise ShapeError(f"{name_of(of)}: reduction is {reduction!r}; it is one of {offered}")


def check_sizes(name: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        raise ShapeError(
            f"{name}: input is {tuple(input.shape)} and target is {tuple(target.shape)}; they must be the same"
        )


def check_floating(name: str, **tensors: Tensor) -> None:
    for role, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise DtypeError(f"{name}: {role} is {dtype_name(tensor.dtype)}; it must be floating-point")


def check_no_bools(name: str, input: Tensor, target: Tensor) -> None:
    if torch.bool in (input.dtype, target.dtype):
        raise DtypeError(f"{name}: {dtypes(input, target)}; a bool is no number")


def dtypes(input: Tensor, target: Tensor) -> str:
    return f"input is {dtype_name(input.dtype)} and target is {dtype_name(target.dtype)}"


def check_without_gradient(name: str, **tensors: Tensor | None) -> None:
    for role, tensor in tensors.items():
        if tensor is not None and tensor.requires_grad and torch.is_grad_enabled():
            raise BackwardError(f"{name}: {role} requires a gradient, which is not computed; pass {role}.detach()")
