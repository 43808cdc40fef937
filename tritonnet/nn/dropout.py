"""Dropout: elements set to zero at random while training."""

from torch import Tensor

from .. import functional as F
from ..module import Module


class Dropout(Module):
    """While training, each element becomes 0 with probability p and x / (1 - p) otherwise; in evaluation, x.

    Args:
        p: probability in [0, 1].
        inplace: overwrite x.

    Raises: ValueError for another p.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p is {p}; it is a probability, from 0 to 1")
        self.p = p
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"
