"""A behaviour shown with torch.nn and with tritonnet.nn: equal results, or the same kind of error."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import torch

from tritonnet import nn

Behaviour = Callable[[ModuleType], Any]
"""Does something with torch.nn or tritonnet.nn, and returns what is to be the same with both."""


Around = Callable[[], AbstractContextManager[object]]
"""What is entered for each of the two."""


def outcome(behave: Behaviour, space: ModuleType, around: Around = nullcontext) -> tuple[Any, BaseException | None]:
    """The result, or the error."""
    try:
        with around():
            return behave(space), None
    except Exception as error:
        return None, error


def assert_behaves_as_torch(behave: Behaviour, around: Around = nullcontext) -> None:
    expected, their_error = outcome(behave, torch.nn, around)
    result, our_error = outcome(behave, nn, around)
    if their_error is None:
        assert our_error is None, repr(our_error)
        assert result == expected
    else:
        assert isinstance(our_error, type(their_error)), f"torch: {their_error!r}, tritonnet: {our_error!r}"
