"""Backward passes that have no gradient of their own: said when it is asked for, never silently wrong."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tritonnet.errors import BackwardError

from ._function import Function


def once_differentiable(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Marks the `backward` of operation `name`: its gradients are right, and differentiating them is a BackwardError.

    Unlike torch's decorator of the same name it also speaks where the incoming gradients need no gradient but the saved
    tensors do; torch then leaves that part of the second derivative out.
    """

    def decorate(backward: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(backward)
        def wrapper(ctx: Any, *grads: Tensor) -> Any:
            if not torch.is_grad_enabled():
                return backward(ctx, *grads)
            with torch.no_grad():
                found = backward(ctx, *grads)
            # The refusal hangs on all that the results depend on, so that no way back to an input passes it by; and on
            # something that needs a gradient in any case.
            needs = [t for t in (*grads, *ctx.saved_tensors) if isinstance(t, Tensor) and t.requires_grad]
            needs.append(torch.empty(0, requires_grad=True, device="cpu"))
            if isinstance(found, tuple):
                return tuple(_Refusal.apply(name, one, *needs) if isinstance(one, Tensor) else one for one in found)
            return _Refusal.apply(name, found, *needs)

        return wrapper

    return decorate


class _Refusal(Function):
    @staticmethod
    def forward(ctx: Any, name: str, gradient: Tensor, *needs: Tensor) -> Tensor:
        ctx.name = name
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise BackwardError(f"{ctx.name}: the gradient of its gradient is not offered (create_graph=True)")
