"""The arithmetic of a convolution: sizes, padding, memory formats; checked once and kept by shape."""

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from .._errors import ShapeError

Pair = int | tuple[int, int]
Padding = Pair | str


class Axis(NamedTuple):
    """One spatial axis: out[o] is made of inp[o * stride + tap * dilation - pad] for each tap in range(taps)."""

    inp: int
    out: int
    taps: int
    stride: int
    pad: int
    dilation: int


@dataclass(frozen=True)
class Geometry:
    """A convolution of x [N, C, H, W] with weight [K, C // groups, R, S] to y [N, K, P, Q]; `h`, `w` are its axes."""

    N: int
    C: int
    K: int
    groups: int
    h: Axis
    w: Axis

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        return (self.N, self.K, self.h.out, self.w.out)

    @property
    def in_shape(self) -> tuple[int, int, int, int]:
        return (self.N, self.C, self.h.inp, self.w.inp)

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.groups == self.C

    @property
    def flops(self) -> int:
        return 2 * math.prod(self.out_shape) * self.C // self.groups * self.h.taps * self.w.taps


@functools.lru_cache(maxsize=4096)
def geometry(
    op: str,
    x: tuple[int, ...],
    weight: tuple[int, ...],
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Geometry:
    """The Geometry of shapes `x` and `weight`.

    Raises: ShapeError for a rank other than 4, channels that do not fit the groups, hyper-parameters out of range,
        and a kernel larger than the padded input.
    """
    x, weight = tuple(x), tuple(weight)
    if len(x) != 4:
        raise ShapeError(f"{op}: x is {x}; it takes [N, C, H, W]")
    if len(weight) != 4:
        raise ShapeError(f"{op}: weight is {weight}; it takes [K, C // groups, R, S]")
    N, C, K = x[0], x[1], weight[0]
    if groups < 1:
        raise ShapeError(f"{op}: groups is {groups}; at least 1 is needed")
    if C % groups or K % groups:
        raise ShapeError(f"{op}: {C} input and {K} output channels; both must be divisible by groups {groups}")
    if weight[1] != C // groups:
        raise ShapeError(
            f"{op}: x is {x} and weight is {weight} with groups {groups}; "
            f"weight takes {weight[1]} input channels a group and x has {C // groups}"
        )
    strides, dilations = pair(op, "stride", stride), pair(op, "dilation", dilation)
    if min(strides) < 1:
        raise ShapeError(f"{op}: stride is {stride}; at least 1 is needed")
    if min(dilations) < 1:
        raise ShapeError(f"{op}: dilation is {dilation}; at least 1 is needed")
    if min(weight[2:]) < 1:
        raise ShapeError(f"{op}: weight is {weight}; its kernel is empty")
    before, after = _padding(op, weight[2:], strides, padding, dilations)
    axes = []
    for i, name in enumerate(("height", "width")):
        padded, span = x[2 + i] + before[i] + after[i], dilations[i] * (weight[2 + i] - 1) + 1
        if padded < span:
            raise ShapeError(
                f"{op}: x is {x} and weight is {weight}; padded {name} {padded} is less than the kernel's {span}"
            )
        out = (padded - span) // strides[i] + 1
        axes.append(Axis(x[2 + i], out, weight[2 + i], strides[i], before[i], dilations[i]))
    return Geometry(N, C, K, groups, *axes)


def pair(op: str, name: str, value: Pair) -> tuple[int, int]:
    """An int or two of them as two; ShapeError otherwise."""
    both = (value, value) if isinstance(value, int) else value
    if not isinstance(both, tuple) or len(both) != 2 or not all(isinstance(v, int) for v in both):
        raise ShapeError(f"{op}: {name} is {value!r}; it takes an int or two of them")
    return both


def _padding(
    op: str, kernel: tuple[int, ...], stride: tuple[int, int], padding: Padding, dilation: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """What is padded before and after each axis: "same" puts the odd one after, as torch does."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        if stride != (1, 1):
            raise ShapeError(f'{op}: padding is "same" and stride {stride}; "same" takes stride 1')
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        before = (total[0] // 2, total[1] // 2)
        return before, (total[0] - before[0], total[1] - before[1])
    if isinstance(padding, str):
        raise ShapeError(f'{op}: padding is {padding!r}; it takes an int, two of them, "same" or "valid"')
    both = pair(op, "padding", padding)
    if min(both) < 0:
        raise ShapeError(f"{op}: padding is {padding}; at least 0 is needed")
    return both, both


def hashable(value: Any) -> Any:
    """A list as a tuple, so that a plan can be kept by it."""
    return tuple(value) if type(value) is list else value


def channels_last(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether torch takes a [N, C, H, W] tensor of these strides for channels_last."""
    if 0 in shape or stride[1] == 0:
        return False
    least = 0
    for d in (1, 3, 2, 0):
        if stride[d] < least or (d == 0 and least == stride[1]):
            return False
        least = stride[d] * max(shape[d], 1)
    return True


def format_strides(shape: tuple[int, ...], last: bool) -> tuple[int, int, int, int]:
    """Dense strides of [N, C, H, W], channels last or not."""
    _, C, H, W = shape
    return (C * H * W, 1, W * C, C) if last else (C * H * W, H * W, W, 1)


def needs_int64(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether an offset can pass 2^31; half of that is left for masked taps, pixels and channels beyond the edges."""
    return sum(size * abs(stride) for size, stride in zip(shape, strides, strict=True)) >= 1 << 30
