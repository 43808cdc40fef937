"""Parameter and Buffer: tensors that a Module registers when they are assigned to one of its attributes."""

from typing import Any, Self

import torch
from torch import Tensor

from .errors import DtypeError


class _Flagged(type(Tensor)):  # type: ignore[misc]
    """isinstance also holds for tensors of other classes (fake, distributed) that carry the class's flag."""

    _flag: str

    def __instancecheck__(cls, instance: object) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        return cls in (Parameter, Buffer) and isinstance(instance, Tensor) and getattr(instance, cls._flag, False)


class Parameter(Tensor, metaclass=_Flagged):
    """A trainable tensor: `module.weight = Parameter(data)` makes it one of the module's parameters.

    Args:
        data: tensor, any shape; its memory is shared, not copied. Default: an empty tensor.
        requires_grad: whether autograd records it, also when made under `torch.no_grad()`.

    Operations on it give plain tensors. A deepcopy has memory of its own (of a view: its elements) and no gradient.

    Raises: DtypeError for an integer tensor with requires_grad=True.
    """

    _flag = "_is_param"
    _is_param = True  # makes torch.nn.Module and torch's tools take it for a parameter

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Self:
        plain = torch.empty(0) if data is None else data.detach()
        if requires_grad and not (plain.is_floating_point() or plain.is_complex()):
            raise DtypeError(
                f"Parameter: data is {plain.dtype} and requires_grad=True; only floating-point and complex tensors "
                "have gradients: pass requires_grad=False, or use Buffer"
            )
        if type(plain) is Tensor:
            return torch.Tensor._make_subclass(cls, plain, requires_grad)
        plain.requires_grad_(requires_grad)
        plain._is_param = True  # type: ignore[attr-defined]
        return plain  # type: ignore[return-value]

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.data.clone(memory_format=torch.preserve_format), self.requires_grad)
        return memo[id(self)]  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return _rebuild_parameter, (type(self), self.data, self.requires_grad, self.__dict__)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Parameter containing:\n{self.data.requires_grad_(self.requires_grad)!r}"


class Buffer(Tensor, metaclass=_Flagged):
    """A tensor that moves with its module and is not trained: `module.mean = Buffer(data)`.

    Args:
        data: tensor, any shape and dtype; its memory is shared, not copied. Default: an empty tensor.
        persistent: whether the module's state dict holds it.
    """

    _flag = "_is_buffer"
    _is_buffer = True
    persistent: bool

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Self:
        plain = torch.empty(0) if data is None else data.detach()
        requires_grad = data is not None and data.requires_grad
        if type(plain) is Tensor:
            buffer = torch.Tensor._make_subclass(cls, plain, requires_grad)
        else:
            plain.requires_grad_(requires_grad)
            plain._is_buffer = True  # type: ignore[attr-defined]
            buffer = plain  # type: ignore[assignment]
        buffer.persistent = persistent
        return buffer

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        if id(self) not in memo:
            copied = self.data.clone(memory_format=torch.preserve_format).requires_grad_(self.requires_grad)
            memo[id(self)] = type(self)(copied, persistent=self.persistent)
        return memo[id(self)]  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return _rebuild_buffer, (type(self), self.data, self.requires_grad, self.__dict__)

    def __repr__(self) -> str:  # type: ignore[override]
        return repr(self.data.requires_grad_(self.requires_grad))


def _rebuild_parameter(
    cls: type[Parameter], data: Tensor, requires_grad: bool, attributes: dict[str, Any]
) -> Parameter:
    parameter = cls(data, requires_grad)
    parameter.__dict__.update(attributes)
    return parameter


def _rebuild_buffer(cls: type[Buffer], data: Tensor, requires_grad: bool, attributes: dict[str, Any]) -> Buffer:
    buffer = cls(data.requires_grad_(requires_grad))
    buffer.__dict__.update(attributes)
    return buffer


torch.serialization.add_safe_globals([Parameter, Buffer, _rebuild_parameter, _rebuild_buffer])
