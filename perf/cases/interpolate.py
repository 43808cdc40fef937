"""interpolate: images to twice their size."""

import torch
from torch import Tensor

from tritonnet import functional as F

from . import Case


def _case(mode: str) -> Case:
    def make(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        return (torch.randn(16, 32, 28, 28, device=device, dtype=dtype, requires_grad=True),)

    return Case(
        f"interpolate {mode} x2 [16, 32, 28, 28]",
        make,
        lambda x: F.interpolate(x, scale_factor=2, mode=mode),
        lambda x: torch.nn.functional.interpolate(x, scale_factor=2, mode=mode),
    )


CASES = [_case(mode) for mode in ("nearest", "nearest-exact", "bilinear")]
