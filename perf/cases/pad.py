"""pad: images by one element on every side."""

import torch
from torch import Tensor

from tritonnet import functional as F

from . import Case


def _case(mode: str) -> Case:
    def make(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        return (torch.randn(16, 32, 28, 28, device=device, dtype=dtype, requires_grad=True),)

    return Case(
        f"pad {mode} [16, 32, 28, 28]",
        make,
        lambda x: F.pad(x, (1, 1, 1, 1), mode),
        lambda x: torch.nn.functional.pad(x, (1, 1, 1, 1), mode),
    )


CASES = [_case(mode) for mode in ("constant", "reflect", "replicate", "circular")]
