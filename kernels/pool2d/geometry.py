"""The arithmetic of pooling: windows along each axis, sizes, paddings, divisors; checked once and kept by shape."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from .._errors import ShapeError

Sizes = int | Sequence[int]
OutputSize = int | Sequence[int | None]


class Axis(NamedTuple):
    """The windows along one axis: out[o] is made of inp[o * stride + tap * dilation - pad], tap in range(taps).

    Where they are `adaptive`, of inp[floor(o inp / out)] up to inp[ceil((o + 1) inp / out)], at most `taps`.
    """

    inp: int
    out: int
    taps: int
    stride: int
    pad: int
    dilation: int = 1
    adaptive: bool = False

    def pixels(self, o: int) -> slice:
        """Those of window o that are in the image."""
        if self.adaptive:
            return slice(o * self.inp // self.out, -(-(o + 1) * self.inp // self.out))
        first = o * self.stride - self.pad
        beyond = min(first + (self.taps - 1) * self.dilation + 1, self.inp)
        return slice(first + max(-(first // self.dilation), 0) * self.dilation, beyond, self.dilation)

    def counts(self, include_pad: bool) -> list[int]:
        """How many pixels of each window a mean counts."""
        if include_pad and not self.adaptive:
            starts = range(-self.pad, self.out * self.stride - self.pad, self.stride)
            return [min(start + self.taps, self.inp + self.pad) - start for start in starts]
        return [len(range(self.inp)[self.pixels(o)]) for o in range(self.out)]

    @property
    def leaves(self) -> bool:
        """Whether a window reaches over the edge of the image."""
        last = (self.out - 1) * self.stride - self.pad + (self.taps - 1) * self.dilation
        return not self.adaptive and (self.pad > 0 or last >= self.inp)

    @property
    def is_whole(self) -> bool:
        """Whether one window covers the axis."""
        return self.out == 1 and self.taps == self.inp and self.dilation == 1 and self.pad == 0


class Windows(NamedTuple):
    """Pooling of x [N, C, H, W] to y [N, C, P, Q]; `h` and `w` are its axes."""

    N: int
    C: int
    h: Axis
    w: Axis

    @property
    def in_shape(self) -> tuple[int, int, int, int]:
        return (self.N, self.C, self.h.inp, self.w.inp)

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        return (self.N, self.C, self.h.out, self.w.out)

    def out_like(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of y for an x of `shape`, with a batch dimension or without one."""
        return (*shape[:-2], self.h.out, self.w.out)


class Mean(NamedTuple):
    """The windows of a mean, and what sums are divided by: `divisor`, or where it is 0 the pixels that count."""

    windows: Windows
    divisor: int
    include_pad: bool = False


