"""Parametrizations: a parameter that is computed from others whenever it is asked for, as torch.nn.utils has them."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ...module import Module
from ...parameter import Parameter
from ..containers import ModuleDict, ModuleList

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]

_cache: dict[tuple[int, str], Any] = {}
_caching = 0


@contextmanager
def cached() -> Iterator[None]:
    """Within the block a parametrized tensor is computed when it is first asked for, and then kept."""
    global _caching
    _caching += 1
    try:
        yield
    finally:
        _caching -= 1
        if not _caching:
            _cache.clear()


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, in order, and what it is computed from: `module.parametrizations.weight`.

    `original`, or `original0`, `original1`, ... where the last right_inverse gives several tensors. Calling it computes
    the tensor. register_parametrization makes it.
    """

    is_tensor: bool
    ntensors: int

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList: there are no modules; it takes at least one")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        with torch.no_grad():
            new: Any = original
            for module in reversed(list(self)):
                new = _inverse(module, new)
        if not isinstance(new, Tensor | Sequence):
            raise ValueError(
                f"parametrization: right_inverse gives {type(new).__name__}; it gives a tensor or a sequence of them"
            )
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if isinstance(new, Tensor) else len(new)
        if isinstance(new, Tensor):
            for what in ("dtype", "device"):
                if getattr(original, what) != getattr(new, what):
                    raise ValueError(
                        f"parametrization: right_inverse gives one tensor, and changes its {what} from "
                        f"{getattr(original, what)} to {getattr(new, what)}"
                    )
            # The same object, so that an optimizer that has it goes on.
            original.data = new.detach()
            _register(self, "original", original)
        else:
            for at, one in enumerate(new):
                if not isinstance(one, Tensor):
                    raise ValueError(
                        f"parametrization: item {at} of what right_inverse gives is {type(one).__name__}, and no tensor"
                    )
                part = Parameter(one, original.requires_grad) if isinstance(original, Parameter) else one
                _register(self, f"original{at}", part)
        if not unsafe:
            _check("the parametrization gives", self(), shape, dtype)

    def _originals(self) -> list[str]:
        return ["original"] if self.is_tensor else [f"original{at}" for at in range(self.ntensors)]

    def right_inverse(self, value: Any) -> None:
        """Make the originals those of which `value` is computed: the parametrizations' right_inverse, last first."""
        with torch.no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"{type(module).__name__} has no right_inverse, by which a value could be assigned"
                    )
                value = module.right_inverse(value)
            values = [value] if self.is_tensor else value
            names = self._originals()
            if not isinstance(values, Sequence) or len(values) != len(names):
                raise ValueError(
                    f"parametrization: right_inverse gives {type(value).__name__}, for {len(names)} originals"
                )
            for name, one in zip(names, values, strict=True):
                held = getattr(self, name)
                if not isinstance(one, Tensor) or one.dtype != held.dtype:
                    got = one.dtype if isinstance(one, Tensor) else type(one).__name__
                    raise ValueError(f"right_inverse gives {got} for `{name}`, which has dtype {held.dtype}")
                held.data = one.detach()

    def forward(self) -> Tensor:
        first, *others = list(self)
        x = first(*(getattr(self, name) for name in self._originals()))
        for module in others:
            x = module(x)
        return x  # type: ignore[no-any-return]


def _inverse(module: Module, value: Any) -> Any:
    try:
        return module.right_inverse(value) if hasattr(module, "right_inverse") else value
    except NotImplementedError:
        return value


def _register(module: Module, name: str, tensor: Tensor) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _check(what: str, found: Any, shape: torch.Size, dtype: torch.dtype) -> None:
    if not isinstance(found, Tensor):
        raise ValueError(f"parametrization: {what} {type(found).__name__}, and no tensor")
    for kind, before, after in (("dtype", dtype, found.dtype), ("shape", shape, found.shape)):
        if before != after:
            raise ValueError(
                f"parametrization: the tensor has {kind} {before}, and {what} {after}; unsafe=True allows that"
            )


