"""y[n] = sum of x[..., n] over all leading dimensions, in two deterministic stages."""

import functools
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import _tune
from ._activations import activation_named
from ._errors import DtypeError, ShapeError, dtype_name
from ._launch import launch
from ._op import FLOATS, op
from ._strides import merge
from ._tile import block_offsets, fitting, needs_int64, wide_dtype


@dataclass(frozen=True)
class Tile:
    """How one launch cuts [M, N]; a program sums ROWS rows (or what is left of them) of BLOCK_N columns.

    AXIS: 0 where neighbours in memory are neighbours in a row, 1 where they are in a column.
    """

    BLOCK_M: int
    BLOCK_N: int
    ROWS: int
    AXIS: int
    num_warps: int = 4


# BLOCK_M and BLOCK_N for each kind of device and AXIS.
_TILES = {("cpu", 0): (4, 1024), ("cpu", 1): (32, 8), ("gpu", 0): (32, 128), ("gpu", 1): (128, 32)}
# On a GPU, in float64, a quarter of the rows: half for the bytes of the sums, half for those of what is summed.
_FEWER_IN_FLOAT64 = {"cpu": 1, "gpu": 4}
_PROGRAMS = 16
_SHORTEST, _LONGEST = 128, 1024


def pick_tile(M: int, N: int, Z: int, axis: int, dtype: torch.dtype, target: _tune.Target) -> Tile:
    """The tile for the sums over M rows of N columns, Z times over.

    Rows are parted until there are programs enough for 16 units, which does not depend on how many there are, so that
    the sums come out the same on any number of threads; a part is at most 1024 rows, which keeps rounding errors small.
    """
    if found := _tune.measured("column_sum", target, dtype, (M, N, Z), f"axis {axis}"):
        return Tile(**found)
    block_m, block_n = _TILES[target.kind, axis]
    if dtype == torch.float64:
        block_m //= _FEWER_IN_FLOAT64[target.kind]
    block_m, block_n = fitting(M, block_m, target.kind), fitting(N, block_n, target.kind)
    programs = Z * triton.cdiv(N, block_n)
    parts = max(1, triton.cdiv(_PROGRAMS, max(programs, 1)))
    rows = min(max(triton.next_power_of_2(triton.cdiv(M, parts)), _SHORTEST), _LONGEST)
    return Tile(block_m, block_n, rows, axis)


