"""Calls of every operation, one file a stem: what the tests that hold for all kernels walk.

Each file holds `EXAMPLES = {"op": [factory, ...]}`. `factory(dtype, n)` returns the positional arguments of a call on
the CPU, drawn from torch's seeded generator: with n = 1 a small one, with n = 8 one whose launches have several
programs. Together the factories of an operation launch every kernel that it has.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import torch

Factory = Callable[[torch.dtype, int], tuple[Any, ...]]

EXAMPLES: dict[str, list[Factory]] = {}
for _module in pkgutil.iter_modules(__path__):
    EXAMPLES |= importlib.import_module(f"{__name__}.{_module.name}").EXAMPLES
