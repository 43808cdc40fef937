"""Optimizers: torch.optim's names and state dicts, one Triton launch a step.

`import tritonnet.optim as optim` stands in for `import torch.optim as optim`: the base class and the schedulers are
torch's own. An optimizer that is not here is torch's too, and computes with torch's kernels: torch.optim.RMSprop and
the others work on tritonnet's parameters.
"""

import sys
from typing import Any

import torch.optim
from torch.optim import Optimizer, lr_scheduler

from .adam import Adam, AdamW
from .sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]

# `from tritonnet.optim.lr_scheduler import StepLR` finds torch's module.
sys.modules[f"{__name__}.lr_scheduler"] = lr_scheduler


def __getattr__(name: str) -> Any:
    """Says where an optimizer is that tritonnet does not have."""
    where = f"; torch.optim.{name} works on its parameters" if hasattr(torch.optim, name) else ""
    raise AttributeError(f"tritonnet.optim has no {name!r}{where}")
