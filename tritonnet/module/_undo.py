"""What a load may have to take back: modules as they were before foreign code, hooks or extra state touched them."""

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from ..parameter import is_lazy
from ._tree import KINDS

if TYPE_CHECKING:
    from . import Module


class Undo:
    """Remembers modules, and makes them what they were: the same tensors with the same memory, values and attributes.

    What an attribute holds is remembered by reference, extra state as `get_extra_state` gives it, values of tensors as
    copies in the memory of the CPU.
    """

    def __init__(self) -> None:
        self._modules: dict[int, _Memory] = {}

    def remember(self, module: "Module") -> None:
        if id(module) not in self._modules:
            self._modules[id(module)] = _Memory(module)

    def restore(self) -> None:
        for memory in reversed(self._modules.values()):
            memory.restore()
        self._modules.clear()


class _Memory:
    def __init__(self, module: "Module") -> None:
        from . import Module

        self.module = module
        self.attributes = dict(module.__dict__)
        self.registered = {kind: dict(module._registered[kind]) for kind in KINDS}
        self.extra: tuple[Any, ...] = ()
        cls = type(module)
        if cls.get_extra_state is not Module.get_extra_state and cls.set_extra_state is not Module.set_extra_state:
            self.extra = (copy.deepcopy(module.get_extra_state()),)
        names = [name for kind in ("parameter", "buffer") for name in self.registered[kind]]
        tensors = [self.attributes[name] for name in names]
        self.lazy = [(tensor, tensor.data, type(tensor)) for tensor in tensors if is_lazy(tensor)]
        self.tensors = [
            (tensor, tensor.data, tensor.detach().to("cpu", copy=True)) for tensor in tensors if _has_values(tensor)
        ]

    def restore(self) -> None:
        for kind in KINDS:
            self.module._registered[kind].clear()
            self.module._registered[kind].update(self.registered[kind])
        registered = self.module._registered
        self.module.__dict__.clear()
        self.module.__dict__.update({**self.attributes, "_registered": registered})
        if self.extra:
            self.module.set_extra_state(*self.extra)
        for tensor, data, cls in self.lazy:
            if type(tensor) is not cls:
                tensor.data = data
                tensor.__class__ = cls
        for tensor, data, values in self.tensors:
            if not _same_memory(tensor, data):
                tensor.data = data
            if not torch.equal(bits(values), bits(data.cpu())):
                data.copy_(values)


def _has_values(tensor: Tensor | None) -> bool:
    return not (tensor is None or tensor.is_meta or is_lazy(tensor) or isinstance(tensor, FakeTensor))


def _same_memory(a: Tensor, b: Tensor) -> bool:
    return a.data_ptr() == b.data_ptr() and a.dtype == b.dtype and a.shape == b.shape and a.stride() == b.stride()


def bits(tensor: Tensor) -> Tensor:
    return tensor.detach().resolve_conj().contiguous().reshape(-1).view(torch.uint8)
