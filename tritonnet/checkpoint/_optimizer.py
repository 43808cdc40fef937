"""Optimizer state by parameter name: torch keeps it by position, which another order of layers would mix up."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..errors import CheckpointError
from ..module import Module
from ._values import decode, encode


def to_document(optimizer: Optimizer, module: Module, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The optimizer's state dict, with names in place of positions; its tensors are added as optimizer/<name>/..."""
    names = _names(optimizer, module)
    state_dict = optimizer.state_dict()
    flat = [name for group in names for name in group]
    state = {str(flat[key]) if isinstance(key, int) else key: value for key, value in state_dict.pop("state").items()}
    groups = [
        {**group, "params": group_names}
        for group, group_names in zip(state_dict.pop("param_groups"), names, strict=True)
    ]
    return {
        "class": type(optimizer).__name__,
        "state": {name: encode(value, f"optimizer/{name}", tensors) for name, value in state.items()},
        "groups": encode(groups, "optimizer/groups", tensors),
        "more": encode(dict(state_dict), "optimizer", tensors),
    }


def to_state_dict(
    document: dict[str, Any], tensors: dict[str, Tensor], optimizer: Optimizer, module: Module, path: str
) -> dict[str, Any]:
    """The state dict that `optimizer.load_state_dict` takes. Raises: CheckpointError where the two do not fit."""
    if document["class"] != type(optimizer).__name__:
        raise CheckpointError(f"{path}: holds the state of {document['class']}, not of {type(optimizer).__name__}")
    names = _names(optimizer, module)
    groups = decode(document["groups"], tensors)
    if len(groups) != len(names):
        raise CheckpointError(f"{path}: the optimizer has {len(names)} parameter groups, the file {len(groups)}")
    position = {name: index for index, name in enumerate(name for group in names for name in group)}
    for index, (group, here) in enumerate(zip(groups, names, strict=True)):
        if missing := sorted(set(here) ^ set(group["params"])):
            raise CheckpointError(
                f"{path}: parameter group {index} is not the optimizer's; only one of the two has {', '.join(missing)}"
            )
        group["params"] = [position[name] for name in here]
        if "param_names" in group:
            group["param_names"] = list(here)
    state = {position.get(name, name): decode(value, tensors) for name, value in document["state"].items()}
    return {"state": state, "param_groups": groups, **decode(document["more"], tensors)}


def load(optimizer: Optimizer, state_dict: dict[str, Any], weights: Mapping[str, Any], module: Module) -> None:
    """optimizer.load_state_dict, to the bit: torch's own casts floating-point state to the dtype of the parameter.

    Left at that where the parameter was saved in another dtype than it has.
    """
    optimizer.load_state_dict(state_dict)
    if type(optimizer).load_state_dict is not Optimizer.load_state_dict:
        return
    params = [param for group in optimizer.param_groups for param in group["params"]]
    names = [name for group in _names(optimizer, module) for name in group]
    dtypes = {key: value.dtype for key, value in weights.items() if isinstance(value, Tensor)}
    for index, (param, name) in enumerate(zip(params, names, strict=True)):
        for key, saved in state_dict["state"].get(index, {}).items():
            loaded = optimizer.state[param][key]
            if isinstance(saved, Tensor) and loaded.dtype != saved.dtype and dtypes.get(name) == param.dtype:
                optimizer.state[param][key] = saved.to(loaded.device)


def remember(optimizer: Optimizer) -> Callable[[], object]:
    """What makes the optimizer what it is now: the same tensors with the same values, the same groups."""
    state, groups = optimizer.state, optimizer.param_groups
    entries = {param: (entry, dict(entry)) for param, entry in state.items()}
    options = [dict(group) for group in groups]
    holders = [*(entry for _, entry in entries.values()), *options]
    values = [(value, value.clone()) for holder in holders for value in holder.values() if isinstance(value, Tensor)]

    @torch.no_grad()
    def take_back() -> None:
        for value, before in values:
            value.copy_(before)
        state.clear()
        for param, (entry, before) in entries.items():
            entry.clear()
            entry.update(before)
            state[param] = entry
        for group, before in zip(groups, options, strict=True):
            group.clear()
            group.update(before)
        optimizer.state, optimizer.param_groups = state, groups

    return take_back


def by_name(document: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The saved state as plain values, by parameter name."""
    return {key: decode(value, tensors) for key, value in document.items()}


def _names(optimizer: Optimizer, module: Module) -> list[list[str]]:
    """Names of each group's parameters. Raises: CheckpointError for a parameter that the module does not have."""
    name_of = {id(param): name for name, param in module.named_parameters()}
    names = []
    for index, group in enumerate(optimizer.param_groups):
        for position, param in enumerate(group["params"]):
            if id(param) not in name_of:
                raise CheckpointError(
                    f"{type(optimizer).__name__}: parameter {position} of group {index}, {tuple(param.shape)}, is "
                    f"not one of {type(module).__name__}'s; its state has no name in a checkpoint"
                )
        names.append([name_of[id(param)] for param in group["params"]])
    return names
