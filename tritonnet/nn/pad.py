"""Layers that pad the last one, two or three dimensions, as functional.pad does."""

from typing import ClassVar

from torch import Tensor

from .. import functional as F
from ..module import Module


class _PadNd(Module):
    _dims: ClassVar[int]
    _mode: ClassVar[str]

    def __init__(self, padding: int | tuple[int, ...]) -> None:
        super().__init__()
        self.padding = (padding,) * (2 * self._dims) if isinstance(padding, int) else tuple(padding)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPadNd(_PadNd):
    _mode = "constant"

    def __init__(self, padding: int | tuple[int, ...], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self._mode, self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadNd):
    """A border of `value` along the last dimension.

    Args:
        padding: elements on each side, an int or (left, right); negative ones are cut off.
    """

    _dims = 1


class ConstantPad2d(_ConstantPadNd):
    """A border of `value` around the last two dimensions; padding is an int or (left, right, top, bottom)."""

    _dims = 2


class ConstantPad3d(_ConstantPadNd):
    """A border of `value` around the last three dimensions.

    padding is an int or (left, right, top, bottom, front, back).
    """

    _dims = 3


class _ZeroPadNd(_ConstantPadNd):
    def __init__(self, padding: int | tuple[int, ...]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_ZeroPadNd):
    """A border of zeros: ConstantPad1d with value 0."""

    _dims = 1


class ZeroPad2d(_ZeroPadNd):
    """A border of zeros: ConstantPad2d with value 0."""

    _dims = 2


class ZeroPad3d(_ZeroPadNd):
    """A border of zeros: ConstantPad3d with value 0."""

    _dims = 3


class ReflectionPad1d(_PadNd):
    """[C, L] or [N, C, L], mirrored at its ends; each extent is smaller than its dimension."""

    _dims, _mode = 1, "reflect"


class ReflectionPad2d(_PadNd):
    """[C, H, W] or [N, C, H, W], mirrored at its ends; each extent is smaller than its dimension."""

    _dims, _mode = 2, "reflect"


class ReflectionPad3d(_PadNd):
    """[C, D, H, W] or [N, C, D, H, W], mirrored at its ends; each extent is smaller than its dimension."""

    _dims, _mode = 3, "reflect"


class ReplicationPad1d(_PadNd):
    """[C, L] or [N, C, L], its outermost elements repeated."""

    _dims, _mode = 1, "replicate"


class ReplicationPad2d(_PadNd):
    """[C, H, W] or [N, C, H, W], its outermost elements repeated."""

    _dims, _mode = 2, "replicate"


class ReplicationPad3d(_PadNd):
    """[C, D, H, W] or [N, C, D, H, W], its outermost elements repeated."""

    _dims, _mode = 3, "replicate"


class _CircularPadNd(_PadNd):
    _mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        d = self._dims
        if input.dim() not in (d + 1, d + 2):
            raise ValueError(f"{type(self).__name__}: expected {d + 1}D or {d + 2}D input (got {input.dim()}D input)")
        return super().forward(input)


class CircularPad1d(_CircularPadNd):
    """[C, L] or [N, C, L] as a period; no extent is larger than its dimension."""

    _dims = 1


class CircularPad2d(_CircularPadNd):
    """[C, H, W] or [N, C, H, W] as a period; no extent is larger than its dimension."""

    _dims = 2


class CircularPad3d(_CircularPadNd):
    """[C, D, H, W] or [N, C, D, H, W] as a period; no extent is larger than its dimension."""

    _dims = 3
