"""Softmax, LogSoftmax, Softmin and Softmax2d."""

from torch import Tensor

from .. import functional as F
from ..errors import ShapeError
from ..module import Module


class Softmax(Module):
    """exp(x_i) / sum_j exp(x_j) along `dim`; see functional.softmax."""

    dim: int | None

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim, _stacklevel=5)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """x_i - log sum_j exp(x_j) along `dim`; see functional.log_softmax."""

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim, _stacklevel=5)


class Softmin(Softmax):
    """exp(-x_i) / sum_j exp(-x_j) along `dim`; see functional.softmin."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softmin(input, self.dim, _stacklevel=5)


class Softmax2d(Module):
    """softmax over the channels of [N, C, H, W] or [C, H, W].

    Raises: ShapeError for other numbers of dimensions.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() not in (3, 4):
            raise ShapeError(f"Softmax2d: input is {input.dim()}-D; it takes 3-D or 4-D")
        return F.softmax(input, -3)
