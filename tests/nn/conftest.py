"""What every layer's test asks: constructor, initial values, text, outputs, gradients are those of torch.nn's layer."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tritonnet import nn


@pytest.fixture
def twins() -> Callable[..., tuple[Any, Any]]:
    """twins("Linear", 3, 4) builds tritonnet's layer and torch's from one seed, and compares all but their outputs."""

    def build(name: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        layers, draws = [], []
        for space in (nn, torch.nn):
            torch.manual_seed(3)
            layers.append(getattr(space, name)(*args, **kwargs))
            draws.append(torch.rand(1).item())
        ours, theirs = layers
        assert draws[0] == draws[1], "the layers took different amounts of random numbers"
        assert repr(ours) == repr(theirs)
        signatures = [
            [(p.name, p.default) for p in inspect.signature(type(layer)).parameters.values()] for layer in layers
        ]
        assert signatures[0] == signatures[1]
        mine, yours = ours.state_dict(), theirs.state_dict()
        assert list(mine) == list(yours)
        for key in mine:
            assert mine[key].dtype == yours[key].dtype
            assert torch.equal(mine[key], yours[key]), key
        return ours, theirs

    return build


@pytest.fixture
def agree() -> Callable[..., None]:
    """agree(ours, theirs, *inputs) compares outputs and the gradients of floating-point inputs and of parameters."""

    def compare(ours: Any, theirs: Any, *inputs: Tensor) -> None:
        results = []
        for layer in (ours, theirs):
            leaves = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
            y = layer(*leaves)
            y.backward(torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape))
            grads = [leaf.grad for leaf in leaves if leaf.requires_grad] + [p.grad for p in layer.parameters()]
            results.append([y, *grads])
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)

    return compare
