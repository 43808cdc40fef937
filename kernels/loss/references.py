"""The losses in plain torch. Their derivatives are autograd's, save where a definition says more."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_Reference = Callable[[Tensor, Tensor, Any], Tensor]


def _huber_reference(x: Tensor, t: Tensor, p: Any) -> Tensor:
    d = (x - t).abs()
    return torch.where(d < p, 0.5 * d * d, p * (d - 0.5 * p))


def _bce_reference(x: Tensor, t: Tensor, p: Any) -> Tensor:
    return -(t * x.log().clamp(min=-100) + (1 - t) * (-x).log1p().clamp(min=-100))


def _logits_reference(x: Tensor, t: Tensor, p: Any) -> Tensor:
    zero = torch.zeros_like(x)
    return (1 - t) * torch.logaddexp(x, zero) + p * t * torch.logaddexp(-x, zero)


def _stirling_reference(t: Tensor) -> Tensor:
    large = torch.where(t > 1, t, 2)
    return torch.where(t > 1, large * large.log() - large + 0.5 * (2 * torch.pi * large).log(), 0)


_REFERENCES: dict[str, _Reference] = {
    "mse_loss": lambda x, t, p: (x - t) ** 2,
    "l1_loss": lambda x, t, p: (x - t).abs(),
    "huber_loss": _huber_reference,
    "smooth_l1_loss": lambda x, t, p: _huber_reference(x, t, p) / p,
    "binary_cross_entropy": _bce_reference,
    # As torch defines it, where the logarithms above are bounded too.
    "binary_cross_entropy.x": lambda x, t, p: (x - t) / (x * (1 - x)).clamp(min=1e-12),
    "binary_cross_entropy.t": lambda x, t, p: (1 - x).log() - x.log(),
    "binary_cross_entropy.xx": lambda x, t, p: (x * x - 2 * x * t + t) / ((x + 1e-12) * (1 - x + 1e-12)) ** 2,
    "binary_cross_entropy_with_logits": _logits_reference,
    "kl_div": lambda x, t, p: torch.xlogy(t, t) - t * x,
    "kl_div(log)": lambda x, t, p: t.exp() * (t - x),
    "soft_margin_loss": lambda x, t, p: torch.logaddexp(-t * x, torch.zeros_like(t * x)),
    "poisson_nll_loss": lambda x, t, p: x - t * (x + p).log(),
    "poisson_nll_loss(full)": lambda x, t, p: x - t * (x + p).log() + _stirling_reference(t),
    "poisson_nll_loss(log)": lambda x, t, p: x.exp() - t * x,
    "poisson_nll_loss(log, full)": lambda x, t, p: x.exp() - t * x + _stirling_reference(t),
}


def formula_reference(of: str, x: Tensor, t: Tensor, p: Any) -> Tensor:
    """The formula named `of` in plain torch, elementwise over the broadcast shape of x and t."""
    x, t = torch.broadcast_tensors(x, t)
    if of in _REFERENCES:
        return _REFERENCES[of](x, t, p)
    with torch.enable_grad():
        x, t = x.detach().requires_grad_(), t.detach().requires_grad_()
        name, _, order = of.partition(".")
        value = _differentiable(name, order, x, t, p)
    return value.detach()


def _differentiable(name: str, order: str, x: Tensor, t: Tensor, p: Any) -> Tensor:
    if not order or f"{name}.{order}" in _REFERENCES:
        return _REFERENCES[f"{name}.{order}" if order else name](x, t, p)
    value, by = _differentiable(name, order[:-1], x, t, p), t if order[-1] == "t" else x
    if not value.requires_grad:
        return torch.zeros_like(by)
    (found,) = torch.autograd.grad(value.sum(), by, create_graph=True, materialize_grads=True)
    return found
