"""The call of a module that finds hooks: its own, and those of all modules, which come first."""

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.hooks import BackwardHook

from .hooks import EVERYWHERE, NONE, Hook, Hooked, Hooks, WithModule, hooks_of

if TYPE_CHECKING:
    from . import Module


def call(module: "Module", args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The call of a module that finds a table of hooks."""
    hooks = hooks_of(module)
    if hooks.compiled is not None:
        return hooks.compiled(*args, **kwargs)
    return run(module, hooks, args, kwargs)


def run(module: "Module", own: Hooks, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not (own.around_call() or EVERYWHERE.around_call()):
        if own is NONE:
            Hooked._hook_table = None
        return module.forward(*args, **kwargs)
    around = _Call(module, own, args, kwargs)
    if torch.compiler.is_compiling():
        return around.run()
    try:
        return around.run()
    except Exception:
        around.after_error()
        raise


class _Call:
    """One call of a module with hooks: those of all modules come before its own."""

    def __init__(self, module: "Module", own: Hooks, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.module = module
        self.own = own
        self.args = args
        self.kwargs = kwargs
        self.result: Any = None
        self.called: set[int] = set()

    def run(self) -> Any:
        own = self.own
        full: tuple[Hook, ...] = ()
        regular: tuple[Hook, ...] = ()
        pre: tuple[Hook, ...] = ()
        if own.around_backward() or EVERYWHERE.around_backward():
            pre = (*EVERYWHERE._backward_pre_hooks.values(), *own._backward_pre_hooks.values())
            full, regular = ((*EVERYWHERE.backward(sort), *own.backward(sort)) for sort in (True, False))
        if own._forward_pre_hooks or EVERYWHERE._forward_pre_hooks:
            self._before()
        around = BackwardHook(self.module, full, pre) if full or pre else None
        if around is not None:
            self.args = around.setup_input_hook(self.args)
        self.result = self.module.forward(*self.args, **self.kwargs)
        for number, hook in self._forward_hooks():
            self._after(number, hook)
        if around is not None:
            if not isinstance(self.result, Tensor | tuple):
                name = type(self.result).__name__
                text = (
                    f"backward hooks are called for outputs that are a tensor or a tuple of tensors, not for a {name}"
                )
                warnings.warn(f"{type(self.module).__name__}: {text}", stacklevel=5)
            self.result = around.setup_output_hook(self.result)
        if regular:
            _hook_last_operation(self.module, regular, self.args, self.result)
        return self.result

    def _before(self) -> None:
        for number, hook in (*EVERYWHERE._forward_pre_hooks.items(), *self.own._forward_pre_hooks.items()):
            if number in self.own._forward_pre_hooks_with_kwargs:
                both = hook(self.module, self.args, self.kwargs)
                if both is not None and not (isinstance(both, tuple) and len(both) == 2):
                    name = type(self.module).__name__
                    raise RuntimeError(f"{name}: a forward pre-hook returns None or (args, kwargs), and not {both!r}")
                self.args, self.kwargs = both or (self.args, self.kwargs)
            else:
                args = hook(self.module, self.args)
                if args is not None:
                    self.args = args if isinstance(args, tuple) else (args,)

    def _forward_hooks(self) -> tuple[tuple[int, Hook], ...]:
        return (*EVERYWHERE._forward_hooks.items(), *self.own._forward_hooks.items())

    def _after(self, number: int, hook: Hook) -> None:
        self.called.add(number)
        if number in self.own._forward_hooks_with_kwargs or number in EVERYWHERE._forward_hooks_with_kwargs:
            result = hook(self.module, self.args, self.kwargs, self.result)
        else:
            result = hook(self.module, self.args, self.result)
        if result is not None:
            self.result = result

    def after_error(self) -> None:
        """Run the hooks that are always called and were not yet."""
        marked = {*EVERYWHERE._forward_hooks_always_called, *self.own._forward_hooks_always_called} - self.called
        for number, hook in self._forward_hooks() if marked else ():
            if number in marked:
                try:
                    self._after(number, hook)
                except Exception as error:
                    text = f"a forward hook raised {error!r} after the call had failed; the call's error is raised"
                    warnings.warn(f"{type(self.module).__name__}: {text}", stacklevel=4)


def _hook_last_operation(module: "Module", hooks: Iterable[Hook], args: tuple[Any, ...], result: Any) -> None:
    """Regular backward hooks see the operation that made the (first) output: warn where that is not all of forward."""
    first = result
    while not isinstance(first, Tensor):
        first = next(v for v in first.values() if isinstance(v, Tensor)) if isinstance(first, dict) else first[0]
    last = first.grad_fn
    if last is None:
        return
    for hook in hooks:
        last.register_hook(WithModule(hook, module))
    outputs = result if isinstance(result, tuple) else (result,)
    whole = all(isinstance(tensor, Tensor) for tensor in (*outputs, *args))
    whole = whole and {output.grad_fn for output in outputs} - {None} == {last}
    whole = whole and {tensor.grad_fn for tensor in args} - {None} == {above for above, _ in last.next_functions}
    if not whole:
        text = "a regular backward hook sees the gradients of forward's last operation; use register_full_backward_hook"
        warnings.warn(f"{type(module).__name__}: {text}", FutureWarning, stacklevel=5)
