"""Python values as JSON and back, with their types; tensors and arrays within them go to the file's tensors."""

import base64
from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError, dtype_name

_MAPPINGS: dict[str, type[dict[Any, Any]]] = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}


def encode(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """The value as JSON; its tensors are added to `tensors` under names that begin with `path`.

    Takes None, bool, int, float, str, bytes, torch.dtype, tensors, numpy's numbers and arrays, and lists, tuples and
    dicts of them. Raises: CheckpointError that names where another object stands.
    """
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind not in "OV":
        raw = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        data = raw.tobytes() if isinstance(value, np.generic) else torch.from_numpy(raw.copy())
        return {"@numpy": [value.dtype.str, list(value.shape), encode(data, path, tensors)]}
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
        f"save: {path} is a {type(value).__name__}; a checkpoint holds numbers, strings, tensors, arrays, lists, "
        "tuples and dicts of them, random generators, and objects with state_dict() and load_state_dict()"
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
        if tag == "@numpy":
            dtype, shape, data = content[0], content[1], decode(content[2], tensors)
            if isinstance(data, bytes):
                return np.frombuffer(data, dtype)[0]
            return np.array(data.numpy().view(dtype).reshape(shape))
        if tag == "@bytes":
            return base64.b64decode(content)
        if tag == "@dtype":
            return getattr(torch, content)
        if tag == "@tuple":
            return tuple(decode(item, tensors) for item in content)
        if tag.startswith("@"):
            return _MAPPINGS[tag[1:]]({decode(key, tensors): decode(item, tensors) for key, item in content})
    return {key: decode(item, tensors) for key, item in value.items()}
