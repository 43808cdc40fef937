"""ReLU: max(0, x)."""

from torch import Tensor

from .. import functional as F
from ..module import Module


class ReLU(Module):
    """max(0, x), elementwise; inplace=True overwrites x."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input, self.inplace)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""
