"""Activations of a million elements, and sums and products that broadcast over images and rows."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tritonnet import functional as F

from . import Case

_IMAGES = (16, 64, 32, 32)


def _inputs(*shapes: tuple[int, ...]) -> Callable[[torch.device, torch.dtype], tuple[Tensor, ...]]:
    def make(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        return tuple(torch.randn(shape, device=device, dtype=dtype, requires_grad=True) for shape in shapes)

    return make


def _activation(name: str, **keywords: Any) -> Case:
    functions = (getattr(F, name), getattr(torch.nn.functional, name))
    label = f"{name} {list(_IMAGES)}" + "".join(f" {key}={value}" for key, value in keywords.items())
    return Case(label, _inputs(_IMAGES), *(functools.partial(one, **keywords) for one in functions))


def _binary(name: str, home: Any, *shapes: tuple[int, ...]) -> Case:
    label = f"{name} {' '.join(str(list(shape)) for shape in shapes)}"
    return Case(label, _inputs(*shapes), getattr(F, name), getattr(home, name))


CASES = [
    _activation("relu"),
    _activation("relu6"),
    _activation("leaky_relu", negative_slope=0.1),
    _activation("threshold", threshold=0.1, value=0.0),
    _activation("hardtanh"),
    _activation("hardsigmoid"),
    _activation("hardswish"),
    _activation("hardshrink"),
    _activation("softshrink"),
    _activation("sigmoid"),
    _activation("tanh"),
    _activation("tanhshrink"),
    _activation("softsign"),
    _activation("logsigmoid"),
    _activation("softplus"),
    _activation("elu"),
    _activation("celu", alpha=1.5),
    _activation("selu"),
    _activation("silu"),
    _activation("gelu"),
    _activation("gelu", approximate="tanh"),
    _activation("mish"),
    _binary("prelu", torch.nn.functional, _IMAGES, (1,)),
    _binary("prelu", torch.nn.functional, _IMAGES, (64,)),
    _binary("add", torch, _IMAGES, _IMAGES),
    _binary("add", torch, _IMAGES, (64, 1, 1)),
    _binary("add", torch, (1024, 1024), (1024,)),
    _binary("mul", torch, _IMAGES, _IMAGES),
    _binary("mul", torch, _IMAGES, (64, 1, 1)),
    _binary("mul", torch, (1024, 1024), (1024, 1)),
]
