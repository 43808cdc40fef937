"""MaxPool1d, AvgPool1d, AdaptiveMaxPool1d, AdaptiveAvgPool1d: a sequence by the maxima or the means of its windows."""

from torch import Tensor

from .. import functional as F
from ..module import Module

Single = int | tuple[int]


class MaxPool1d(Module):
    """The largest element of each window of x [N, C, L] or [C, L]; see functional.max_pool1d.

    Args:
        kernel_size, stride, padding, dilation: an int or a tuple of one; the stride is kernel_size if not given.
        return_indices: return y and the places of its maxima.
        ceil_mode: round the output's size up.
    """

    def __init__(
        self,
        kernel_size: Single,
        stride: Single | None = None,
        padding: Single = 0,
        dilation: Single = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        sizes = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        return F.max_pool1d(input, *sizes, self.return_indices)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool1d(Module):
    """The mean of each window of x [N, C, L] or [C, L]; see functional.avg_pool1d.

    Args:
        kernel_size, stride, padding: an int or a tuple of one; the stride is kernel_size if not given.
        ceil_mode: round the output's size up.
        count_include_pad: whether the zeros of the padding count as elements.
    """

    def __init__(
        self,
        kernel_size: Single,
        stride: Single | None = None,
        padding: Single = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = _single(kernel_size)
        self.stride = _single(kernel_size if stride is None else stride)
        self.padding = _single(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        sizes = (self.kernel_size, self.stride, self.padding)
        return F.avg_pool1d(input, *sizes, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveMaxPool1d(Module):
    """The largest elements of output_size windows that share x [N, C, L] or [C, L] out among them.

    Args:
        output_size: an int or a tuple of one.
        return_indices: return y and the places of its maxima.
    """

    def __init__(self, output_size: Single, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return F.adaptive_max_pool1d(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(Module):
    """The means of output_size windows that share x [N, C, L] or [C, L] out among them.

    Args:
        output_size: an int or a tuple of one.
    """

    def __init__(self, output_size: Single) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool1d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


def _single(value: Single) -> tuple[int]:
    return (value,) if isinstance(value, int) else value
