"""Loading an optimizer's state dict: everything is checked first, then written in place."""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from tritonnet.errors import StateDictError, TritonnetError

from .storage import Group, State

NewState = Callable[[Tensor, Group], State]


def load(
    optimizer: Optimizer,
    state_dict: dict[str, Any],
    new_state: NewState,
    check: Callable[[Group], None],
    optional: tuple[str, ...] = (),
) -> None:
    """Writes `state_dict` into `optimizer`.

    Args:
        new_state: the state of a parameter that has none; what is loaded looks like it.
        check: raises for hyper-parameters out of range.
        optional: keys of a state that may be there though new_state makes none.

    Raises: StateDictError that lists all that does not fit; nothing is changed then.
    """
    state_dict = state_dict.copy()
    for pre_hook in optimizer._optimizer_load_state_dict_pre_hooks.values():
        state_dict = pre_hook(optimizer, state_dict) or state_dict
    problems = [f"it has no {key!r}" for key in ("state", "param_groups") if key not in state_dict]
    if not problems:
        groups = optimizer.param_groups
        saved_groups, saved_states = deepcopy(state_dict["param_groups"]), state_dict["state"]
        saved_ids, problems = _match(groups, saved_groups)
        merged = [{**group, **saved} for group, saved in zip(groups, saved_groups, strict=False)]
        for at, group in enumerate(merged):
            try:
                check(group)
            except TritonnetError as error:
                problems.append(f"group {at}: {error}")
    if not problems:
        loaded: dict[Tensor, tuple[Group, dict[str, Any]]] = {}
        for group, saved_group in zip(groups, merged, strict=True):
            for at, p in enumerate(group["params"]):
                # torch before 1.13 saved a momentum that had not begun as None.
                saved = {key: v for key, v in saved_states.get(saved_ids[p], {}).items() if v is not None}
                if saved:
                    label = group["param_names"][at] if "param_names" in group else f"parameter {saved_ids[p]}"
                    problems += _misfits(label, new_state(p.to("meta"), saved_group), saved, optional)
                    loaded[p] = saved_group, saved
    if problems:
        name = type(optimizer).__name__
        raise StateDictError("\n  ".join([f"{name}: the state dict does not fit; nothing was loaded", *problems]))

    for group, saved in zip(groups, saved_groups, strict=True):
        _take_group(group, saved)
    for p in [p for p in optimizer.state if p not in loaded]:
        del optimizer.state[p]
    for p, (group, saved) in loaded.items():
        own = optimizer.state[p]
        for key, fresh in new_state(p, group).items():
            own[key] = own.get(key, fresh).copy_(_tensor(saved[key]))
    for post_hook in optimizer._optimizer_load_state_dict_post_hooks.values():
        post_hook(optimizer)


def _match(groups: list[Group], saved_groups: list[Group]) -> tuple[dict[Tensor, Any], list[str]]:
    """The id under which the state of each parameter is saved: by name where both sides have names, else by order."""
    if len(groups) != len(saved_groups):
        return {}, [f"it has {len(saved_groups)} parameter groups, the optimizer has {len(groups)}"]
    if all("param_names" in group for group in (*groups, *saved_groups)):
        own = {name: p for group in groups for name, p in zip(group["param_names"], group["params"], strict=True)}
        saved = {
            name: at for group in saved_groups for name, at in zip(group["param_names"], group["params"], strict=True)
        }
        problems = [f"missing: {name}" for name in own if name not in saved]
        problems += [f"unexpected: {name}" for name in saved if name not in own]
        return {p: saved.get(name) for name, p in own.items()}, problems
    problems = [
        f"group {at} has {len(saved['params'])} parameters, the optimizer's has {len(group['params'])}"
        for at, (group, saved) in enumerate(zip(groups, saved_groups, strict=True))
        if len(group["params"]) != len(saved["params"])
    ]
    return {
        p: at
        for group, saved in zip(groups, saved_groups, strict=True)
        for p, at in zip(group["params"], saved["params"], strict=False)
    }, problems


def _misfits(label: str, wanted: State, saved: Mapping[str, Any], optional: tuple[str, ...]) -> Iterator[str]:
    for key, like in wanted.items():
        if key not in saved:
            yield f"{label}: {key} is missing"
        elif _tensor(saved[key]).numel() != like.numel() or (like.dim() and saved[key].shape != like.shape):
            yield f"{label}: {key} is {tuple(_tensor(saved[key]).shape)}, expected {tuple(like.shape)}"
    for key in saved:
        if key not in wanted and key not in optional:
            yield f"{label}: {key} is unexpected"


def _take_group(group: Group, saved: Group) -> None:
    """The saved hyper-parameters; a learning rate that is a tensor stays that tensor: a graph may have captured it."""
    names = group.get("param_names")
    lr = group["lr"]
    group.update({key: value for key, value in saved.items() if key != "params"})
    if names is not None:
        group["param_names"] = names
    if isinstance(lr, Tensor):
        group["lr"] = lr.fill_(saved["lr"]) if not isinstance(saved["lr"], Tensor) else lr.copy_(saved["lr"])


def _tensor(value: Any) -> Tensor:
    """A saved value, which torch.as_tensor would move to the default device."""
    return value if isinstance(value, Tensor) else torch.tensor(value, device="cpu")
