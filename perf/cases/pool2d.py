"""Pooling: by twos and by overlapping threes, contiguous and channels last; of whole planes and adaptive."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tritonnet import functional as F

from . import Case


def _image(last: bool) -> Callable[[torch.device, torch.dtype], tuple[Tensor, ...]]:
    def make(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        x = torch.randn(16, 64, 56, 56, device=device, dtype=dtype)
        return (x.to(memory_format=torch.channels_last if last else torch.contiguous_format).requires_grad_(),)

    return make


def _case(name: str, last: bool, *args: Any) -> Case:
    ours, torchs = getattr(F, name), getattr(torch.nn.functional, name)
    title = f"{name} {', '.join(map(str, args))}{' channels_last' if last else ''}"
    return Case(title, _image(last), lambda x: ours(x, *args), lambda x: torchs(x, *args))


CASES = [
    _case(name, last, *args)
    for last in (False, True)
    for name, *args in (
        ("max_pool2d", 2),
        ("max_pool2d", 3, 2, 1),
        ("avg_pool2d", 2),
        ("avg_pool2d", 3, 2, 1),
        ("adaptive_max_pool2d", 6),
        ("adaptive_avg_pool2d", 1),
    )
]
