"""relu and its gradient, element by element."""

import functools
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._errors import DtypeError, ShapeError
from ._launch import launch
from ._op import op
from ._strides import check_distinct, launch_rows, row_offsets, rows_and_cols
from ._tune import Target, target


@dataclass(frozen=True)
class Tile:
    BLOCK: int
    num_warps: int


_TILES = {"cpu": Tile(4096, 4), "gpu": Tile(1024, 4)}


@functools.cache
def pick_tile(target: Target) -> Tile:
    """One tile a kind of device: the kernels only move memory."""
    return _TILES[target.kind]


@triton.jit
def _zero_where_not_positive(value, y):
    # Not `y > 0`: a NaN stays one, and its gradient goes through, as in torch.
    return tl.where(y <= 0, 0.0, value).to(value.dtype)


@triton.jit
def _relu_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    offs = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offs, mask=offs < n, other=0.0)
    tl.store(y_ptr + offs, _zero_where_not_positive(x, x), mask=offs < n)


@triton.jit
def _relu_rows_kernel(
    x_ptr, y_ptr, R, n0, n1, n2, sx0, sx1, sx2, sx3, sy0, sy1, sy2, sy3, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr
):
    rows, cols, mask = rows_and_cols(R, n0, BLOCK_R, BLOCK_C)
    x = tl.load(x_ptr + row_offsets(rows, n1, n2, sx1, sx2, sx3) + cols * sx0, mask=mask, other=0.0)
    y_ptrs = y_ptr + row_offsets(rows, n1, n2, sy1, sy2, sy3) + cols * sy0
    tl.store(y_ptrs, _zero_where_not_positive(x, x), mask=mask)


@triton.jit
def _relu_backward_kernel(dy_ptr, y_ptr, dx_ptr, n, BLOCK: tl.constexpr):
    offs = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    dy = tl.load(dy_ptr + offs, mask=offs < n, other=0.0)
    y = tl.load(y_ptr + offs, mask=offs < n, other=0.0)
    tl.store(dx_ptr + offs, _zero_where_not_positive(dy, y), mask=offs < n)


@triton.jit
def _relu_backward_rows_kernel(
    dy_ptr, y_ptr, dx_ptr, R, n0, n1, n2,
    sdy0, sdy1, sdy2, sdy3, sy0, sy1, sy2, sy3, sdx0, sdx1, sdx2, sdx3,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    rows, cols, mask = rows_and_cols(R, n0, BLOCK_R, BLOCK_C)
    dy = tl.load(dy_ptr + row_offsets(rows, n1, n2, sdy1, sdy2, sdy3) + cols * sdy0, mask=mask, other=0.0)
    y = tl.load(y_ptr + row_offsets(rows, n1, n2, sy1, sy2, sy3) + cols * sy0, mask=mask, other=0.0)
    dx_ptrs = dx_ptr + row_offsets(rows, n1, n2, sdx1, sdx2, sdx3) + cols * sdx0
    tl.store(dx_ptrs, _zero_where_not_positive(dy, y), mask=mask)


def relu_reference(x: Tensor) -> Tensor:
    return torch.where(x <= 0, torch.zeros_like(x), x)


def relu_inplace_reference(x: Tensor) -> Tensor:
    return x.copy_(relu_reference(x))


def relu_backward_reference(dy: Tensor, y: Tensor) -> Tensor:
    _check_gradient(dy, y)
    return torch.where(y <= 0, torch.zeros_like(y), dy)


@op(reference=relu_reference, flops=lambda x: x.numel())
def relu(x: Tensor) -> Tensor:
    """y = max(x, 0); NaN stays NaN.

    Args:
        x: any shape and strides.

    Returns: a fresh tensor, laid out in memory as `torch.empty_like(x)`.
    """
    y = torch.empty_like(x)
    _relu_into(x, y)
    return y


@op(reference=relu_inplace_reference, inplace=("x",), flops=lambda x: x.numel())
def relu_(x: Tensor) -> Tensor:
    """x = max(x, 0) in place; returns `x`. NaN stays NaN.

    Args:
        x: any shape and strides that give each element a place of its own.

    Raises: ShapeError where several elements of `x` share memory (an expanded tensor).
    """
    check_distinct("relu_", x)
    _relu_into(x, x)
    return x


@op(reference=relu_backward_reference, flops=lambda dy, y: y.numel())
def relu_backward(dy: Tensor, y: Tensor) -> Tensor:
    """dx = dy where y > 0 (or y is NaN), else 0.

    Args:
        dy: the gradient of `y`, of its shape and dtype, any strides.
        y: what relu returned, any strides.

    Returns: a fresh tensor, laid out in memory as `torch.empty_like(y)`.

    Raises: ShapeError for shapes that differ, DtypeError for dtypes that do.
    """
    _check_gradient(dy, y)
    dx = torch.empty_like(y)
    if dy.stride() == y.stride() == dx.stride():
        tile = pick_tile(target(y.device))
        launch(_relu_backward_kernel, (triton.cdiv(y.numel(), tile.BLOCK),), dy, y, dx, y.numel(), **vars(tile))
    else:
        launch_rows(_relu_backward_rows_kernel, (dy, y, dx))
    return dx


def _check_gradient(dy: Tensor, y: Tensor) -> None:
    if dy.shape != y.shape:
        raise ShapeError(f"relu_backward: dy is {tuple(dy.shape)} and y is {tuple(y.shape)}")
    if dy.dtype != y.dtype:
        raise DtypeError(f"relu_backward: dy is {dy.dtype} and y is {y.dtype}; they must have one dtype")


def _relu_into(x: Tensor, y: Tensor) -> None:
    if x.stride() == y.stride() and (x.is_contiguous() or y is not x):
        tile = pick_tile(target(x.device))
        launch(_relu_kernel, (triton.cdiv(x.numel(), tile.BLOCK),), x, y, x.numel(), **vars(tile))
    else:
        launch_rows(_relu_rows_kernel, (x, y))
