"""Steps of optimizers, and gradients clipped: on an MLP 784-1024-1024-10 and on 200 small tensors."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import tritonnet.nn.utils
import tritonnet.optim

from . import Case

SHAPES: dict[str, Sequence[tuple[int, ...]]] = {
    "mlp": [(1024, 784), (1024,), (1024, 1024), (1024,), (10, 1024), (10,)],
    "200 small": [(37 * at % 400 + 8,) for at in range(200)],
}


def gradients(shapes: Sequence[tuple[int, ...]]) -> Callable[[torch.device, torch.dtype], tuple[Tensor, ...]]:
    return lambda device, dtype: tuple(1e-3 * torch.randn(shape, device=device).to(dtype) for shape in shapes)


class Repeated:
    """Does the same to parameters of its own, which have copies of the gradients that it was first called with.

    make: of the parameters, what to do: a call without arguments.
    """

    def __init__(self, make: Callable[[list[Tensor]], Callable[[], Any]]) -> None:
        self._make = make
        self._first: Tensor | None = None

    def __call__(self, *gradients: Tensor) -> Tensor:
        if gradients[0] is not self._first:
            self._first = gradients[0]
            self._params = [torch.zeros_like(g).requires_grad_() for g in gradients]
            for p, g in zip(self._params, gradients, strict=True):
                p.grad = g.clone()
            self._do = self._make(self._params)
        found = self._do()
        return found if isinstance(found, Tensor) else self._params[0].detach()


def step(name: str, **hyper: Any) -> tuple[Repeated, Repeated]:
    """One of an optimizer: tritonnet's, and torch's fastest."""
    ours, theirs = getattr(tritonnet.optim, name), getattr(torch.optim, name)
    return Repeated(lambda ps: ours(ps, **hyper).step), Repeated(lambda ps: theirs(ps, fused=True, **hyper).step)


def clip(name: str, *arguments: float) -> tuple[Repeated, Repeated]:
    ours, theirs = getattr(tritonnet.nn.utils, name), getattr(torch.nn.utils, name)
    return Repeated(lambda ps: lambda: ours(ps, *arguments)), Repeated(lambda ps: lambda: theirs(ps, *arguments))


PAIRS: dict[str, Callable[[], tuple[Repeated, Repeated]]] = {
    "SGD, momentum": lambda: step("SGD", lr=1e-3, momentum=0.9),
    "SGD, plain": lambda: step("SGD", lr=1e-3),
    "Adam": lambda: step("Adam"),
    "clip_grad_norm_, below": lambda: clip("clip_grad_norm_", 1e3),
    # A bound of 0 is passed every time.
    "clip_grad_norm_, above": lambda: clip("clip_grad_norm_", 0.0),
    "clip_grad_value_": lambda: clip("clip_grad_value_", 1e-3),
}
CASES = [
    Case(f"{what}, {of}", gradients(shapes), *pair()) for what, pair in PAIRS.items() for of, shapes in SHAPES.items()
]
