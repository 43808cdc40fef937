"""Tensors in guarded memory, in every layout, and allocations that hold sentinels until a kernel writes them."""

from collections.abc import Iterable
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import dtype_name

LAYOUTS = ("contiguous", "transposed", "sliced", "expanded", "constant", "offset", "channels_last")
"""transposed: the first dimension runs fastest; sliced: every second element of a larger tensor, in each dimension;
expanded: stride 0 in the first dimension; constant: stride 0 in all; offset: one element past an aligned address."""

_GUARD = 4096
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# NaNs with payloads that no computation makes, so that a NaN written over a guard is seen too.
_SENTINELS = {
    torch.float16: 0x7E5A,
    torch.bfloat16: 0x7FDA,
    torch.float32: 0x7FC5A5A5,
    torch.float64: 0x7FF8A5A5A5A5A5A5,
    torch.bool: 1,
    torch.uint8: 0xA5,
}


def bits(tensor: Tensor) -> Tensor:
    """The elements of a tensor as integers, for comparisons in which a NaN equals itself and -0.0 is not 0.0."""
    return tensor.detach().contiguous().view(_BITS[tensor.element_size()])


def sentinel(dtype: torch.dtype) -> int:
    """What `bits` shows for an element that was never written."""
    if dtype in _SENTINELS:
        return _SENTINELS[dtype]
    return torch.iinfo(dtype).min // 3


class Guarded:
    """A tensor whose memory has bands of sentinels before and after it, and between its elements."""

    def __init__(
        self, size: Iterable[int], stride: Iterable[int], dtype: torch.dtype, device: torch.device, offset: int = 0
    ) -> None:
        size, stride = tuple(size), tuple(stride)
        self.start = _GUARD + offset
        self.stop = self.start + _extent(size, stride)
        self.buffer = torch.empty(self.stop + _GUARD, dtype=dtype, device=device)
        bits(self.buffer).fill_(sentinel(dtype))
        # Not as_strided: the tensor must be no view in autograd's eyes.
        storage = self.buffer.untyped_storage()
        self.tensor = torch.empty(0, dtype=dtype, device=device).set_(storage, self.start, size, stride)

    def broken_guard(self) -> str:
        """Where elements outside of the tensor were written, or nothing."""
        for outside, shift, where in (
            (self.buffer[: self.start], -self.start, "before its start"),
            (self.buffer[self.stop :], 1, "after its end"),
        ):
            written = (bits(outside) != sentinel(outside.dtype)).nonzero()
            if len(written):
                nearest = written[-1 if shift < 0 else 0].item() + shift
                return f"{len(written)} elements {where} were written, the nearest {abs(int(nearest))} away"
        return ""


class Placed(Guarded):
    """Given values in guarded memory, in a layout; knows whether anything of it was changed."""

    def __init__(self, values: Tensor, layout: str, device: torch.device) -> None:
        size = tuple(values.shape)
        stride, offset = _strides(size, layout)
        super().__init__(size, stride, values.dtype, device, offset)
        self._stored = tuple(1 if step == 0 and n else n for n, step in zip(size, stride, strict=True))
        self._values = values[tuple(slice(n) for n in self._stored)].to(device)
        self.restore()
        self._before = bits(self.buffer).clone()

    def restore(self) -> None:
        """Writes the given values again."""
        with torch.no_grad():
            torch.as_strided(self.tensor.detach(), self._stored, self.tensor.stride()).copy_(self._values)

    def damage(self, *, written: bool) -> str:
        """What was changed that should not have been, or nothing; `written`: its own elements may be."""
        found = self.broken_guard()
        if found:
            return found
        if written:
            self.restore()
        changed = int((bits(self.buffer) != self._before).sum())
        return f"{changed} elements {'between its own were written' if written else 'were changed'}" if changed else ""


def _extent(size: tuple[int, ...], stride: tuple[int, ...]) -> int:
    return 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if prod(size) else 0


def _row_major(size: Iterable[int]) -> list[int]:
    steps, step = [], 1
    for n in reversed(tuple(size)):
        steps.append(step)
        step *= max(n, 1)
    return steps[::-1]


def _strides(size: tuple[int, ...], layout: str) -> tuple[list[int], int]:
    """Strides and storage offset of a layout; one that does not apply to the rank is contiguous."""
    if layout == "transposed":
        return _row_major(size[::-1])[::-1], 0
    if layout == "sliced":
        return [2 * step for step in _row_major(2 * n for n in size)], 0
    if layout == "expanded" and size:
        return [0, *_row_major(size)[1:]], 0
    if layout == "constant":
        return [0] * len(size), 0
    if layout == "channels_last" and len(size) == 4:
        n, h, w, c = _row_major((size[0], size[2], size[3], size[1]))
        return [n, c, h, w], 0
    return _row_major(size), int(layout == "offset")


_EMPTY = {"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided"}
_FILLED = {"zeros", "zeros_like", "new_zeros", "ones", "ones_like", "new_ones", "full", "full_like", "new_full"}


class Poison(TorchDispatchMode):
    """While it is entered, torch.empty and its kin give sentinels, and every allocation stands between guards.

    Holds for backward too: the autograd engine carries the mode into its threads. (A TorchFunctionMode is suspended
    inside of torch.autograd.grad.)
    """

    def __init__(self) -> None:
        super().__init__()
        self.allocated: list[Guarded] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Spares the import of torch's compiler, which takes seconds; nothing here is ever compiled."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name not in _EMPTY and name not in _FILLED:
            return made
        if made.device.type == "meta" or made.layout is not torch.strided:
            return made
        guarded = Guarded(made.shape, made.stride(), made.dtype, made.device)
        if name in _FILLED:
            guarded.tensor.copy_(made)
        self.allocated.append(guarded)
        return guarded.tensor

    def broken_guard(self) -> str:
        """Which allocation was written outside of its bounds, and where, or nothing."""
        for guarded in self.allocated:
            found = guarded.broken_guard()
            if found:
                dtype = dtype_name(guarded.tensor.dtype)
                return f"a fresh {dtype} tensor {tuple(guarded.tensor.shape)}: {found}"
        return ""
