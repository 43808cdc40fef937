"""strict(): what tritonnet only warns of becomes an error."""

import warnings
from types import TracebackType
from typing import Self

_on = False


class strict:
    """Make errors of the warnings about parameters and modules that are not registered, and about lossy loads.

    Args:
        mode: on, or with False off again.

    Holds for the whole process from the call on, or for a block: `with tritonnet.strict(): ...`.
    """

    def __init__(self, mode: bool = True) -> None:
        global _on
        self._before, _on = _on, mode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        global _on
        _on = self._before


def is_strict() -> bool:
    return _on


def complain(text: str, error: type[Exception], stacklevel: int) -> None:
    """Raise the error under `strict()`, and warn otherwise; the level is the one of the caller's own warning."""
    if _on:
        raise error(text)
    warnings.warn(text, stacklevel=stacklevel + 1)
