"""Tensors as rows along one of their dimensions, and how the programs of a kernel walk them.

A program has a block of rows whose starts lie one stride apart; over two more dimensions the rows are counted:
    kernel(*pointers, R, C, n2, *(strides of each tensor: along a row, from row to row, over n2, over n3), ...)
in a grid of cdiv(R, BLOCK_R) * n2 * n3 programs. As the offsets in a program are affine, whole tiles are moved.
"""

import functools
import itertools
from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from ._strides import merge

_FEW = 16


@dataclass(frozen=True)
class Walk:
    """One launch: R rows over n2 x n3, and for each tensor its first element and three strides."""

    R: int
    n2: int
    n3: int
    starts: tuple[int, ...]
    strides: tuple[tuple[int, int, int], ...]

    def programs(self, BLOCK_R: int) -> int:
        return triton.cdiv(self.R, BLOCK_R) * self.n2 * self.n3


@functools.lru_cache(4096)
def walks(shape: tuple[int, ...], *strides: tuple[int, ...]) -> tuple[Walk, ...]:
    """The launches over the rows of tensors, from the sizes that count the rows and each tensor's strides over them.

    Neighbours in the first tensor's memory become neighbouring rows, unless there are few. Shapes that do not merge
    into three dimensions take a launch for each index of the outer ones.
    """
    order = sorted(range(len(shape)), key=lambda dim: -strides[0][dim])
    sizes, merged = merge([shape[dim] for dim in order], *([s[dim] for dim in order] for s in strides))
    columns = list(zip(sizes, *merged, strict=True)) or [(1, *(0 for _ in strides))]
    if columns[-1][0] < _FEW:
        columns.append(columns.pop(max(range(len(columns)), key=lambda at: columns[at][0])))
    *outer, (n3, *s3), (n2, *s2), (R, *s1) = [(1, *(0 for _ in strides))] * (3 - len(columns)) + columns
    found = []
    for index in itertools.product(*(range(size) for size, *_ in outer)):
        starts = tuple(
            sum(i * column[1 + k] for i, column in zip(index, outer, strict=True)) for k in range(len(strides))
        )
        found.append(Walk(R, n2, n3, starts, tuple(zip(s1, s2, s3, strict=True))))
    return tuple(found)


def at(x: Tensor, start: int) -> Tensor:
    """`x` from an element on, as a kernel sees it: its address."""
    return x if start == 0 else x.as_strided((1,), (1,), x.storage_offset() + start)


@triton.jit
def row_start(R, n2, s2, s3, BLOCK_R: tl.constexpr):
    """Where the rows of a program are counted from."""
    outer = (tl.program_id(0) // tl.cdiv(R, BLOCK_R)).to(tl.int64)
    return outer % n2 * s2 + outer // n2 * s3
