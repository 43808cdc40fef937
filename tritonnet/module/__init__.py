"""Module: named parameters, buffers and child modules, with a forward.

The vocabulary, the semantics and the state-dict keys are torch.nn.Module's.
"""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from ..errors import DtypeError
from . import _hooked_call, _load, hooks
from ._functional_call import functional_call
from ._moves import casting_to, move_parameter
from ._registry import Registry
from ._strict import strict
from ._tree import members
from ._unregistered import warn_of_unregistered

__all__ = ["Module", "functional_call", "indented", "strict"]


def _forward_missing(self: "Module", *args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError(f'{type(self).__name__}: a Module needs a "forward" method, and this class has none')


class Module(Registry):
    """Base of models and layers: assign Parameters, Buffers and Modules to attributes, define `forward`, call it.

    >>> class Net(Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.scale = Parameter(torch.ones(3))
    ...     def forward(self, x):
    ...         return x * self.scale
    >>> Net()(torch.tensor([1.0, 2.0, 3.0])).tolist()
    [1.0, 2.0, 3.0]

    A torch.nn.Module keeps a Module that it is given as an ordinary attribute: what that holds is neither among its
    parameters nor in its state dict. Derive the outer one from this class too, or convert it (`tritonnet.from_torch`).

    Raises: ModuleError where a name cannot be registered or `super().__init__()` was not called first, and for modules
        and parameters of torch.nn.
    """

    _version = 1
    """Written into state dicts; `_load_from_state_dict` finds it as `local_metadata["version"]`."""
    dump_patches = False
    call_super_init = False
    """Whether `__init__` hands its arguments to the next class: for a class that derives from Module and another."""
    T_destination = TypeVar("T_destination", bound=dict[str, Any])
    training: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if (args or kwargs) and not self.call_super_init:
            given = f"keyword argument {next(iter(kwargs))!r}" if kwargs else f"{len(args)} positional arguments"
            raise TypeError(f"{type(self).__name__}.__init__: Module.__init__ takes no arguments, and got {given}")
        super().__init__()
        object.__setattr__(self, "training", True)
        if self.call_super_init:
            super(hooks.Hooked, self).__init__(*args, **kwargs)

    forward: Callable[..., Any] = _forward_missing

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._hook_table is None:
            return self.forward(*args, **kwargs)
        return _hooked_call.call(self, args, kwargs)

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        return _hooked_call.run(self, hooks.hooks_of(self), args, kwargs)

    # Modes and gradients

    def train(self, mode: bool = True) -> Self:
        """Training mode (or, with False, evaluation mode) for this module and all below it."""
        if not isinstance(mode, bool):
            raise ValueError(f"{type(self).__name__}.train: mode is True or False, and {mode!r} is neither")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """`train(False)`: evaluation mode."""
        return self.train(False)

    def apply(self, fn: "Callable[[Module], object]") -> Self:
        """Call fn on every module below, then on this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)  # type: ignore[arg-type]
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze (False) or unfreeze every parameter."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop every parameter's gradient, or with set_to_none=False fill it with zeros."""
        for param in self.parameters():
            if set_to_none:
                param.grad = None
            elif param.grad is not None:
                if param.grad.requires_grad:
                    param.grad = param.grad.detach()
                param.grad.zero_()

    # Moves: parameters stay the same objects, so that an optimizer keeps working; gradients move with them

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        for module in self.children() if recurse else ():
            module._apply(fn)
        for _, param in members(self, "parameter"):
            move_parameter(param, fn)
        for name, buffer in members(self, "buffer"):
            self.__dict__[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move and cast in place: `to(device)`, `to(dtype)`, `to(device, dtype)`, `to(tensor)`, `to(memory_format=)`.

        dtype applies to floating-point and complex tensors, memory_format to those of 4 and 5 dimensions.
        non_blocking=True copies from pinned memory without waiting.

        Raises: DtypeError for an integer dtype; NotImplementedError for tensors on the meta device, which have no data.
        """
        device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
            raise DtypeError(f"{type(self).__name__}.to: dtype is {dtype}; parameters are floating-point or complex")

        def convert(tensor: Tensor) -> Tensor:
            to_dtype = dtype if tensor.is_floating_point() or tensor.is_complex() else None
            if tensor.is_meta and device is not None and device.type != "meta":
                raise NotImplementedError(
                    f"{type(self).__name__}.to: a tensor on the meta device has no data to copy; "
                    "use to_empty(device=...), then initialise or load"
                )
            if memory_format is not None and tensor.dim() in (4, 5):
                return tensor.to(device, to_dtype, non_blocking, memory_format=memory_format)
            return tensor.to(device, to_dtype, non_blocking)

        return self._apply(convert)

    def to_empty(self, *, device: torch.device | str | int | None, recurse: bool = True) -> Self:
        """Move without copying: tensors of the same shapes and dtypes on the device, with undefined values."""
        return self._apply(lambda tensor: torch.empty_like(tensor, device=device), recurse=recurse)

    def share_memory(self) -> Self:
        """Put every tensor into memory that other processes can share."""
        return self._apply(lambda tensor: tensor.share_memory_())

    def cuda(self, device: torch.device | str | int | None = None) -> Self:
        """Move to a CUDA device (the current one by default)."""
        return self._apply(lambda tensor: tensor.cuda(device))

    def ipu(self, device: torch.device | str | int | None = None) -> Self:
        """Move to a Graphcore IPU."""
        return self._apply(lambda tensor: tensor.ipu(device))

    def xpu(self, device: torch.device | str | int | None = None) -> Self:
        """Move to an Intel GPU."""
        return self._apply(lambda tensor: tensor.xpu(device))

    def mtia(self, device: torch.device | str | int | None = None) -> Self:
        """Move to a Meta accelerator."""
        return self._apply(lambda tensor: tensor.mtia(device))

    def cpu(self) -> Self:
        """Move to the CPU."""
        return self._apply(lambda tensor: tensor.cpu())

    def type(self, dst_type: torch.dtype | str) -> Self:
        """Cast every tensor, integer ones too."""
        return self._apply(lambda tensor: tensor.type(dst_type))

    def float(self) -> Self:
        """Cast floating-point tensors to float32."""
        return self._apply(casting_to(torch.float32))

    def double(self) -> Self:
        """Cast floating-point tensors to float64."""
        return self._apply(casting_to(torch.float64))

    def half(self) -> Self:
        """Cast floating-point tensors to float16."""
        return self._apply(casting_to(torch.float16))

    def bfloat16(self) -> Self:
        """Cast floating-point tensors to bfloat16."""
        return self._apply(casting_to(torch.bfloat16))

    # State dicts

    def state_dict(
        self, *args: Any, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Parameters and persistent buffers by dotted name: the tensors themselves (detached unless keep_vars).

        A shared tensor stands under each of its names. A module with `get_extra_state` adds `<prefix>_extra_state`.
        """
        if args:
            warnings.warn(
                f"{type(self).__name__}.state_dict: pass destination, prefix and keep_vars as keywords",
                FutureWarning,
                stacklevel=2,
            )
            destination = args[0] if destination is None else destination
            prefix = args[1] if len(args) > 1 and not prefix else prefix
            keep_vars = args[2] if len(args) > 2 and not keep_vars else keep_vars
        if destination is None:
            warn_of_unregistered(self)
            destination = OrderedDict()
            destination._metadata = OrderedDict()  # type: ignore[attr-defined]
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        table = self._hook_table
        for hook in table._state_dict_pre_hooks.values() if table else ():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in members(self, "module"):
            module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for number, hook in table._state_dict_hooks.items() if table else ():
            replaced = hook(self, destination, prefix, local_metadata)
            if replaced is not None and number in table.in_place:  # type: ignore[union-attr]
                raise RuntimeError(f"{type(self).__name__}.state_dict: a post-hook edits in place and returns None")
            destination = destination if replaced is None else replaced
        return destination  # type: ignore[return-value]

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        values = self.__dict__
        for names in self._registered["parameter"], self._registered["buffer"]:
            for name, saved in names.items():
                tensor = values[name]
                if saved and tensor is not None:
                    destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if type(self).get_extra_state is not Module.get_extra_state:
            destination[prefix + _load.EXTRA_STATE] = self.get_extra_state()

    def get_extra_state(self) -> Any:
        """What else the state dict holds of this module; a class that defines it defines `set_extra_state` too."""
        raise RuntimeError(f"{type(self).__name__}: no extra state; its class defines no get_extra_state")

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` gave."""
        raise RuntimeError(f"{type(self).__name__}: no extra state; its class defines no set_extra_state")

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _load._IncompatibleKeys:
        """Copy a state dict into this module; everything is checked first, and a load that fails changes nothing.

        Args:
            state_dict: tensors by dotted name, from this class or a torch.nn module of the same architecture.
            strict: missing and unexpected keys are errors; wrong shapes are errors in any case.
            assign: take the state dict's tensors (their dtype and device) instead of copying into the module's;
                parameters keep their requires_grad, and tied parameters stay tied.

        Returns: the missing and the unexpected keys, as a pair of lists.
        Raises: StateDictError with one table of all that does not fit; TypeError if state_dict is not a mapping.
        Warns: UserWarning with a table of values that were rounded to a narrower dtype, or lost to a tie.
        """
        plan = _load.prepare(self, state_dict, strict, assign)
        plan.raise_problems()
        return plan.commit()

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load this module's own tensors; subclasses override it to rename or convert the keys of older versions."""
        _load.load_own(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)

    # Text

    def extra_repr(self) -> str:
        """What stands between the brackets of the repr; layers override it."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [f"({name}): {indented(repr(self.__dict__[name]))}" for name in self._registered["module"]]
        if not children and "\n" not in extra:
            return f"{self._get_name()}({extra})"
        lines = (extra.split("\n") if extra else []) + children
        return self._get_name() + "(\n  " + "\n  ".join(lines) + "\n)"


def indented(text: str) -> str:
    """The text with every line but the first moved right by two, as it stands within a module's repr."""
    return text.replace("\n", "\n  ")
