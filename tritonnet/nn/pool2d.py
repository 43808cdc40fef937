"""MaxPool2d, AvgPool2d, AdaptiveMaxPool2d, AdaptiveAvgPool2d: an image by the maxima or the means of its windows."""

from torch import Tensor

from .. import functional as F
from ..module import Module

Pair = int | tuple[int, int]
OutputSize = int | tuple[int | None, int | None]


class MaxPool2d(Module):
    """The largest pixel of each window of x [N, C, H, W] or [C, H, W]; see functional.max_pool2d.

    Args:
        kernel_size, stride, padding, dilation: an int, or a pair for height and width; the stride is kernel_size if not
            given.
        return_indices: return y and the places of its maxima in their planes.
        ceil_mode: round output sizes up.
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
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
        return F.max_pool2d(input, *sizes, self.return_indices)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """The mean of each window of x [N, C, H, W] or [C, H, W]; see functional.avg_pool2d.

    Args:
        kernel_size, stride, padding: an int, or a pair for height and width; the stride is kernel_size if not given.
        ceil_mode: round output sizes up.
        count_include_pad: whether the zeros of the padding count as pixels.
        divisor_override: what sums are divided by instead.
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        sizes = (self.kernel_size, self.stride, self.padding)
        return F.avg_pool2d(input, *sizes, self.ceil_mode, self.count_include_pad, self.divisor_override)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveMaxPool2d(Module):
    """The largest pixels of output_size windows that share x [N, C, H, W] or [C, H, W] out among them.

    Args:
        output_size: an int, or a pair for height and width; None leaves the input's size.
        return_indices: return y and the places of its maxima in their planes.
    """

    def __init__(self, output_size: OutputSize, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool2d(Module):
    """The means of output_size windows that share x [N, C, H, W] or [C, H, W] out among them.

    Args:
        output_size: an int, or a pair for height and width; None leaves the input's size.
    """

    def __init__(self, output_size: OutputSize) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
