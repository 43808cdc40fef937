"""Dense tensors of more than 2^31 elements in a few pages of memory: for kernels that take a tensor without gaps."""

import ctypes
import mmap
import os
import sys
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tests.kernels.examples import DEVICE

BEYOND = 1 << 31
TAIL = 8001
"""How many elements at the end of a tensor are looked at."""
COUNT = TAIL * (BEYOND // TAIL + 2)
"""The size of a wide tensor: rows of TAIL elements, the last of which begins beyond the 2^31st."""

WHY_NOT = "" if DEVICE.type != "cpu" or sys.platform == "linux" else "needs Linux: one block of memory is mapped often"

_BLOCK = 4 << 20
_WIDEST = 2
_SIZE = BEYOND * _WIDEST + _BLOCK
_OWN = 2 * _BLOCK
_MAP_FIXED, _MAP_NORESERVE = 0x10, 0x4000


def _mapped() -> Tensor:
    """Bytes of which all but the last 8 MiB are one block over and over; the pages before them exist, and are zeros.

    So an offset that has lost its upper bits reads and writes something else and not nowhere.
    """
    memory = mmap.mmap(-1, 2 * _SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    block = os.memfd_create("wide")
    try:
        os.truncate(block, _BLOCK)
        # Faults one by one would take several times as long.
        flags = mmap.MAP_SHARED | mmap.MAP_POPULATE | _MAP_FIXED
        for at in range(start + _SIZE, start + 2 * _SIZE - _OWN, _BLOCK):
            if libc.mmap(at, _BLOCK, mmap.PROT_READ | mmap.PROT_WRITE, flags, block, 0) != at:
                raise OSError(ctypes.get_errno(), "mmap")
    finally:
        os.close(block)
    return torch.frombuffer(memory, dtype=torch.uint8, offset=_SIZE)


class WideMemory(TorchFunctionMode):
    """Where torch.empty and its like make a tensor of COUNT elements, all but the end of it is the same few pages.

    It is zeros at first, and an element takes no more than two bytes. On a GPU it is a tensor like any other.

    Args:
        pool: what has been mapped before; mapping takes longer than clearing.
    """

    def __init__(self, pool: list[Tensor]) -> None:
        self._pool, self._taken = pool, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in (torch.empty, torch.empty_like, Tensor.new_empty):
            return func(*args, **kwargs)
        made = func(*args, **{**kwargs, "device": "meta"})
        if made.numel() != COUNT:
            return func(*args, **kwargs)
        if DEVICE.type != "cpu":
            return func(*args, **kwargs).zero_()
        return self._take(made.numel() * made.itemsize).view(made.dtype).as_strided(made.shape, made.stride())

    def _take(self, size: int) -> Tensor:
        """So many bytes from an address of whole 16 on, with those at the end of their own."""
        if self._taken == len(self._pool):
            self._pool.append(_mapped())
        memory = self._pool[self._taken]
        self._taken += 1
        memory[:_BLOCK] = 0
        memory[-_OWN:] = 0
        start = (len(memory) - size) // 16 * 16
        return memory[start : start + size]
