"""What scripts import from torch.nn.modules.module: hooks of all modules, and a few names of its own."""

from typing import Any

from ...module import Module
from ...module._load import EXTRA_STATE, _IncompatibleKeys
from ...module.hooks import (
    EVERYWHERE,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

__all__ = [
    "Module",
    "_IncompatibleKeys",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

_EXTRA_STATE_KEY_SUFFIX = EXTRA_STATE
_global_forward_pre_hooks = EVERYWHERE._forward_pre_hooks
_global_forward_hooks = EVERYWHERE._forward_hooks
_global_backward_pre_hooks = EVERYWHERE._backward_pre_hooks
_global_backward_hooks = EVERYWHERE._backward_hooks


def _addindent(s_: str, numSpaces: int) -> str:
    """The text with every line but the first moved right."""
    first, *rest = s_.split("\n")
    return "\n".join([first, *(" " * numSpaces + line if line.strip() else "" for line in rest)])


def __getattr__(name: str) -> Any:
    from . import _layer

    return _layer(__name__, name)