def windows(
    op: str,
    shape: Sequence[int],
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Windows:
    """Windows of a fixed size over x of `shape`, [N, C, H, W] or [C, H, W].

    In `ceil_mode` a last window may reach over the padding behind, but not start in it.

    Raises: ShapeError for another rank, an empty dimension other than N, hyper-parameters out of range, a padding of
        more than half of the kernel, and an input too small for a single window.
    """
    steps = kernel_size if stride is None or stride in ([], ()) else stride
    sizes = (_hashable(each) for each in (kernel_size, steps, padding, dilation))
    return _windows(op, tuple(shape), *sizes, bool(ceil_mode))


@functools.lru_cache(4096)
def _windows(
    op: str, shape: tuple[int, ...], kernel_size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil_mode: bool
) -> Windows:
    N, C, H, W = _image(op, shape)
    if 0 in (C, H, W):
        raise ShapeError(f"{op}: x is {shape}; no dimension but the batch may be empty")
    kernel, steps = pair(op, "kernel_size", kernel_size, 1), pair(op, "stride", stride, 1)
    pads, dilations = pair(op, "padding", padding, 0), pair(op, "dilation", dilation, 1)
    axes = []
    for size, taps, step, pad, apart in zip((H, W), kernel, steps, pads, dilations, strict=True):
        if pad > taps // 2:
            raise ShapeError(
                f"{op}: padding is {padding} and kernel_size {kernel_size}; at most half of the kernel can be padding"
            )
        room = size + 2 * pad - apart * (taps - 1) - 1 + (step - 1 if ceil_mode else 0)
        out = room // step + 1
        if ceil_mode and (out - 1) * step >= size + pad:
            out -= 1
        if out < 1:
            raise ShapeError(
                f"{op}: x is {shape}; it is too small for one window of kernel_size {kernel_size}, dilation {dilation} "
                f"and padding {padding}"
            )
        axes.append(Axis(size, out, taps, step, pad, apart))
    return Windows(N, C, *axes)


def adaptive_windows(op: str, shape: Sequence[int], output_size: OutputSize) -> Windows:
    """The windows that share x of `shape` out among outputs of `output_size`, None for the size of the input.

    Where the sizes divide they are those of a fixed size, side by side.

    Raises: ShapeError for another rank, an empty H or W, a negative output size.
    """
    return _adaptive_windows(op, tuple(shape), _hashable(output_size))


@functools.lru_cache(4096)
def _adaptive_windows(op: str, shape: tuple[int, ...], output_size: OutputSize) -> Windows:
    N, C, H, W = _image(op, shape)
    if 0 in (H, W):
        raise ShapeError(f"{op}: x is {shape}; height and width must not be empty")
    outs = (output_size, output_size) if isinstance(output_size, int) else output_size
    if (
        not isinstance(outs, Sequence)
        or len(outs) != 2
        or not all(out is None or (isinstance(out, int) and out >= 0) for out in outs)
    ):
        raise ShapeError(f"{op}: output_size is {output_size!r}; it takes a size or two, none negative, or None")
    sizes = [(size, size if out is None else out) for size, out in zip((H, W), outs, strict=True)]
    if all(out and size % out == 0 for size, out in sizes):
        return Windows(N, C, *(Axis(size, out, size // out, size // out, 0) for size, out in sizes))
    axes = [Axis(size, out, 0, 1, 0, adaptive=True) for size, out in sizes]
    return Windows(N, C, *(axis._replace(taps=max(axis.counts(False), default=0)) for axis in axes))


def mean(
    op: str,
    shape: Sequence[int],
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Mean:
    """The Mean over windows of a fixed size; ShapeError as `windows`, and for a divisor of 0."""
    if divisor_override == 0:
        raise ShapeError(f"{op}: divisor_override is 0")
    over = windows(op, shape, kernel_size, stride, padding, 1, ceil_mode)
    return _mean(over, divisor_override or 0, bool(count_include_pad))


def adaptive_mean(op: str, shape: Sequence[int], output_size: OutputSize) -> Mean:
    """The Mean over adaptive windows; ShapeError as `adaptive_windows`."""
    return _mean(adaptive_windows(op, shape, output_size), 0, False)


@functools.lru_cache(4096)
def _mean(over: Windows, divisor: int, include_pad: bool) -> Mean:
    axes = (over.h, over.w)
    if not divisor and not any(axis.leaves or axis.adaptive for axis in axes):
        divisor = over.h.taps * over.w.taps
    return Mean(over, divisor, include_pad)


def _image(op: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) not in (3, 4):
        raise ShapeError(f"{op}: x is {shape}; it takes [N, C, H, W] or [C, H, W]")
    return shape if len(shape) == 4 else (1, *shape)


def pair(op: str, name: str, value: Sizes, least: int) -> tuple[int, int]:
    """An int, one or two of them as two; ShapeError for anything else and for less than `least`."""
    both = (value,) if isinstance(value, int) else value
    if not isinstance(both, Sequence) or len(both) not in (1, 2) or not all(isinstance(size, int) for size in both):
        raise ShapeError(f"{op}: {name} is {value!r}; it takes an int or two of them")
    if min(both) < least:
        raise ShapeError(f"{op}: {name} is {value}; at least {least} is needed")
    return both[0], both[-1]


def _hashable(value: Any) -> Any:
    """A list as a tuple, so that windows can be kept by it."""
    return tuple(value) if isinstance(value, list) else value
