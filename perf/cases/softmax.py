"""softmax and log_softmax: many short rows, classes, the channels of images."""

import functools

import torch
from torch import Tensor

from tritonnet import functional as F

from . import Case


def _case(name: str, shape: tuple[int, ...]) -> Case:
    def make(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        return (torch.randn(shape, device=device, dtype=dtype, requires_grad=True),)

    label = f"{name} {list(shape)}"
    return Case(
        label,
        make,
        functools.partial(getattr(F, name), dim=1),
        functools.partial(getattr(torch.nn.functional, name), dim=1),
    )


CASES = [
    _case(name, shape)
    for name in ("softmax", "log_softmax")
    for shape in ((128, 10), (4096, 10), (4096, 1000), (16, 21, 64, 64))
]
