"""Hooks: functions that run around a module's call and its backward, and around saving and loading its state dict.

A module without hooks has no table of them, and asks once a call whether there is one; a hook for all modules puts a
table into the class, where every module finds it.
"""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.hooks import RemovableHandle

if TYPE_CHECKING:
    pass

Hook = Callable[..., Any]
Table = OrderedDict[int, Any]

NAMES = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_state_dict_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


class Hooks:
    """A module's hooks: a table a kind, of functions by the number of their handle, under torch's names."""

    _forward_pre_hooks: Table
    _forward_pre_hooks_with_kwargs: Table
    _forward_hooks: Table
    _forward_hooks_with_kwargs: Table
    _forward_hooks_always_called: Table
    _backward_pre_hooks: Table
    _backward_hooks: Table
    _state_dict_pre_hooks: Table
    _state_dict_hooks: Table
    _load_state_dict_pre_hooks: Table
    _load_state_dict_post_hooks: Table

    def __init__(self) -> None:
        for name in NAMES:
            setattr(self, name, OrderedDict())
        self.full: bool | None = None
        """Whether the backward hooks are full ones; a module has one sort or the other."""
        self.in_place: Table = OrderedDict()
        """Numbers of the state-dict hooks that must return None."""
        self.compiled: Hook | None = None

    def around_call(self) -> bool:
        return bool(self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks)

    def around_backward(self) -> bool:
        return bool(self._backward_hooks or self._backward_pre_hooks)

    def backward(self, full: bool) -> Iterable[Hook]:
        """The backward hooks, if they are of the sort."""
        return self._backward_hooks.values() if self.full is full else ()

    def add(self, name: str, hook: Hook, prepend: bool = False, **flags: bool) -> RemovableHandle:
        """Put a hook into a table; each flag names a table that marks it."""
        table: Table = getattr(self, name)
        marks = {flag: getattr(self, flag) for flag in flags}
        handle = RemovableHandle(table, extra_dict=list(marks.values()))
        table[handle.id] = hook
        if prepend:
            table.move_to_end(handle.id, last=False)
        for flag, marked in flags.items():
            if marked:
                marks[flag][handle.id] = True
        return handle

    def add_backward(self, hook: Hook, full: bool, prepend: bool = False) -> RemovableHandle:
        if self.full is not None and self.full != full:
            raise RuntimeError(
                "backward hooks: a module has full backward hooks or regular ones (register_backward_hook), not both; "
                "register_full_backward_hook is the one to use"
            )
        self.full = full
        return self.add("_backward_hooks", hook, prepend)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "compiled": None}


EVERYWHERE = Hooks()
"""The hooks of all modules."""
ON_REGISTRATION: dict[str, Table] = {kind: OrderedDict() for kind in ("parameter", "buffer", "module")}
"""Called when something of the kind is registered with a module, with the module, the name and the thing."""
NONE = Hooks()


def _table(name: str) -> Any:
    def get(self: "Hooked") -> Table:
        return getattr(self._own_hooks(), name)  # type: ignore[no-any-return]

    def replace(self: "Hooked", hooks: dict[int, Hook]) -> None:
        setattr(self._own_hooks(), name, hooks if isinstance(hooks, OrderedDict) else OrderedDict(hooks))

    return property(get, replace)


