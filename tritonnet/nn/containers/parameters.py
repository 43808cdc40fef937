"""ParameterList and ParameterDict: parameters held in order, by number or by name.

Tensors become Parameters as they enter; other values are kept as they are, and are not part of the state dict.
"""

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, KeysView, Mapping
from typing import Any, Self

import torch
from torch import Tensor

from ...module import Module
from ...parameter import Parameter
from ._pairs import pairs


def _as_parameter(value: Any) -> Any:
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


def _line(key: object, value: Any, dtype: str) -> str:
    """An entry as the container's repr has it."""
    if not isinstance(value, Tensor):
        return f"  ({key}): Object of type: {type(value).__name__}"
    size = "x".join(map(str, value.shape))
    device = f" ({value.device})" if value.is_cuda else ""
    kind = "Parameter" if isinstance(value, Parameter) else "Tensor"
    return f"  ({key}): {kind} containing: [{dtype} of size {size}{device}]"


class ParameterList(Module):
    """A list of parameters, each registered under its number; it is not called.

    Takes a collection of values. Indexing gives a value, slicing a ParameterList.
    """

    _size: int

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return (self[at] for at in range(len(self)))

    def _name(self, index: int) -> str:
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"{type(self).__name__}: index {index} is out of range; it holds {len(self)} values")
        return str(position % len(self))

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(self[at] for at in range(*index.indices(len(self))))
        return getattr(self, self._name(index))

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, self._name(index), _as_parameter(value))

    def append(self, value: Any) -> Self:
        """Add a value at the end."""
        setattr(self, str(self._size), _as_parameter(value))
        self._size += 1
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add values at the end. Raises: TypeError for what is no collection, and for a tensor, which is one value."""
        if not isinstance(values, Iterable) or isinstance(values, Tensor):
            raise TypeError(f"{type(self).__name__}.extend: a {type(values).__name__} is not a collection of values")
        for value in list(values):
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def extra_repr(self) -> str:
        return "\n".join(_line(at, value, str(getattr(value, "dtype", ""))) for at, value in enumerate(self))


class ParameterDict(Module):
    """A dict of parameters, each registered under its key, a string; it is not called.

    Takes a mapping or pairs. Order is that of insertion; a plain mapping enters sorted by key, as in torch.
    """

    _keys: dict[str, None]

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys = {}
        if parameters is not None:
            self.update(parameters)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def _name(self, key: str) -> str:
        if not isinstance(key, str):
            raise TypeError(f"{type(self).__name__}: a key is a string, and {key!r} is not")
        return key

    def __getitem__(self, key: str) -> Any:
        return getattr(self, self._name(key))

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self, self._name(key), _as_parameter(value))
        self._keys[key] = None

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, key)

    def keys(self) -> KeysView[str]:
        return self._keys.keys()

    def values(self) -> Iterator[Any]:
        return (self[key] for key in self._keys)

    def items(self) -> Iterator[tuple[str, Any]]:
        return ((key, self[key]) for key in self._keys)

    def get(self, key: str, default: Any = None) -> Any:
        """The value under key, or the default."""
        return getattr(self, key) if key in self._keys else default

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value under key, after putting the default there if it is missing."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str) -> Any:
        """Remove the value under key and return it."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove the key that came last and return it with its value. Raises: KeyError if there is none."""
        if not self._keys:
            raise KeyError(f"{type(self).__name__}.popitem: it is empty")
        key = next(reversed(self._keys))
        return key, self.pop(key)

    def clear(self) -> None:
        """Remove everything."""
        for key in list(self._keys):
            del self[key]

    def update(self, parameters: Any) -> None:
        """Enter the values of a mapping or of pairs; existing keys take the new value and keep their place."""
        if isinstance(parameters, Mapping) and not isinstance(parameters, OrderedDict):
            parameters = sorted(parameters.items())
        elif isinstance(parameters, OrderedDict | ParameterDict):
            parameters = list(parameters.items())
        for key, value in pairs(f"{type(self).__name__}.update", parameters):
            self[key] = value

    def copy(self) -> "ParameterDict":
        """A new ParameterDict of the same values."""
        return ParameterDict(OrderedDict(self.items()))

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> "ParameterDict":
        """A new ParameterDict that holds the default under each of the keys."""
        return ParameterDict((key, default) for key in keys)

    def __or__(self, other: Any) -> "ParameterDict":
        joined = self.copy()
        joined.update(other)
        return joined

    def __ror__(self, other: Any) -> Any:
        joined = other.copy()
        joined.update(self)
        return joined

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_keys": dict(self._keys)}

    def extra_repr(self) -> str:
        return "\n".join(_line(key, value, torch.typename(value)) for key, value in self.items())