def _parametrized_class(cls: type[Module]) -> type:
    """A subclass for one module, whose class can then have properties of its own."""

    def getstate(self: Module) -> Any:
        raise RuntimeError(
            f"{cls.__name__} is parametrized, and so has a class of its own that no other process knows: save its "
            "state_dict()"
        )

    def deepcopy(self: Module, memo: dict[int, Any]) -> Module:
        replica: Module = Module.__new__(_parametrized_class(cls))
        memo[id(self)] = replica
        replica.__setstate__(copy.deepcopy(cls.__getstate__(self), memo))
        for name in replica.parametrizations:  # type: ignore[union-attr]
            _add_property(replica, name)
        return replica

    return type(f"Parametrized{cls.__name__}", (cls,), {"__getstate__": getstate, "__deepcopy__": deepcopy})


def _add_property(module: Module, name: str) -> None:
    def get(self: Module) -> Any:
        if not _caching:
            return self.parametrizations[name]()  # type: ignore[operator, index]
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = self.parametrizations[name]()  # type: ignore[operator, index]
        return _cache[key]

    def put(self: Module, value: Any) -> None:
        self.parametrizations[name].right_inverse(value)  # type: ignore[operator, index, union-attr]

    setattr(type(module), name, property(get, put))


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Let `module.<tensor_name>` be `parametrization(original)`, where the original is what is trained and saved.

    The original is the tensor itself under `module.parametrizations.<tensor_name>.original`, or what
    `parametrization.right_inverse`, if there is one, makes of it; several tensors are original0, original1, ...
    Assigning to the tensor goes through right_inverse. Another registration applies to the result of those before.

    unsafe: do not check that shape and dtype stay the same.

    Returns: the module, whose class is now a subclass of its own.
    Raises: ValueError if there is no such tensor, or for a parametrization that changes shape or dtype.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        parametrizations: Any = module.parametrizations[tensor_name]  # type: ignore[index]
        if not unsafe:
            before = getattr(module, tensor_name)
            after = parametrization(before)
            _check("the parametrization gives", after, before.shape, before.dtype)
            _check("right_inverse gives", _inverse(parametrization, after), before.shape, before.dtype)
        parametrizations.append(parametrization)
        parametrizations.unsafe |= unsafe
        return module
    if tensor_name not in module._buffers and tensor_name not in module._parameters:
        raise ValueError(
            f"register_parametrization: {type(module).__name__} has no parameter or buffer {tensor_name!r}"
        )
    made = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        module.__class__ = _parametrized_class(type(module))
        module.parametrizations = ModuleDict()
    _add_property(module, tensor_name)
    module.parametrizations[tensor_name] = made  # type: ignore[index, operator]
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module has a parametrization: of this tensor, or, without a name, of any."""
    parametrizations = getattr(module, "parametrizations", None)
    if not isinstance(parametrizations, ModuleDict):
        return False
    return len(parametrizations) > 0 if tensor_name is None else tensor_name in parametrizations


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make the tensor an ordinary parameter or buffer again.

    leave_parametrized: with the value that it has; otherwise with that of its original.

    Raises: ValueError if it is not parametrized, and for leave_parametrized=False where there are several originals.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"remove_parametrizations: {tensor_name!r} of {type(module).__name__} is not parametrized")
    parametrizations: Any = module.parametrizations[tensor_name]  # type: ignore[index]
    if not parametrizations.is_tensor and not leave_parametrized:
        raise ValueError(
            f"remove_parametrizations: {tensor_name!r} is computed from several tensors, none of which can stay in its "
            "place: leave_parametrized=True"
        )
    if parametrizations.is_tensor:
        tensor = parametrizations.original
        if leave_parametrized:
            with torch.no_grad():
                tensor.data = getattr(module, tensor_name).detach()
    else:
        value = getattr(module, tensor_name)
        tensor = Parameter(value) if value.requires_grad else value
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]  # type: ignore[union-attr]
    _register(module, tensor_name, tensor)
    if not is_parametrized(module):
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The module's class without regard to parametrizations."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Register the parametrizations of one module (of one tensor, if named) with another, with the same originals."""
    if is_parametrized(from_module):
        source: Any = from_module.parametrizations
        for name in source if tensor_name is None else [tensor_name]:
            if not hasattr(to_module, name):
                setattr(to_module, name, Parameter(getattr(from_module, name)))
            for parametrization in source[name]:
                register_parametrization(to_module, name, parametrization)
            ours: Any = to_module.parametrizations[name]  # type: ignore[index]
            for held in [*source[name]._parameters, *source[name]._buffers]:
                setattr(ours, held, getattr(source[name], held))
    return to_module
