"""Python values as JSON and back, with their types; tensors within them go to the file's tensors."""

import base64
from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError, dtype_name

_MAPPINGS: dict[str, type[dict[Any, Any]]] = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}


def encode(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """The value as JSON; its tensors are added to `tensors` under names that begin with `path`.

    Takes None, bool, int, float, str, bytes, torch.dtype, tensors, and lists, tuples and dicts of them.
    Raises: CheckpointError that names where another object stands.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Tensor):
        name = path
        while name in tensors:
            name += "'"
        tensors[name] = value
        return {"@tensor": name}
    if isinstance(value, bytes):
        return {"@bytes": base64.b64encode(value).decode()}
    if isinstance(value, torch.dtype):
        return {"@dtype": dtype_name(value)}
    if type(value) in (list, tuple):
        items = [encode(item, f"{path}/{index}", tensors) for index, item in enumerate(value)]
        return items if type(value) is list else {"@tuple": items}
    if type(value) is dict and all(type(key) is str and not key.startswith("@") for key in value):
        return {key: encode(item, f"{path}/{key}", tensors) for key, item in value.items()}
    if type(value).__name__ in _MAPPINGS and isinstance(value, dict):
        pairs = [
            [encode(key, f"{path}/key", tensors), encode(item, f"{path}/{key}", tensors)] for key, item in value.items()
        ]
        return {f"@{type(value).__name__}": pairs}
    raise CheckpointError(
        f"save: {path} is a {type(value).__name__}; a checkpoint holds numbers, strings, tensors, and lists, tuples "
        "and dicts of them (of an object with a state_dict(), save that)"
    )


def decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The value that was encoded. Raises: KeyError for a tensor that is not there."""
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (tag, content), *_ = value.items()
        if tag == "@tensor":
            return tensors[content]
        if tag == "@bytes":
            return base64.b64decode(content)
        if tag == "@dtype":
            return getattr(torch, content)
        if tag == "@tuple":
            return tuple(decode(item, tensors) for item in content)
        if tag.startswith("@"):
            return _MAPPINGS[tag[1:]]({decode(key, tensors): decode(item, tensors) for key, item in content})
    return {key: decode(item, tensors) for key, item in value.items()}
