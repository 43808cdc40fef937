"""Pooling, contiguous and channels last: short windows, long ones, adaptive ones and whole planes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tritonnet import functional as F

from . import Case

_IMAGES = (16, 64, 56, 56)


def _images(shape: tuple[int, ...], last: bool) -> Callable[[torch.device, torch.dtype], tuple[Tensor, ...]]:
    def make(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        x = torch.randn(shape, device=device, dtype=dtype)
        return (x.to(memory_format=torch.channels_last if last else torch.contiguous_format).requires_grad_(),)

    return make


def _case(name: str, last: bool, *args: Any, shape: tuple[int, ...] = _IMAGES) -> Case:
    ours, torchs = getattr(F, name), getattr(torch.nn.functional, name)
    title = f"{name} {', '.join(map(str, args))}{' channels_last' if last else ''}"
    if shape != _IMAGES:
        title += f" {list(shape)}"
    return Case(title, _images(shape, last), lambda x: ours(x, *args), lambda x: torchs(x, *args))


CASES = [
    case
    for last in (False, True)
    for case in (
        _case("max_pool2d", last, 2),
        _case("max_pool2d", last, 3, 2, 1),
        _case("max_pool2d", last, 9, 3, 4),
        _case("avg_pool2d", last, 2),
        _case("avg_pool2d", last, 3, 2, 1),
        _case("avg_pool2d", last, 8),
        _case("adaptive_max_pool2d", last, 6),
        _case("adaptive_max_pool2d", last, 1),
        _case("adaptive_avg_pool2d", last, 6),
        _case("adaptive_avg_pool2d", last, 1),
        _case("adaptive_avg_pool2d", last, 1, shape=(32, 512, 7, 7)),
    )
]
