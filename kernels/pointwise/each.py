"""y = FORMULA(a, b, c, p, q) element by element: the two kernels that every formula runs in, and their launch.

Operands b and c and the scalars p and q are there if the formula takes them. Values are computed in float32 (float64
for float64 results, wide integers as they are) and rounded once.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._launch import Run, launch
from .._rows import walks
from .._strides import memory_order, merge
from .._tile import block_offsets, fitting, needs_int64
from .._tune import Target, target


@dataclass(frozen=True)
class Tile:
    BLOCK: int
    num_warps: int


@dataclass(frozen=True)
class RowsTile:
    BLOCK_R: int
    BLOCK_C: int
    num_warps: int


_BLOCKS = {"cpu": (16384, 16384), "gpu": (1024, 512)}
"""Elements of a tile, and of one in float64, which takes twice the registers on a GPU."""


@functools.cache
def pick_tile(dtype: torch.dtype, target: Target) -> Tile:
    """One tile a kind of device and dtype of y: most kernels move memory more than they compute."""
    return Tile(_BLOCKS[target.kind][dtype == torch.float64], 4)


@functools.cache
def pick_rows_tile(R: int, C: int, dtype: torch.dtype, target: Target) -> RowsTile:
    """No more elements than that, wide enough for a whole row where rows are short."""
    elements = _BLOCKS[target.kind][dtype == torch.float64]
    block_c = fitting(C, elements, target.kind)
    return RowsTile(fitting(R, elements // block_c, target.kind), block_c, 4)


@dataclass
class Planned:
    """One launch of a kernel (y, a, b, c, *integers, p, q) and what a repeated one calls."""

    kernel: Any
    starts: tuple[int, ...]
    programs: int
    integers: tuple[int | None, ...]
    constants: dict[str, Any]
    run: Run | None = None

    def __call__(self, formula: Any, tensors: Sequence[Tensor], scalars: Sequence[float]) -> None:
        rest = (*_NONE[len(tensors)], *self.integers, *scalars, *_ZERO[len(scalars)])
        pointers, bits = [], 0
        for tensor, start in zip(tensors, self.starts, strict=True):
            pointer = tensor.data_ptr()
            if start:
                pointer += start * tensor.itemsize
            pointers.append(pointer)
            bits |= pointer
        # A plan is good for pointers that are aligned alike.
        if self.run is not None and bits & 15 == 0:
            self.run(self.programs, 1, 1, [*pointers, *rest], (*tensors, *rest))
            return
        shifted = [_at(tensor, start) for tensor, start in zip(tensors, self.starts, strict=True)]
        numbers = {"OPERANDS": len(tensors) - 1, "SCALARS": len(scalars)}
        run = launch(self.kernel, (self.programs,), *shifted, *rest, FORMULA=formula, **numbers, **self.constants)
        if bits & 15 == 0:
            self.run = run


_NONE = [(None,) * (4 - count) for count in range(5)]
_ZERO = [(0.0,) * (2 - count) for count in range(3)]
_PLANS: dict[Any, list[Planned]] = {}
_MOST_PLANS = 4096


def run_planned(
    key: tuple[Any, ...],
    plan: Callable[..., list[Planned]],
    formula: Any,
    tensors: Sequence[Tensor],
    scalars: Sequence[float],
) -> None:
    """Launches what plan(*tensors) says; planned once for tensors of the same key."""
    launches = _PLANS.get(key)
    if launches is None:
        launches = plan(*tensors)
    for one in launches:
        one(formula, tensors, scalars)
    if key not in _PLANS and all(one.run is not None for one in launches):
        _PLANS[key] = launches
        if len(_PLANS) > _MOST_PLANS:
            del _PLANS[next(iter(_PLANS))]


def _at(x: Tensor, start: int) -> Tensor:
    """`x` from an element on, as a kernel sees it: its address."""
    return x if start == 0 else x.as_strided((1,), (1,), x.storage_offset() + start)


@triton.jit
def evaluate(FORMULA: tl.constexpr, OPERANDS: tl.constexpr, SCALARS: tl.constexpr, DTYPE: tl.constexpr, a, b, c, p, q):
    """FORMULA of the first OPERANDS of a, b, c and the first SCALARS of p, q, all in DTYPE."""
    values = (a.to(DTYPE), b.to(DTYPE), c.to(DTYPE))
    scalars = (tl.cast(p, DTYPE), tl.cast(q, DTYPE))
    return FORMULA(*values[:OPERANDS], *scalars[:SCALARS])


@triton.jit
def load_tile(ptr, offs_m, offs_n, M, N, stride_m, stride_n):
    """A tile [BLOCK_M, BLOCK_N], or less of it where a stride is None, along which all elements are the same."""
    if stride_m is None and stride_n is None:
        return tl.load(ptr)
    elif stride_m is None:
        return tl.load(ptr + offs_n * stride_n, mask=offs_n < N, other=0)
    elif stride_n is None:
        return tl.load(ptr + offs_m * stride_m, mask=offs_m < M, other=0)
    else:
        return tl.load(ptr + offs_m * stride_m + offs_n * stride_n, mask=(offs_m < M) & (offs_n < N), other=0)


@triton.jit
def _flat_kernel(
    y_ptr, a_ptr, b_ptr, c_ptr, n, p: "fp64", q: "fp64",
    FORMULA: tl.constexpr, OPERANDS: tl.constexpr, SCALARS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    offs = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offs < n
    a = tl.load(a_ptr + offs, mask=mask, other=0)
    b = tl.load(b_ptr + offs, mask=mask, other=0) if OPERANDS > 1 else a
    c = tl.load(c_ptr + offs, mask=mask, other=0) if OPERANDS > 2 else a
    DTYPE: tl.constexpr = tl.float32 if y_ptr.dtype.element_ty.primitive_bitwidth < 32 else y_ptr.dtype.element_ty
    tl.store(y_ptr + offs, evaluate(FORMULA, OPERANDS, SCALARS, DTYPE, a, b, c, p, q), mask=mask)


@triton.jit
def _rows_kernel(
    y_ptr, a_ptr, b_ptr, c_ptr, R, C, n2,
    sy0, sy1, sy2, sy3, sa0, sa1, sa2, sa3, sb0, sb1, sb2, sb3, sc0, sc1, sc2, sc3, p: "fp64", q: "fp64",
    FORMULA: tl.constexpr, OPERANDS: tl.constexpr, SCALARS: tl.constexpr,
    INT64: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    # One program: a tile of rows and columns at one of n2 x n3 places.
    blocks_r, blocks_c = tl.cdiv(R, BLOCK_R), tl.cdiv(C, BLOCK_C)
    cols = block_offsets(tl.program_id(0) % blocks_c, BLOCK_C, INT64)[None, :]
    rows = block_offsets(tl.program_id(0) // blocks_c % blocks_r, BLOCK_R, INT64)[:, None]
    place = (tl.program_id(0) // blocks_c // blocks_r).to(tl.int64)
    i2, i3 = place % n2, place // n2
    a = load_tile(a_ptr + i2 * sa2 + i3 * sa3, rows, cols, R, C, sa1, sa0)
    b = load_tile(b_ptr + i2 * sb2 + i3 * sb3, rows, cols, R, C, sb1, sb0) if OPERANDS > 1 else a
    c = load_tile(c_ptr + i2 * sc2 + i3 * sc3, rows, cols, R, C, sc1, sc0) if OPERANDS > 2 else a
    DTYPE: tl.constexpr = tl.float32 if y_ptr.dtype.element_ty.primitive_bitwidth < 32 else y_ptr.dtype.element_ty
    y = evaluate(FORMULA, OPERANDS, SCALARS, DTYPE, a, b, c, p, q)
    tl.store(y_ptr + i2 * sy2 + i3 * sy3 + rows * sy1 + cols * sy0, y, mask=(rows < R) & (cols < C))


def apply(formula: Any, y: Tensor, operands: Sequence[Tensor], scalars: Sequence[float] = ()) -> None:
    """y = formula(*operands, *scalars), where all tensors have y's shape; y may be an operand."""
    key = [formula.fn, y.dtype, y.device]
    flat = y.is_contiguous()
    for operand in operands:
        key.append(operand.dtype)
        flat = flat and operand.is_contiguous()
    if flat:
        key.append(y.numel())
    else:
        key += (y.shape, y.stride(), *[operand.stride() for operand in operands])
    run_planned(tuple(key), _flat_launches if flat else _strided_launches, formula, (y, *operands), scalars)


