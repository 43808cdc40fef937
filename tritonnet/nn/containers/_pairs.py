"""What an update may be given: a mapping, or pairs of a name and a value."""

from collections.abc import Iterable, Iterator
from typing import Any


def pairs(name: str, given: Any) -> Iterator[tuple[Any, Any]]:
    """The pairs of an iterable. Raises: TypeError or ValueError, naming the first element that is not one."""
    if not isinstance(given, Iterable):
        raise TypeError(f"{name}: a {type(given).__name__} is neither a mapping nor a collection of pairs")
    for at, pair in enumerate(given):
        if not isinstance(pair, Iterable):
            raise TypeError(f"{name}: element {at} is a {type(pair).__name__}, and a pair is expected")
        items = tuple(pair)
        if len(items) != 2:
            raise ValueError(f"{name}: element {at} has {len(items)} items, and a pair is expected")
        yield items
