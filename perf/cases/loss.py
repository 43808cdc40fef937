from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tritonnet import functional as F

from . import Case


def case(name: str, shape: tuple[int, ...], **options: Any) -> Case:
    def make(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        # Probabilities, which every loss takes.
        x, target = (torch.rand(shape, device=device).mul_(0.98).add_(0.01).to(dtype) for _ in range(2))
        return x.requires_grad_(), target

    def of(space: Any) -> Callable[..., Any]:
        return lambda x, target: getattr(space, name)(x, target, **options)

    size = "x".join(map(str, shape))
    return Case(f"{name} {size}", make, of(F), of(torch.nn.functional))


OPTIONS: dict[str, dict[str, Any]] = {
    "mse_loss": {},
    "l1_loss": {},
    "smooth_l1_loss": {},
    "huber_loss": {},
    "binary_cross_entropy": {},
    "binary_cross_entropy_with_logits": {},
    "kl_div": {"reduction": "batchmean"},
    "soft_margin_loss": {},
    "poisson_nll_loss": {},
}
CASES = [case(name, shape, **options) for shape in ((1000, 1000), (128, 784)) for name, options in OPTIONS.items()]