@triton.jit(do_not_specialize=["parts", "bias_N"])
def _column_sum_kernel(
    x_ptr, bias_ptr, y_ptr, pre_ptr,
    M, N, parts, bias_N,
    stride_xz, stride_xm, stride_xn, stride_bias,
    ACT: tl.constexpr, INT64: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, ROWS: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    blocks_n = tl.cdiv(N, BLOCK_N)
    part = tl.program_id(0) // blocks_n
    offs_n = block_offsets(tl.program_id(0) % blocks_n, BLOCK_N, INT64)
    x_ptr += tl.cast(part // parts, tl.int64) * stride_xz
    first = (part % parts) * ROWS

    ACC: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    # The tile lies as its elements do in memory: rows along axis 0 or along axis 1.
    cols = tl.expand_dims(offs_n, AXIS)
    acc = tl.zeros((BLOCK_N, BLOCK_M) if AXIS else (BLOCK_M, BLOCK_N), ACC)
    for start in range(first, tl.minimum(first + ROWS, M), BLOCK_M):
        rows = tl.expand_dims(start + block_offsets(0, BLOCK_M, INT64), 1 - AXIS)
        acc += tl.load(x_ptr + rows * stride_xm + cols * stride_xn, mask=(rows < M) & (cols < N), other=0.0).to(ACC)
    y = tl.sum(acc, axis=AXIS)

    if bias_ptr is not None:
        y += tl.load(bias_ptr + (offs_n % bias_N).to(tl.int64) * stride_bias, mask=offs_n < N, other=0.0).to(ACC)
    y_offs = tl.cast(part, tl.int64) * N + offs_n
    if pre_ptr is not None:
        tl.store(pre_ptr + y_offs, y.to(pre_ptr.dtype.element_ty), mask=offs_n < N)
    if ACT is not None:
        y = ACT(y)
    tl.store(y_ptr + y_offs, y.to(y_ptr.dtype.element_ty), mask=offs_n < N)


def column_sum_reference(x: Tensor, *, out_dtype: torch.dtype | None = None) -> Tensor:
    _check(x)
    return x.to(wide_dtype(x.dtype)).sum(dim=tuple(range(x.ndim - 1))).to(out_dtype or x.dtype)


@op(reference=column_sum_reference, flops=lambda x, **_: x.numel())
def column_sum(x: Tensor, *, out_dtype: torch.dtype | None = None) -> Tensor:
    """y[n] = sum of x[..., n] over all leading dimensions.

    Every program sums a part of the rows in float32 (float64 for float64), further launches sum the parts: no atomics,
    and the same bits in every run and on any number of threads.

    Args:
        x: [..., N] with at least two dimensions, float32/float16/bfloat16/float64, any strides.
        out_dtype: of the result; x's by default.

    Returns: [N]; zeros for no rows.
    Raises: ShapeError for fewer than two dimensions, DtypeError for another dtype.
    """
    _check(x)
    y = x.new_empty(x.shape[-1], dtype=out_dtype or x.dtype)
    sum_into(y, x)
    return y


def sum_parts(
    parts: Tensor, y: Tensor, bias: Tensor | None = None, activation: str = "none", pre: Tensor | None = None
) -> None:
    """y[z] = act(sum over s of parts[z, s] + bias), bias repeated along the columns: the second stage of a split sum.

    Args:
        parts: [Z, S, N], contiguous, at least one part.
        y: [Z, N], contiguous, written.
        bias: [B] with N a multiple of B, any stride.
        pre: as y, written with what act is applied to.
    """
    Z, S, N = parts.shape
    bias_size, bias_stride = (0, 0) if bias is None else (bias.shape[0], bias.stride(0))
    stage = _stage(Z, S, N, (S * N, N, 1), parts.dtype, parts.device, S, bias_size, bias_stride, activation)
    stage.run(parts, bias, y, pre)


@dataclass(frozen=True)
class _Stage:
    """One launch of a sum: `rows` sums of N columns."""

    rows: int
    grid: tuple[int]
    integers: tuple[int, ...]
    constexprs: dict[str, Any]

    def run(self, x: Tensor, bias: Tensor | None, y: Tensor, pre: Tensor | None = None) -> None:
        launch(_column_sum_kernel, self.grid, x, bias, y, pre, *self.integers, **self.constexprs)


def sum_into(y: Tensor, x: Tensor) -> None:
    """y[n] = sum of x[..., n] over all leading dimensions, written."""
    stages = _stages(x.shape, x.stride(), x.dtype, x.device)
    if not stages:
        sums = x.new_empty((x.shape[0], x.shape[-1]), dtype=wide_dtype(x.dtype))
        for i in range(x.shape[0]):
            sum_into(sums[i], x[i])
        return sum_into(y, sums)
    for stage in stages:
        into = y if stage.rows == 1 else x.new_empty((stage.rows, x.shape[-1]), dtype=wide_dtype(x.dtype))
        stage.run(x, None, into)
        x = into


@functools.lru_cache(4096)
def _stages(shape: torch.Size, stride: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> list[_Stage]:
    """The launches of a sum; none where no two strides walk its rows, so that each index of the first dimension is
    summed by itself."""
    sizes, (strides,) = merge(shape[:-1], stride[:-1])
    if len(sizes) > 2:
        return []
    (Z, M), (stride_xz, stride_xm) = [1, 1, *sizes][-2:], [0, 0, *strides][-2:]
    if Z == 0 or M == 0:
        Z, M = 1, 0
    N = shape[-1]
    stages = [_stage(Z, M, N, (stride_xz, stride_xm, stride[-1]), dtype, device)]
    while (rows := stages[-1].rows) > 1:
        stages.append(_stage(1, rows, N, (0, N, 1), wide_dtype(dtype), device))
    return stages


@functools.lru_cache(4096)
def _stage(
    Z: int,
    M: int,
    N: int,
    strides: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device,
    rows: int | None = None,
    bias_size: int = 0,
    bias_stride: int = 0,
    activation: str = "none",
) -> _Stage:
    """Sums of `rows` rows each (by default what the tile says) of Z times M rows of N columns."""
    axis = int(strides[1] == 1 and strides[2] > 1)
    tile = pick_tile(M, N, Z, axis, dtype, _tune.target(device))
    if rows is not None:
        tile = replace(tile, ROWS=triton.next_power_of_2(rows))
    parts = max(1, triton.cdiv(M, tile.ROWS))
    return _Stage(
        rows=Z * parts,
        grid=(Z * parts * triton.cdiv(N, tile.BLOCK_N),),
        integers=(M, N, parts, bias_size, *strides, bias_stride),
        constexprs={
            "ACT": activation_named("column_sum", activation).formula,
            "INT64": needs_int64((M, N), strides[1:]),
            **asdict(tile),
        },
    )


def _check(x: Tensor) -> None:
    if x.ndim < 2:
        raise ShapeError(f"column_sum: x is {tuple(x.shape)}; it needs rows and columns, [..., N]")
    if x.dtype not in FLOATS:
        raise DtypeError(f"column_sum: x is {dtype_name(x.dtype)}; it takes floating-point tensors")
