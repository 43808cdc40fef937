"""What several kernels use: Triton's dtypes, the order of programs, offsets, and when offsets take 64 bits."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

TL_DTYPES = {
    torch.float32: tl.float32,
    torch.float16: tl.float16,
    torch.bfloat16: tl.bfloat16,
    torch.float64: tl.float64,
}
"""Triton's name of each dtype that kernels compute in."""


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """What sums of `dtype` are kept in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


_STEPS = {"cpu": 4, "gpu": 2}


def fitting(n: int, most: int, kind: str) -> int:
    """The block for `n` elements, at most `most`: on a GPU the next power of two, on a CPU of four.

    A CPU walks no lanes beyond the edges, so that fewer blocks, which is fewer kernels to compile, serve all sizes.
    """
    block = 1
    while block < min(n, most):
        block *= _STEPS[kind]
    return min(block, most)


@triton.jit
def grouped_pid(pid, tiles_m, tiles_n, GROUP_M: tl.constexpr):
    """(pid_m, pid_n) of tile `pid`: in groups of GROUP_M rows of tiles, whose operands stay in the cache."""
    group = pid // (GROUP_M * tiles_n)
    first_m = group * GROUP_M
    rows = tl.minimum(tiles_m - first_m, GROUP_M)
    within = pid % (GROUP_M * tiles_n)
    return first_m + within % rows, within // rows


@triton.jit
def widened(index, INT64: tl.constexpr):
    """An index of its own, in 64 bits where its product with a stride can pass 2^31."""
    if INT64:
        index = tl.cast(index, tl.int64)
    return index


@triton.jit
def block_offsets(pid, BLOCK: tl.constexpr, INT64: tl.constexpr):
    """The indices of block `pid`; in 64 bits where their product with a stride can pass 2^31."""
    return widened(pid, INT64) * BLOCK + tl.arange(0, BLOCK)


_LARGEST_BLOCK = 1024


def needs_int64(sizes: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether an offset into a tensor can pass 2^31 in a kernel, the lanes of a last block beyond the edge included."""
    return sum((size + _LARGEST_BLOCK) * stride for size, stride in zip(sizes, strides, strict=True)) >= 1 << 31
