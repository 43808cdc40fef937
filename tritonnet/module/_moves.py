"""Moves: a parameter's data and gradient are replaced, and the parameter stays the same object."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from ..parameter import Parameter, is_lazy


def casting_to(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """A function that casts floating-point tensors and leaves others."""
    return lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor


def move_parameter(param: Parameter, fn: Callable[[Tensor], Tensor]) -> None:
    """Make the parameter and its gradient what fn makes of them."""
    with torch.no_grad():
        moved, grad = fn(param), param.grad
        moved_grad = None if grad is None else fn(grad)
        if moved is param:
            return
        if _fits(param, moved):
            param.data = moved
            if grad is not None and moved_grad is not None:
                grad.data = moved_grad
            return
        param.grad = None  # a tensor that has a gradient cannot be swapped
        other = moved if is_lazy(moved) else Parameter(moved, param.requires_grad)
        other.__dict__.update(param.__dict__)
        torch.utils.swap_tensors(param, other)
        param.grad = moved_grad


def _fits(param: Tensor, moved: Tensor) -> bool:
    """Whether `param.data = moved` is possible: not between real, meta and fake tensors, or two devices' fakes."""
    if isinstance(param, FakeTensor) or isinstance(moved, FakeTensor):
        return type(param) is type(moved) and param.device == moved.device
    return torch._has_compatible_shallow_copy_type(param, moved)
