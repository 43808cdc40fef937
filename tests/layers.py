"""A layer and an input of every class of tritonnet.nn, for tests that walk all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tritonnet import nn


def images() -> tuple[Tensor, ...]:
    return (torch.randn(2, 4, 8, 6),)


def rows() -> tuple[Tensor, ...]:
    return (torch.randn(2, 4, 8),)


def volumes() -> tuple[Tensor, ...]:
    return (torch.randn(2, 4, 4, 4, 4),)


def classes() -> tuple[Tensor, ...]:
    return torch.randn(5, 4).log_softmax(1), torch.randint(4, (5,))


def pairs() -> tuple[Tensor, ...]:
    return torch.rand(5, 4), torch.rand(5, 4)


@dataclass(frozen=True)
class Layer:
    """How the layer of a name is made from torch.nn or tritonnet.nn, and what it is called with (None: it is not)."""

    args: tuple[Any, ...] = ()
    inputs: Callable[[], tuple[Any, ...]] | None = images
    kwargs: tuple[tuple[str, Any], ...] = ()

    def made(self, space: Any, name: str, **more: Any) -> Any:
        args = self.args(space, **more) if callable(self.args) else self.args
        takes = {} if callable(self.args) else more
        return getattr(space, name)(*args, **dict(self.kwargs), **takes)


def _padding(name: str) -> Layer:
    inputs = {"1": rows, "2": images, "3": volumes}[name[-2]]
    return Layer((1, 0.5) if name.startswith("Constant") else (1,), inputs)


LAYERS: dict[str, Layer] = {
    "AdaptiveAvgPool1d": Layer((3,), rows),
    "AdaptiveAvgPool2d": Layer(((3, None),)),
    "AdaptiveMaxPool1d": Layer((3,), rows),
    "AdaptiveMaxPool2d": Layer((3,)),
    "AvgPool1d": Layer((2,), rows),
    "AvgPool2d": Layer((3,), kwargs=(("stride", 2), ("count_include_pad", False))),
    "BCELoss": Layer(inputs=pairs),
    "BCEWithLogitsLoss": Layer(inputs=pairs),
    "ChannelShuffle": Layer((2,)),
    "Conv2d": Layer((4, 6, 3), kwargs=(("padding", 1), ("stride", 2), ("groups", 2), ("padding_mode", "reflect"))),
    "CrossEntropyLoss": Layer(inputs=classes, kwargs=(("label_smoothing", 0.1),)),
    "Dropout": Layer((0.3,)),
    "Dropout1d": Layer((0.3,), rows),
    "Dropout3d": Layer((0.3,), volumes),
    "HuberLoss": Layer(inputs=pairs),
    "KLDivLoss": Layer(inputs=pairs, kwargs=(("reduction", "batchmean"),)),
    "L1Loss": Layer(inputs=pairs),
    "LazyConv2d": Layer((6, 3), kwargs=(("padding", 1), ("groups", 2))),
    "LazyLinear": Layer((5,)),
    "Linear": Layer((6, 5)),
    "LogSoftmax": Layer((1,)),
    "MSELoss": Layer(inputs=pairs),
    "MaxPool1d": Layer((2,), rows),
    "MaxPool2d": Layer((2,), kwargs=(("return_indices", True),)),
    "ModuleDict": Layer(lambda space, **more: ({"a": space.Linear(2, 3, **more)},), None),
    "ModuleList": Layer(lambda space, **more: ([space.Linear(2, 3, **more)],), None),
    "NLLLoss": Layer(inputs=classes),
    "PReLU": Layer((4,)),
    "ParameterDict": Layer(lambda space, **more: ({"a": torch.ones(2, **more)},), None),
    "ParameterList": Layer(lambda space, **more: ([torch.ones(2, **more)],), None),
    "PixelShuffle": Layer((2,)),
    "PixelUnshuffle": Layer((2,)),
    "PoissonNLLLoss": Layer(inputs=pairs),
    "Sequential": Layer(lambda space, **more: (space.Linear(6, 3, **more), space.ReLU())),
    "SmoothL1Loss": Layer(inputs=pairs),
    "Softmax": Layer((1,)),
    "Softmin": Layer((-1,)),
    "SoftMarginLoss": Layer(inputs=pairs),
    "Threshold": Layer((0.1, 0.2)),
    "Unflatten": Layer((1, (2, 2))),
    "Upsample": Layer(kwargs=(("scale_factor", 2.0), ("mode", "bilinear"))),
    "UpsamplingBilinear2d": Layer(kwargs=(("scale_factor", 2.0),)),
    "UpsamplingNearest2d": Layer((7,)),
}
"""Layers that take arguments, or other inputs than images. All others are made without any and take images."""

_NO_LAYERS = {"Buffer", "Module", "Parameter", "UninitializedBuffer", "UninitializedParameter"}
NAMES = sorted(name for name in nn.__all__ if isinstance(getattr(nn, name), type) and name not in _NO_LAYERS)
LAYERS |= {name: _padding(name) for name in NAMES if "Pad" in name}
LAYERS |= {name: Layer() for name in NAMES if name not in LAYERS}
WITH_FACTORIES = {
    "Conv2d", "LazyConv2d", "LazyLinear", "Linear", "ModuleDict", "ModuleList", "PReLU", "ParameterDict",
    "ParameterList", "Sequential",
}  # fmt: skip
"""Layers that hold tensors, and so take `device` and `dtype`."""
