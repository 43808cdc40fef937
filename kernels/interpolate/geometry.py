"""Where each element of a resized tensor reads: in a kernel, on the host, in the references."""

import functools
import math
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._errors import ShapeError
from .._tile import wide_dtype

MODES = ("nearest", "nearest-exact", "linear")

VARYING = ("n0", "n1", "n2", "n3", "size0", "size1", "size2", "size3", "size4", "out", "times")
"""What no machine code is worth being made anew for."""

_COUNTED = 2**16
"""Up to here readers are counted one by one."""


@triton.jit
def far(index, stride):
    return index.to(tl.int64) * stride


@triton.jit
def place(o, size, scale, KIND: tl.constexpr, F: tl.constexpr):
    """Where element `o` reads along x, in elements: at most at the last one."""
    if KIND == "nearest" or KIND == "aligned":
        at = o.to(F) * tl.cast(scale, F)
    elif KIND == "nearest-exact":
        at = (o.to(F) + 0.5) * tl.cast(scale, F)
    else:
        at = tl.maximum((o.to(F) + 0.5) * tl.cast(scale, F) - 0.5, 0.0)
    return tl.minimum(at, tl.cast(size - 1, F))


@triton.jit
def source(o, size, scale, KIND: tl.constexpr, F: tl.constexpr):
    """The element of x that element `o` reads, and how far beyond it towards the next one."""
    if KIND == "same":
        i, past = o, 0.0
    elif KIND == "doubled":
        i, past = o >> 1, 0.0
    else:
        at = place(o, size, scale, KIND, F)
        i = at.to(tl.int32)
        past = at - i.to(F)
    return i, past


class Dim(NamedTuple):
    """One dimension: `size` elements of x, `out` of the result, and how the latter read the former."""

    size: int
    out: int
    scale: float
    kind: str

    @property
    def taps(self) -> int:
        return 2 if self.kind in ("linear", "aligned") else 1

    def places(self, dtype: torch.dtype) -> list[float]:
        """Where each element of the result reads, in arithmetic of `dtype`."""
        f = float if dtype == torch.float64 else _float32
        scale, last = f(self.scale), self.size - 1.0
        if self.kind in ("nearest", "aligned"):
            return [min(f(f(o) * scale), last) for o in range(self.out)]
        if self.kind == "nearest-exact":
            return [min(f(f(o + 0.5) * scale), last) for o in range(self.out)]
        return [min(max(f(f(f(o + 0.5) * scale) - 0.5), 0.0), last) for o in range(self.out)]

    def times(self, dtype: torch.dtype) -> int:
        """How many elements of the result read one of x at the most."""
        if self.kind in ("same", "doubled"):
            return 1 if self.kind == "same" else 2
        if self.out > _COUNTED:
            return min(math.ceil(self.taps / self.scale) + 1, self.out) if self.scale else self.out
        counts = [0] * (self.size + 1)
        for at in self.places(dtype):
            counts[int(at)] += 1
            if self.taps == 2 and at > int(at):
                counts[int(at) + 1] += 1
        return max(counts)


class Walk(NamedTuple):
    """What a launch takes beside its tensors."""

    grid: tuple[int, ...]
    numbers: tuple[Any, ...]
    constexprs: dict[str, Any]


def sources_reference(dim: Dim, x: Tensor) -> tuple[Tensor, Tensor]:
    """The element that each one of the result reads, and how far it reads beyond that."""
    if dim.kind == "doubled":
        return torch.arange(dim.out, device=x.device) // 2, torch.zeros(0)
    if dim.taps == 1:
        return torch.tensor([int(at) for at in dim.places(torch.float32)], device=x.device), torch.zeros(0)
    o = torch.arange(dim.out, dtype=wide_dtype(x.dtype), device=x.device)
    at = o * dim.scale if dim.kind == "aligned" else ((o + 0.5) * dim.scale - 0.5).clamp_min(0)
    at = at.clamp_max(dim.size - 1)
    i = at.long()
    return i, at - i


def index_dtype(dtype: torch.dtype, mode: str) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 and mode == "linear" else torch.float32


def geometry(
    name: str,
    shape: Sequence[int],
    size: Sequence[int],
    mode: str,
    scales: Sequence[float | None] | None,
    align_corners: bool,
) -> tuple[Dim, ...]:
    return _dims(name, tuple(shape), tuple(size), mode, scales if scales is None else tuple(scales), align_corners)


@functools.lru_cache(4096)
def _dims(
    name: str,
    shape: tuple[int, ...],
    size: tuple[int, ...],
    mode: str,
    scales: tuple[float | None, ...] | None,
    align_corners: bool,
) -> tuple[Dim, ...]:
    """How each dimension is read; raises what `interpolate` does."""
    if mode not in MODES:
        raise NotImplementedError(f"{name}: mode is {mode!r}; it is one of {', '.join(map(repr, MODES))}")
    if not 3 <= len(shape) <= 5 or len(size) != len(shape) - 2 or len(scales or size) != len(size):
        raise ShapeError(f"{name}: x is {shape} and size {size}; x is [N, C, ...] of 1 to 3 dimensions that size names")
    if min(*shape[1:], *size) <= 0:
        raise ShapeError(f"{name}: x is {shape} and size {size}; only the batch may be empty")
    dims = [Dim(n, n, 1.0, "same") for n in shape[:2]]
    for n, out, factor in zip(shape[2:], size, scales or [None] * len(size), strict=True):
        scale, kind = 1.0 / factor if factor and factor > 0 else n / out, mode
        if mode == "linear" and align_corners:
            scale, kind = (n - 1) / (out - 1) if out > 1 else 0.0, "aligned"
        if n == out and (scale == 1.0 or mode == "linear"):
            kind = "same"
        elif 2 * n == out and scale == 0.5 and mode != "linear":
            kind = "doubled"
        dims.append(Dim(n, out, scale, kind))
    return tuple(dims)


def _float32(number: float) -> float:
    return struct.unpack("f", struct.pack("f", number))[0]
