"""Parameter and Buffer: tensors that a Module registers when they are assigned to one of its attributes."""

from collections.abc import Sequence
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

    A torch.nn.Module that is given one registers it as one of its own; `torch.nn.Parameter` takes its `data`.
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


_WITHOUT_SHAPE = {
    *(Tensor.__hash__, Tensor.size, Tensor.copy_, Tensor.is_complex, Tensor.is_floating_point, Tensor.get_device),
    *(Tensor.to, Tensor.half, Tensor.float, Tensor.double, Tensor.bfloat16, Tensor.cuda, Tensor.cpu),
    *(Tensor.char, Tensor.short, Tensor.int, Tensor.long, torch._has_compatible_shallow_copy_type),
}
"""What can be asked of a tensor that has no shape yet."""


class _Uninitialized:
    """A tensor whose shape is not known yet, of a lazy module: it can be moved, cast, copied, and materialized."""

    cls_to_become: type[Tensor]

    def materialize(
        self, shape: Sequence[int], device: torch.device | str | int | None = None, dtype: torch.dtype | None = None
    ) -> None:
        """Become a Parameter (or Buffer) of this shape with undefined values; it stays the same object."""
        data: Tensor = self.data  # type: ignore[has-type]
        self.data = torch.empty(tuple(shape), device=device or data.device, dtype=dtype or data.dtype)
        self.__class__ = self.cls_to_become  # type: ignore[assignment]

    @property
    def shape(self) -> torch.Size:
        raise RuntimeError(
            f"{type(self).__name__}: it has no shape yet; call the model once, or load a state dict that has one"
        )

    def detach(self) -> Self:
        return self

    def share_memory_(self) -> Self:
        raise RuntimeError(f"{type(self).__name__}: it has no memory to share yet; call the model once first")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def _arguments(self) -> tuple[Any, ...]:
        """Of the constructor, for another like it."""
        return self.requires_grad, self.device, self.dtype  # type: ignore[attr-defined]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        if id(self) not in memo:
            memo[id(self)] = type(self)(*self._arguments())
        return memo[id(self)]  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return type(self), self._arguments()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Properties come as the methods that get and set them.
        if func in _WITHOUT_SHAPE or type(func).__name__ == "method-wrapper":
            with torch._C.DisableTorchFunctionSubclass():
                found = func(*args, **(kwargs or {}))
            return found.as_subclass(cls) if type(found) is Tensor and func in _WITHOUT_SHAPE else found
        raise ValueError(
            f"{cls.__name__}: {getattr(func, '__name__', func)} was called before the tensor has a shape; call the "
            "model with a batch once, so that its lazy modules find their sizes"
        )


class UninitializedParameter(_Uninitialized, Parameter):  # type: ignore[misc]
    """A Parameter without a shape, of a lazy module; device and dtype are those it will have."""

    cls_to_become = Parameter

    def __new__(
        cls,
        requires_grad: bool = True,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        return torch.Tensor._make_subclass(cls, torch.empty(0, device=device, dtype=dtype), requires_grad)


class UninitializedBuffer(_Uninitialized, Buffer):  # type: ignore[misc]
    """A Buffer without a shape, of a lazy module; device and dtype are those it will have."""

    cls_to_become = Buffer

    def __new__(
        cls,
        requires_grad: bool = False,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        persistent: bool = True,
    ) -> Self:
        buffer: Self = torch.Tensor._make_subclass(cls, torch.empty(0, device=device, dtype=dtype), requires_grad)
        buffer.persistent = persistent
        return buffer

    def _arguments(self) -> tuple[Any, ...]:
        return *super()._arguments(), self.persistent


def is_lazy(param: object) -> bool:
    """Whether param is an UninitializedParameter or UninitializedBuffer."""
    return isinstance(param, _Uninitialized)


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


torch.serialization.add_safe_globals(
    [Parameter, Buffer, UninitializedParameter, UninitializedBuffer, _rebuild_parameter, _rebuild_buffer]
)
