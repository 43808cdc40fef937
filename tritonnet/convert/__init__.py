"""torch.nn models as tritonnet models, and state dicts between the two."""

from collections.abc import Mapping
from typing import Any

from ..module import Module
from ..module import strict as nothing_is_lost
from ..module._load import _IncompatibleKeys
from ._model import from_torch

__all__ = ["from_torch", "from_torch_state_dict", "to_torch_state_dict"]


def to_torch_state_dict(module: Module) -> dict[str, Any]:
    """The state dict with which torch.nn's module of the same architecture goes on: plain tensors under torch's keys.

    The tensors are the module's own memory, as in `state_dict`; `torch.save` of it makes a file that needs no
    tritonnet.

    Raises: TypeError if module is not tritonnet's.
    """
    if not isinstance(module, Module):
        raise TypeError(f"to_torch_state_dict: a {type(module).__name__} is not a tritonnet Module")
    return module.state_dict()


def from_torch_state_dict(module: Module, state_dict: Mapping[str, Any], strict: bool = True) -> _IncompatibleKeys:
    """Load the state dict of torch.nn's module of the same architecture, bit for bit.

    `load_state_dict`, but values that would be rounded to a narrower dtype, or lost to a tie, are an error.

    Returns: the missing and the unexpected keys (there are none if strict), as a pair of lists.
    Raises: TypeError if module is not tritonnet's; StateDictError with one table of all that does not fit.
    """
    if not isinstance(module, Module):
        raise TypeError(f"from_torch_state_dict: a {type(module).__name__} is not a tritonnet Module")
    with nothing_is_lost():
        return module.load_state_dict(state_dict, strict)
