"""Identity: x."""

from typing import Any

from torch import Tensor

from ..module import Module


class Identity(Module):
    """x, unchanged; takes and ignores any constructor arguments, so that it can stand in for another layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input
