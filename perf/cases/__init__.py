"""What is timed against torch, one file a family: `CASES`, a list of `Case`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """One function at one size, forward and backward, beside torch's own.

    make: device and dtype to the arguments; those that require a gradient get one. Both functions take all of them.
    """

    name: str
    make: Callable[[torch.device, torch.dtype], tuple[Tensor, ...]]
    ours: Callable[..., Any]
    torchs: Callable[..., Any]
