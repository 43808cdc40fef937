"""Objects of a run that have a state of their own: schedulers, scalers, samplers, random generators."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from ..errors import CheckpointError
from . import _rng


def states(value: Any) -> Any:
    """The value with the state of each such object in its place, also within dicts, lists and tuples."""
    if _rng.is_generator(value):
        return _rng.get(value)
    if _has_state(value):
        return value.state_dict()
    if type(value) is dict:
        return {key: states(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(states(item) for item in value)
    return value


def check(name: str, target: Any) -> None:
    """Raises: TypeError for what `restore` cannot put a state into."""
    if isinstance(target, dict):
        for key, item in target.items():
            check(f"{name}[{key!r}]", item)
    elif isinstance(target, list | tuple):
        for index, item in enumerate(target):
            check(f"{name}[{index}]", item)
    elif not (_rng.is_generator(target) or _has_state(target)):
        raise TypeError(
            f"load: {name} is a {type(target).__name__}, and has no state to restore; what was saved under a name is "
            "returned, and what is given here are objects with load_state_dict() and random generators"
        )


def restore(path: str, name: str, target: Any, state: Any, undo: list[Callable[[], object]]) -> None:
    """Put the state into the target; what takes it back is added to `undo` before.

    Raises: CheckpointError where they do not fit.
    """
    if isinstance(target, dict | list | tuple):
        kind = dict if isinstance(target, dict) else list | tuple
        keys = target.keys() if isinstance(target, dict) else range(len(target))
        if not isinstance(state, kind) or (set(state) if isinstance(state, dict) else range(len(state))) != keys:
            raise CheckpointError(f"{path}: {name} was saved as something of other keys or another length")
        for key in keys:
            restore(path, f"{name}[{key!r}]", target[key], state[key], undo)
        return
    put = (lambda value: _rng.put(target, value)) if _rng.is_generator(target) else target.load_state_dict
    before = deepcopy(states(target))
    undo.append(lambda: put(before))
    try:
        put(state)
    except Exception as error:
        what = type(target).__name__
        raise CheckpointError(f"{path}: {name} does not fit this {what} ({type(error).__name__}: {error})") from error


def _has_state(value: Any) -> bool:
    return not isinstance(value, type) and hasattr(value, "state_dict") and hasattr(value, "load_state_dict")
