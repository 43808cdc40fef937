"""Functions that overwrite their input."""

import torch
from torch import Tensor

from tritonnet.errors import BackwardError


def check_writable(name: str, input: Tensor) -> None:
    """Raises BackwardError where operation `name` may not overwrite `input`; before anything is written."""
    if not torch.is_grad_enabled():
        return
    for what, tensor in (("", input), ("a view of ", input._base)):
        if tensor is not None and tensor.is_leaf and tensor.requires_grad:
            raise BackwardError(
                f"{name}: inplace would overwrite {what}a leaf that requires a gradient; use inplace=False"
            )
