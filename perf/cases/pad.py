"""pad: each mode by one element on every side."""

import torch

from tritonnet import functional

from . import Case


def images(device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    return (torch.randn(16, 32, 28, 28, device=device).to(dtype).requires_grad_(),)


def case(mode: str) -> Case:
    return Case(
        f"pad {mode} 16x32x28x28",
        images,
        lambda x: functional.pad(x, (1, 1, 1, 1), mode),
        lambda x: torch.nn.functional.pad(x, (1, 1, 1, 1), mode),
    )


CASES = [case(mode) for mode in ("constant", "reflect", "replicate", "circular")]
