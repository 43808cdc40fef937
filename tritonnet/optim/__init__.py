"""Optimizers: torch.optim's names and state dicts, one Triton launch a step.

`import tritonnet.optim as optim` stands in for `import torch.optim as optim`: the base class and the schedulers are
torch's own. An optimizer that is not here is torch's too, and computes with torch's kernels: torch.optim.RMSprop and
the others work on tritonnet's parameters.
"""

import sys
from typing import Any

from torch.optim import Optimizer, lr_scheduler, optimizer

from .._names import missing
from .adam import Adam, AdamW
from .sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]

# `from tritonnet.optim.lr_scheduler import StepLR` finds torch's module.
for _module in (lr_scheduler, optimizer):
    sys.modules[f"{__name__}.{_module.__name__.rpartition('.')[2]}"] = _module


def __getattr__(name: str) -> Any:
    advice = f"tritonnet does not offer it; torch.optim.{name} works on tritonnet's parameters"
    raise missing(__name__, "torch.optim", name, __all__, advice)