def _flat_launches(y: Tensor, *operands: Tensor) -> list[Planned]:
    tile = pick_tile(y.dtype, target(y.device))
    programs = triton.cdiv(y.numel(), tile.BLOCK)
    return [Planned(_flat_kernel, (0,) * (1 + len(operands)), programs, (y.numel(),), vars(tile))]


def _strided_launches(y: Tensor, *operands: Tensor) -> list[Planned]:
    """Columns run along what lies closest together in y, rows along the next."""
    if y.numel() == 0:
        return []
    given = [tensor.stride() for tensor in (y, *operands)]
    missing = [(0,) * y.dim()] * (4 - len(given))
    order = memory_order(y)
    sizes, merged = merge([y.shape[dim] for dim in order], *([one[dim] for dim in order] for one in (*given, *missing)))
    *over, C = sizes or [1]
    along = [one[-1] if one else 0 for one in merged]
    planned = []
    for walk in walks(tuple(over), *(tuple(one[:-1]) for one in merged)):
        tile = pick_rows_tile(walk.R, C, y.dtype, target(y.device))
        integers: list[int | None] = [walk.R, C, walk.n2]
        far = False
        for number, (s0, (s1, s2, s3)) in enumerate(zip(along, walk.strides, strict=True)):
            integers += [s0, s1, s2, s3] if number == 0 else [s0 or None, s1 or None, s2, s3]
            far |= needs_int64((walk.R, C), (s1, s0))
        programs = walk.programs(tile.BLOCK_R) * triton.cdiv(C, tile.BLOCK_C)
        constants = {"INT64": far, **asdict(tile)}
        planned.append(Planned(_rows_kernel, walk.starts[: len(given)], programs, tuple(integers), constants))
    return planned
