"""Sequential, ModuleList and ModuleDict: modules held in order, by number or by name."""

import operator
from collections import OrderedDict
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from itertools import chain
from typing import Any, Self

from ...errors import ModuleError
from ...module import Module, indented
from ._pairs import pairs


class _Indexed(Module):
    """What the two share: list-like access to child modules named "0", "1", ..."""

    def __len__(self) -> int:
        return len(self._registered["module"])

    def __iter__(self) -> Iterator[Any]:
        values = self.__dict__
        return iter([values[name] for name in self._registered["module"]])

    def _name(self, index: int) -> str:
        names = list(self._registered["module"])
        position = operator.index(index)
        if not -len(names) <= position < len(names):
            raise IndexError(f"{type(self).__name__}: index {index} is out of range; it holds {len(names)} modules")
        return names[position]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name(index), module)

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self)
        if not isinstance(index, slice):
            self._name(index)
        del modules[index]
        self._renumber(modules)

    def _renumber(self, modules: Iterable[Module]) -> None:
        self._modules = {str(position): module for position, module in enumerate(modules)}

    def pop(self, index: int | slice) -> Any:
        """Remove and return the module (or the slice) at index."""
        removed = self[index]  # type: ignore[index]
        del self[index]
        return removed

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end."""
        if not isinstance(modules, Iterable):
            raise TypeError(f"{type(self).__name__}.extend: a {type(modules).__name__} is not a collection of modules")
        for module in list(modules):
            self.append(module)
        return self

    def _insert(self, index: int, module: Module) -> None:
        if not isinstance(module, Module):
            raise ModuleError(f"{type(self).__name__}.insert: a {type(module).__name__} is not a Module")
        modules = list(self)
        modules.insert(index, module)
        self._renumber(modules)


class Sequential(_Indexed):
    """Modules called one after the other: `Sequential(a, b)(x)` is b(a(x)).

    Takes modules, or one OrderedDict of modules whose keys become their names.
    Indexing gives a module, slicing a Sequential of the same modules under the same names.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], OrderedDict):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            self.extend(args)

    def forward(self, input: Any) -> Any:
        values = self.__dict__
        for name in self._registered["module"]:
            input = values[name](input)
        return input

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(OrderedDict(list(self._modules.items())[index]))
        return self.__dict__[self._name(index)]

    def insert(self, index: int, module: Module) -> Self:
        """Put a module before position index; later ones move up. Raises: IndexError beyond the ends."""
        if not -len(self) <= index <= len(self):
            raise IndexError(f"Sequential.insert: index {index} is out of range; it holds {len(self)} modules")
        self._insert(index, module)
        return self

    def __add__(self, other: "Sequential") -> "Sequential":
        return Sequential(*self, *self._other(other))

    def __iadd__(self, other: "Sequential") -> Self:
        return self.extend(self._other(other))

    def __mul__(self, times: int) -> "Sequential":
        return Sequential(*list(self) * self._times(times))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Self:
        return self.extend(list(self) * (self._times(times) - 1))

    def _other(self, other: object) -> "Sequential":
        if not isinstance(other, Sequential):
            raise ValueError(f"Sequential: only a Sequential can be added to one, and this is a {type(other).__name__}")
        return other

    def _times(self, times: object) -> int:
        if not isinstance(times, int):
            raise TypeError(f"Sequential: can be repeated an int number of times, not a {type(times).__name__}")
        if times <= 0:
            raise ValueError(f"Sequential: cannot be repeated {times} times")
        return times


class ModuleList(_Indexed):
    """A list of modules, each registered; it has no forward of its own.

    Takes a collection of modules. Indexing gives a module, slicing a ModuleList.
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return self.__dict__[self._name(index)]

    def insert(self, index: int, module: Module) -> None:
        """Put a module before position index; later ones move up."""
        self._insert(index, module)

    def __add__(self, other: Iterable[Module]) -> "ModuleList":
        return ModuleList(chain(self, other))

    def __iadd__(self, other: Iterable[Module]) -> Self:
        return self.extend(other)

    def __repr__(self) -> str:
        runs: list[tuple[int, int, str]] = []
        for position, text in enumerate(map(repr, self)):
            if runs and runs[-1][2] == text:
                runs[-1] = (runs[-1][0], position, text)
            else:
                runs.append((position, position, text))
        lines = [
            indented(f"({first}): {text}" if first == last else f"({first}-{last}): {last - first + 1} x {text}")
            for first, last, text in runs
        ]
        return f"{self._get_name()}(" + ("\n  " + "\n  ".join(lines) + "\n" if lines else "") + ")"


class ModuleDict(Module):
    """A dict of modules, each registered under its key; it has no forward of its own.

    Takes a mapping or pairs, and keeps their order.
    """

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __len__(self) -> int:
        return len(self._registered["module"])

    def __iter__(self) -> Iterator[str]:
        return iter(self._registered["module"])

    def __contains__(self, key: object) -> bool:
        return key in self._registered["module"]

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module | None) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def keys(self) -> KeysView[str]:
        return self._registered["module"].keys()

    def values(self) -> ValuesView[Any]:
        return self._modules.copy().values()  # type: ignore[no-any-return]

    def items(self) -> ItemsView[str, Any]:
        return self._modules.copy().items()  # type: ignore[no-any-return]

    def pop(self, key: str) -> Any:
        """Remove the module under key and return it."""
        removed = self[key]
        del self[key]
        return removed

    def clear(self) -> None:
        """Remove every module."""
        self._modules = {}

    def update(self, modules: Any) -> None:
        """Enter the modules of a mapping or of pairs; existing keys take the new module and keep their place."""
        if isinstance(modules, Mapping | ModuleDict):
            modules = list(modules.items())
        for key, module in pairs(f"{type(self).__name__}.update", modules):
            self[key] = module
