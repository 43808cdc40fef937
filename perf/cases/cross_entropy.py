"""cross_entropy and nll_loss: few classes, many, pixels, probabilities."""

from collections.abc import Callable

import torch
from torch import Tensor

from tritonnet import functional as F

from . import Case

Make = Callable[[torch.device, torch.dtype], tuple[Tensor, ...]]


def _classes(*shape: int) -> Make:
    def make(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        x = torch.randn(shape, device=device, dtype=dtype, requires_grad=True)
        return x, torch.randint(0, shape[1], (shape[0], *shape[2:]), device=device)

    return make


def _probabilities(*shape: int) -> Make:
    def make(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        x = torch.randn(shape, device=device, dtype=dtype, requires_grad=True)
        return x, torch.rand(shape, device=device).to(dtype)

    return make


def _pair(x: Tensor, target: Tensor) -> Tensor:
    return F.nll_loss(F.log_softmax(x, 1), target)


def _torchs_pair(x: Tensor, target: Tensor) -> Tensor:
    return torch.nn.functional.nll_loss(torch.nn.functional.log_softmax(x, 1), target)


_BOTH = F.cross_entropy, torch.nn.functional.cross_entropy
CASES = [
    Case("cross_entropy [128, 10]", _classes(128, 10), *_BOTH),
    Case("cross_entropy [4096, 1000]", _classes(4096, 1000), *_BOTH),
    Case("cross_entropy [8, 21, 128, 128]", _classes(8, 21, 128, 128), *_BOTH),
    Case("cross_entropy [1024, 1000], probabilities", _probabilities(1024, 1000), *_BOTH),
    Case("nll_loss [4096, 1000]", _classes(4096, 1000), F.nll_loss, torch.nn.functional.nll_loss),
    Case("nll_loss of log_softmax [128, 10]", _classes(128, 10), _pair, _torchs_pair),
    Case("nll_loss of log_softmax [4096, 1000]", _classes(4096, 1000), _pair, _torchs_pair),
]
