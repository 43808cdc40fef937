"""What holds of hooks beyond what torch's do: they cost nothing unused, and leave nothing behind."""

import gc
import weakref
from typing import Any

import pytest
import torch

from tritonnet import nn
from tritonnet.module.hooks import EVERYWHERE
from tritonnet.nn.modules import module as everywhere


def nothing(*given: Any) -> None:
    pass


def test_a_module_without_hooks_has_no_table() -> None:
    module = nn.Sequential(nn.Identity())
    module(1)
    module.load_state_dict(module.state_dict())
    assert all(part._hook_table is None and "_hook_table" not in vars(part) for part in module.modules())


def test_a_hook_of_all_modules_leaves_no_trace() -> None:
    module = nn.Identity()
    handle = everywhere.register_module_forward_hook(nothing)
    assert nn.Module._hook_table is not None
    module(1)
    handle.remove()
    module(1)
    assert nn.Module._hook_table is None and "_hook_table" not in vars(module)


def test_a_module_sees_hooks_of_all_beside_its_own() -> None:
    module, seen = nn.Identity(), []  # type: ignore[var-annotated]
    with module.register_forward_hook(lambda *given: seen.append("own")):
        with everywhere.register_module_forward_hook(lambda *given: seen.append("all")):
            module(1)
        module(1)
    module(1)
    assert seen == ["all", "own", "own"]


def test_a_module_with_a_load_hook_is_freed_with_its_last_reference() -> None:
    module = nn.Identity()
    module.register_load_state_dict_pre_hook(nothing)
    (hook,) = module._load_state_dict_pre_hooks.values()
    gone = weakref.ref(module)
    gc.disable()
    try:
        del module
        assert gone() is None
    finally:
        gc.enable()
    with pytest.raises(RuntimeError, match="the module of the hook .*nothing.* is gone"):
        hook({})


def test_errors_name_the_class() -> None:
    module = nn.Identity()
    handle = module.register_forward_pre_hook(lambda *given: 3, with_kwargs=True)
    with (
        handle,
        pytest.raises(RuntimeError, match="Identity: a forward pre-hook returns None or .args, kwargs., and not"),
    ):
        module(1)
    handle = module.register_state_dict_post_hook(lambda *given: 3)
    with handle, pytest.raises(RuntimeError, match="Identity.state_dict: a post-hook edits in place"):
        module.state_dict()
    module.register_full_backward_hook(nothing)
    with pytest.raises(RuntimeError, match="use"):
        module.register_backward_hook(nothing)


def test_warnings_name_the_class() -> None:
    class Net(nn.Module):
        def forward(self, x: Any) -> Any:
            if isinstance(x, str):
                raise ValueError("of the call")
            return {"y": x * 2 + 1}

    def failing(*given: Any) -> None:
        raise KeyError("of the hook")

    x = torch.ones(1, requires_grad=True)
    net = Net()
    with (
        net.register_full_backward_hook(nothing),
        pytest.warns(UserWarning, match="Net: backward hooks .*not for a dict"),
    ):
        net(x)
    handle = net.register_forward_hook(failing, always_call=True)
    with handle, pytest.warns(UserWarning, match="Net: a forward hook raised KeyError"), pytest.raises(ValueError):
        net("text")
    other = Net()
    other.register_backward_hook(nothing)
    with pytest.warns(FutureWarning, match="Net: a regular backward hook sees .*use register_full_backward_hook"):
        other(x)


def test_legacy_arguments_of_state_dict_are_named() -> None:
    with pytest.warns(FutureWarning, match="Linear.state_dict: pass destination, prefix and keep_vars as keywords"):
        assert list(nn.Linear(1, 1).state_dict({}, "p.")) == ["p.weight", "p.bias"]


def test_hooks_of_all_modules_are_found_where_scripts_look() -> None:
    assert everywhere._global_forward_hooks is EVERYWHERE._forward_hooks
    assert everywhere.Module is nn.Module and everywhere.Linear is nn.Linear
    assert everywhere._addindent("a\nb\n\nc", 2) == "a\n  b\n\n  c"
    assert isinstance(nn.Identity().load_state_dict({}), everywhere._IncompatibleKeys)