class Hooked:
    """The part of Module that keeps its hooks."""

    _hook_table: Hooks | None = None

    _forward_pre_hooks = _table("_forward_pre_hooks")
    _forward_pre_hooks_with_kwargs = _table("_forward_pre_hooks_with_kwargs")
    _forward_hooks = _table("_forward_hooks")
    _forward_hooks_with_kwargs = _table("_forward_hooks_with_kwargs")
    _forward_hooks_always_called = _table("_forward_hooks_always_called")
    _backward_pre_hooks = _table("_backward_pre_hooks")
    _backward_hooks = _table("_backward_hooks")
    _state_dict_pre_hooks = _table("_state_dict_pre_hooks")
    _state_dict_hooks = _table("_state_dict_hooks")
    _load_state_dict_pre_hooks = _table("_load_state_dict_pre_hooks")
    _load_state_dict_post_hooks = _table("_load_state_dict_post_hooks")

    def _own_hooks(self) -> Hooks:
        hooks: Hooks = self.__dict__.get("_hook_table") or self.__dict__.setdefault("_hook_table", Hooks())
        return hooks

    @property
    def _is_full_backward_hook(self) -> bool | None:
        return hooks_of(self).full

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before forward; what it returns, if not None, takes the place of the arguments.

        with_kwargs: `hook(module, args, kwargs)`, which returns None or both. prepend: before the hooks there are.
        The handle's `remove()` takes the hook away, and so does the end of a `with` of the handle.
        """
        return self._own_hooks().add("_forward_pre_hooks", hook, prepend, _forward_pre_hooks_with_kwargs=with_kwargs)

    def register_forward_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after forward; what it returns, if not None, is the output.

        with_kwargs: `hook(module, args, kwargs, output)`. always_call: also when the call raised an error.
        """
        return self._own_hooks().add(
            "_forward_hooks",
            hook,
            prepend,
            _forward_hooks_with_kwargs=with_kwargs,
            _forward_hooks_always_called=always_call,
        )

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` before gradients of the inputs are computed; it may return other ones."""
        return self._own_hooks().add("_backward_pre_hooks", hook, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when gradients of the inputs are there; it may replace them.

        Both are tuples, with None in the place of what is not a tensor. Inputs and outputs of a module with backward
        hooks cannot be changed in place.
        """
        return self._own_hooks().add_backward(hook, True, prepend)

    def register_backward_hook(self, hook: Hook) -> RemovableHandle:
        """torch's older sort of backward hook, which sees the last operation of forward; use the full one."""
        return self._own_hooks().add_backward(hook, False)

    def register_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before the module's state dict is gathered."""
        return self._own_hooks().add("_state_dict_pre_hooks", hook)

    def register_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` afterwards; it edits the state dict in place."""
        return self._own_hooks().add("_state_dict_hooks", hook, in_place=True)

    def _register_state_dict_hook(self, hook: Hook) -> RemovableHandle:
        """The same, and what the hook of a root returns, if not None, is the state dict."""
        hooks = self._own_hooks()
        if any(hooks._state_dict_hooks.get(number) is hook for number in hooks.in_place):
            raise RuntimeError("_register_state_dict_hook: the hook is registered already, as one that returns None")
        return hooks.add("_state_dict_hooks", hook)

    def register_load_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata, strict, missing, unexpected, errors)` before loading.

        The state dict is a copy: the hook can rename and convert what is in it.
        """
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(self, hook: Hook, with_module: bool = False) -> RemovableHandle:
        bound = WithModule(hook, self) if with_module else hook
        return self._own_hooks().add("_load_state_dict_pre_hooks", bound)

    def register_load_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` when the module is loaded; it may edit the lists of keys in place."""
        return self._own_hooks().add("_load_state_dict_post_hooks", hook)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Make every call one of `torch.compile(module, ...)`; arguments are torch.compile's."""
        self._own_hooks().compiled = torch.compile(self._call_impl, *args, **kwargs)  # type: ignore[attr-defined]

    @property
    def _compiled_call_impl(self) -> Hook | None:
        return hooks_of(self).compiled


def hooks_of(module: Hooked) -> Hooks:
    """The module's hooks, to be read."""
    return module._hook_table or NONE


class WithModule:
    """A hook whose first argument is its module, which it does not keep alive."""

    def __init__(self, hook: Hook, module: Hooked) -> None:
        self.hook = hook
        self.module = weakref.ref(module)

    def __call__(self, *args: Any) -> Any:
        module = self.module()
        if module is None:
            raise RuntimeError(f"the module of the hook {self.hook!r} is gone")
        return self.hook(module, *args)

    def __reduce__(self) -> tuple[Any, ...]:
        return WithModule, (self.hook, self.module())


# Hooks of all modules


def _everywhere(handle: RemovableHandle) -> RemovableHandle:
    Hooked._hook_table = NONE
    return handle


def register_module_forward_pre_hook(hook: Hook) -> RemovableHandle:
    """`Module.register_forward_pre_hook` for all modules."""
    return _everywhere(EVERYWHERE.add("_forward_pre_hooks", hook))


def register_module_forward_hook(
    hook: Hook, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """`Module.register_forward_hook` for all modules."""
    flags = {"_forward_hooks_with_kwargs": with_kwargs, "_forward_hooks_always_called": always_call}
    return _everywhere(EVERYWHERE.add("_forward_hooks", hook, **flags))


def register_module_full_backward_pre_hook(hook: Hook) -> RemovableHandle:
    """`Module.register_full_backward_pre_hook` for all modules."""
    return _everywhere(EVERYWHERE.add("_backward_pre_hooks", hook))


def register_module_full_backward_hook(hook: Hook) -> RemovableHandle:
    """`Module.register_full_backward_hook` for all modules."""
    return _everywhere(EVERYWHERE.add_backward(hook, True))


def register_module_backward_hook(hook: Hook) -> RemovableHandle:
    """`Module.register_backward_hook` for all modules."""
    return _everywhere(EVERYWHERE.add_backward(hook, False))


def _register_on_registration(kind: str, hook: Hook) -> RemovableHandle:
    handle = RemovableHandle(ON_REGISTRATION[kind])
    ON_REGISTRATION[kind][handle.id] = hook
    return handle


def register_module_parameter_registration_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(module, name, parameter)` whenever one is registered; it may return another to take its place."""
    return _register_on_registration("parameter", hook)


def register_module_buffer_registration_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(module, name, buffer)` whenever one is registered; it may return another to take its place."""
    return _register_on_registration("buffer", hook)


def register_module_module_registration_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(module, name, child)` whenever one is registered; it may return another to take its place."""
    return _register_on_registration("module", hook)
