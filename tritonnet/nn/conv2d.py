"""Conv2d: two-dimensional cross-correlation with learnt filters."""

import math

import torch
from torch import Tensor

from .. import functional as F
from .. import init
from ..errors import ShapeError
from ..module import Module
from ..parameter import Parameter


class Conv2d(Module):
    """y[n, k] = b[k] + sum over c of x[n, c] * weight[k, c], sliding over height and width.

    Args:
        in_channels, out_channels: of x [N, C, H, W] (or [C, H, W]) and of y.
        kernel_size, stride, dilation: an int, or a pair for height and width.
        padding: zeros on each side, an int or a pair; "valid" is none, "same" keeps H and W (stride 1).
        groups: input and output channels fall into as many groups that do not mix.
        bias: whether b is learnt; without it, `bias` is None.
        padding_mode: what stands beyond the edges: "zeros", or by functional.pad "reflect", "replicate" or "circular".
        device, dtype: of the parameters; torch's defaults otherwise.

    weight [out_channels, in_channels / groups, R, S] and bias [out_channels] start as U(-s, s), s = 1 / sqrt(fan_in).

    Raises: ShapeError for groups, channels or paddings that do not fit; ValueError for another padding mode.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: str | int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _pair(kernel_size)
        self.stride = _pair(stride)
        self.padding = padding if isinstance(padding, str) else _pair(padding)
        self.dilation = _pair(dilation)
        self.groups = groups
        self.padding_mode = padding_mode
        self.transposed = False
        self.output_padding = (0, 0)
        self._check()
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = Parameter(torch.empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(torch.empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _check(self) -> None:
        if self.groups <= 0:
            raise ShapeError(f"Conv2d: groups is {self.groups}; it must be positive")
        for name, channels in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if channels % self.groups:
                raise ShapeError(f"Conv2d: {name} is {channels}, not divisible by groups={self.groups}")
        if isinstance(self.padding, str) and self.padding not in ("same", "valid"):
            raise ShapeError(f"Conv2d: padding is {self.padding!r}; as a string it is 'same' or 'valid'")
        if self.padding == "same" and self.stride != (1, 1):
            raise ShapeError(f"Conv2d: padding='same' needs stride 1, and stride is {self.stride}")
        if self.padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise ValueError(
                f"Conv2d: padding_mode is {self.padding_mode!r}; it is 'zeros', 'reflect', 'replicate' or 'circular'"
            )

    def reset_parameters(self) -> None:
        """Draw initial values anew; the same ones whatever the weight's memory format."""
        drawn = torch.empty_like(self.weight, memory_format=torch.contiguous_format)
        init.kaiming_uniform_(drawn, a=math.sqrt(5))
        with torch.no_grad():
            self.weight.copy_(drawn)
        if self.bias is not None:
            fan_in, _ = init.fans(self.weight)
            bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        if self.padding_mode == "zeros":
            return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        padded = F.pad(input, self._pads(), self.padding_mode)
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def _pads(self) -> tuple[int, ...]:
        """As functional.pad takes them; of an odd number for "same" the larger part is on the right and below."""
        if self.padding == "same":
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            top, left = (total // 2 for total in totals)
            return left, totals[1] - left, top, totals[0] - top
        height, width = (0, 0) if isinstance(self.padding, str) else self.padding
        return width, width, height, height

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0, 0):
            text += f", padding={self.padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    pair = tuple(value)
    if len(pair) != 2:
        raise ShapeError(f"Conv2d: got {value}; sizes are an int or a pair (height, width)")
    return pair
