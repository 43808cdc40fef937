"""softmax, log_softmax and softmin along any dimension, with gradients of two orders."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._errors import DtypeError, ShapeError, dtype_name
from ._launch import launch
from ._op import FLOATS, op
from ._rows import add_to_sum_of_exp, columns, first_row, launches, row_block
from ._tile import wide_dtype


@triton.jit
def _load(ptrs, mask, dtype: tl.constexpr, NEGATE: tl.constexpr):
    """Values as rounded to `dtype`."""
    x = tl.load(ptrs, mask=mask, other=0.0).to(dtype)
    x = x.to(tl.float64 if dtype == tl.float64 else tl.float32)
    return -x if NEGATE else x


@triton.jit
def _softmax_kernel(
    y_ptr, x_ptr, R, C, n2, syc, sy1, sy2, sy3, sxc, sx1, sx2, sx3,
    LOG: tl.constexpr, NEGATE: tl.constexpr, INT64: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, WHOLE: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    dtype: tl.constexpr = y_ptr.dtype.element_ty
    rows = tl.expand_dims(row_block(R, BLOCK_R, INT64), AXIS)
    x_rows = x_ptr + first_row(R, n2, sx2, sx3, BLOCK_R) + rows * sx1
    y_rows = y_ptr + first_row(R, n2, sy2, sy3, BLOCK_R) + rows * sy1
    if WHOLE:
        cols = columns(0, BLOCK_C, AXIS, INT64)
        mask = (rows < R) & (cols < C)
        x = _load(x_rows + cols * sxc, mask, dtype, NEGATE)
        x -= tl.expand_dims(tl.max(tl.where(cols < C, x, float("-inf")), AXIS), AXIS)
        e = tl.where(cols < C, tl.exp(x), 0.0)
        total = tl.expand_dims(tl.sum(e, AXIS), AXIS)
        tl.store(y_rows + cols * syc, x - tl.log(total) if LOG else e * (1.0 / total), mask=mask)
    else:
        acc: tl.constexpr = tl.float64 if dtype == tl.float64 else tl.float32
        high = tl.full((BLOCK_R,), float("-inf"), acc)
        total = tl.zeros((BLOCK_R,), acc)
        for start in range(0, C, BLOCK_C):
            cols = columns(start, BLOCK_C, AXIS, INT64)
            x = _load(x_rows + cols * sxc, (rows < R) & (cols < C), dtype, NEGATE)
            high, total = add_to_sum_of_exp(high, total, x, cols < C, AXIS)
        high = tl.expand_dims(high, AXIS)
        total = tl.expand_dims(tl.log(total) if LOG else 1.0 / total, AXIS)
        for start in range(0, C, BLOCK_C):
            cols = columns(start, BLOCK_C, AXIS, INT64)
            mask = (rows < R) & (cols < C)
            x = _load(x_rows + cols * sxc, mask, dtype, NEGATE) - high
            tl.store(y_rows + cols * syc, x - total if LOG else tl.exp(x) * total, mask=mask)


@triton.jit
def _softmax_backward_kernel(
    dx_ptr, dy_ptr, y_ptr, R, C, n2, sdxc, sdx1, sdx2, sdx3, sdyc, sdy1, sdy2, sdy3, syc, sy1, sy2, sy3,
    LOG: tl.constexpr, NEGATE: tl.constexpr, INT64: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, WHOLE: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    acc: tl.constexpr = tl.float64 if y_ptr.dtype.element_ty == tl.float64 else tl.float32
    rows = tl.expand_dims(row_block(R, BLOCK_R, INT64), AXIS)
    dy_rows = dy_ptr + first_row(R, n2, sdy2, sdy3, BLOCK_R) + rows * sdy1
    y_rows = y_ptr + first_row(R, n2, sy2, sy3, BLOCK_R) + rows * sy1
    dx_rows = dx_ptr + first_row(R, n2, sdx2, sdx3, BLOCK_R) + rows * sdx1
    if WHOLE:
        cols = columns(0, BLOCK_C, AXIS, INT64)
        mask = (rows < R) & (cols < C)
        dy = tl.load(dy_rows + cols * sdyc, mask=mask, other=0.0).to(acc)
        y = tl.load(y_rows + cols * syc, mask=mask, other=0.0).to(acc)
        total = tl.expand_dims(tl.sum(tl.where(cols < C, dy if LOG else dy * y, 0.0), AXIS), AXIS)
        dx = dy - tl.exp(y) * total if LOG else y * (dy - total)
        tl.store(dx_rows + cols * sdxc, -dx if NEGATE else dx, mask=mask)
    else:
        total = tl.zeros((BLOCK_R,), acc)
        for start in range(0, C, BLOCK_C):
            cols = columns(start, BLOCK_C, AXIS, INT64)
            mask = (rows < R) & (cols < C)
            dy = tl.load(dy_rows + cols * sdyc, mask=mask, other=0.0).to(acc)
            if not LOG:
                dy *= tl.load(y_rows + cols * syc, mask=mask, other=0.0).to(acc)
            total += tl.sum(tl.where(cols < C, dy, 0.0), AXIS)
        total = tl.expand_dims(total, AXIS)
        for start in range(0, C, BLOCK_C):
            cols = columns(start, BLOCK_C, AXIS, INT64)
            mask = (rows < R) & (cols < C)
            dy = tl.load(dy_rows + cols * sdyc, mask=mask, other=0.0).to(acc)
            y = tl.load(y_rows + cols * syc, mask=mask, other=0.0).to(acc)
            dx = dy - tl.exp(y) * total if LOG else y * (dy - total)
            tl.store(dx_rows + cols * sdxc, -dx if NEGATE else dx, mask=mask)


@triton.jit
def _softmax_double_backward_kernel(
    ddy_ptr, gy_ptr, v_ptr, dy_ptr, y_ptr, R, C, n2,
    sddyc, sddy1, sddy2, sddy3, sgyc, sgy1, sgy2, sgy3,
    svc, sv1, sv2, sv3, sdyc, sdy1, sdy2, sdy3, syc, sy1, sy2, sy3,
    LOG: tl.constexpr, NEGATE: tl.constexpr, INT64: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, WHOLE: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    acc: tl.constexpr = tl.float64 if y_ptr.dtype.element_ty == tl.float64 else tl.float32
    rows = tl.expand_dims(row_block(R, BLOCK_R, INT64), AXIS)
    v_rows = v_ptr + first_row(R, n2, sv2, sv3, BLOCK_R) + rows * sv1
    dy_rows = dy_ptr + first_row(R, n2, sdy2, sdy3, BLOCK_R) + rows * sdy1
    y_rows = y_ptr + first_row(R, n2, sy2, sy3, BLOCK_R) + rows * sy1
    ddy_rows = ddy_ptr + first_row(R, n2, sddy2, sddy3, BLOCK_R) + rows * sddy1
    gy_rows = gy_ptr + first_row(R, n2, sgy2, sgy3, BLOCK_R) + rows * sgy1
    dy_sum = tl.zeros((BLOCK_R,), acc)
    v_sum = tl.zeros((BLOCK_R,), acc)
    for start in range(0, C, BLOCK_C):
        cols = columns(start, BLOCK_C, AXIS, INT64)
        mask = (rows < R) & (cols < C)
        v = tl.load(v_rows + cols * svc, mask=mask, other=0.0).to(acc)
        dy = tl.load(dy_rows + cols * sdyc, mask=mask, other=0.0).to(acc)
        y = tl.load(y_rows + cols * syc, mask=mask, other=0.0).to(acc)
        dy_sum += tl.sum(dy if LOG else dy * y, AXIS)
        v_sum += tl.sum(v * (tl.exp(y) if LOG else y), AXIS)
    dy_sum = tl.expand_dims(dy_sum, AXIS)
    v_sum = tl.expand_dims(v_sum, AXIS)
    for start in range(0, C, BLOCK_C):
        cols = columns(start, BLOCK_C, AXIS, INT64)
        mask = (rows < R) & (cols < C)
        v = tl.load(v_rows + cols * svc, mask=mask, other=0.0).to(acc)
        y = tl.load(y_rows + cols * syc, mask=mask, other=0.0).to(acc)
        if LOG:
            ddy = v - v_sum
            gy = -tl.exp(y) * v * dy_sum
        else:
            dy = tl.load(dy_rows + cols * sdyc, mask=mask, other=0.0).to(acc)
            ddy = y * (v - v_sum)
            gy = v * (dy - dy_sum) - dy * v_sum
        tl.store(ddy_rows + cols * sddyc, -ddy if NEGATE else ddy, mask=mask)
        tl.store(gy_rows + cols * sgyc, -gy if NEGATE else gy, mask=mask)


def softmax_reference(
    x: Tensor, dim: int = -1, log: bool = False, negate: bool = False, dtype: torch.dtype | None = None
) -> Tensor:
    dim, dtype = _check(x, dim, dtype)
    x = x.to(dtype).to(wide_dtype(dtype))
    x = -x if negate else x
    if x.numel() == 0:
        return x.to(dtype)
    x = x - x.amax(dim, keepdim=True)
    total = x.exp().sum(dim, keepdim=True)
    return (x - total.log() if log else x.exp() / total).to(dtype)


def softmax_backward_reference(
    dy: Tensor, y: Tensor, dim: int = -1, log: bool = False, negate: bool = False, dtype: torch.dtype | None = None
) -> Tensor:
    dim, dtype = _check_gradients("softmax_backward", dim, dtype, y, dy)
    dy, y = (tensor.to(wide_dtype(y.dtype)) for tensor in (dy, y))
    dx = dy - y.exp() * dy.sum(dim, keepdim=True) if log else y * (dy - (dy * y).sum(dim, keepdim=True))
    return (-dx if negate else dx).to(dtype)


def softmax_double_backward_reference(
    v: Tensor, dy: Tensor, y: Tensor, dim: int = -1, log: bool = False, negate: bool = False
) -> tuple[Tensor, Tensor]:
    dim, dtype = _check_double(dim, y, dy, v)
    v, dy, y = (tensor.to(wide_dtype(y.dtype)) for tensor in (v, dy, y))
    if log:
        ddy = v - (v * y.exp()).sum(dim, keepdim=True)
        gy = -y.exp() * v * dy.sum(dim, keepdim=True)
    else:
        v_sum = (v * y).sum(dim, keepdim=True)
        ddy = y * (v - v_sum)
        gy = v * (dy - (dy * y).sum(dim, keepdim=True)) - dy * v_sum
    return (-ddy if negate else ddy).to(dtype), (-gy if negate else gy).to(dtype)


@op(reference=softmax_reference, flops=lambda x, *_, **__: 5 * x.numel())
def softmax(
    x: Tensor, dim: int = -1, log: bool = False, negate: bool = False, dtype: torch.dtype | None = None
) -> Tensor:
    """y_i = exp(x_i) / sum_j exp(x_j), with `log` its logarithm x_i - log sum_j exp(x_j); with `negate` of -x.

    The largest x_j is subtracted first. A row of nothing but -inf, or with inf or NaN in it, becomes NaN.

    Args:
        x: any shape and strides; integers and bool too where `dtype` is given.
        dim: along which i and j run.
        dtype: to which x is rounded first, and of y; that of `x` if not given.

    Returns: a fresh tensor, laid out in memory as `torch.empty_like(x)`.
    Raises: ShapeError for a dimension that x does not have, DtypeError for other dtypes.
    """
    dim, dtype = _check(x, dim, dtype)
    y = torch.empty_like(x, dtype=dtype)
    _run(_softmax_kernel, dim, log, negate, y, x)
    return y


@op(reference=softmax_backward_reference, flops=lambda dy, *_, **__: 4 * dy.numel())
def softmax_backward(
    dy: Tensor, y: Tensor, dim: int = -1, log: bool = False, negate: bool = False, dtype: torch.dtype | None = None
) -> Tensor:
    """dx_i = y_i (dy_i - sum_j dy_j y_j), with `log` dx_i = dy_i - exp(y_i) sum_j dy_j; with `negate` -dx_i.

    Args:
        dy: the gradient of `y`, of its shape and dtype, any strides.
        y: what softmax returned for the same dim, log and negate, any strides.
        dtype: of dx; that of `y` if not given.

    Returns: a fresh tensor, laid out in memory as `torch.empty_like(y)`.
    Raises: ShapeError for shapes that differ or a dimension that y does not have, DtypeError for dtypes.
    """
    dim, dtype = _check_gradients("softmax_backward", dim, dtype, y, dy)
    dx = torch.empty_like(y, dtype=dtype)
    _run(_softmax_backward_kernel, dim, log, negate, dx, dy, y)
    return dx


@op(reference=softmax_double_backward_reference, flops=lambda v, *_, **__: 10 * v.numel())
def softmax_double_backward(
    v: Tensor, dy: Tensor, y: Tensor, dim: int = -1, log: bool = False, negate: bool = False
) -> tuple[Tensor, Tensor]:
    """The gradients of v . dx with respect to dy and y, where dx is what softmax_backward makes of dy and y.

    With s = sum_j dy_j y_j and t = sum_j v_j y_j they are y_i (v_i - t) and v_i (dy_i - s) - dy_i t;
    with `log`, s = sum_j dy_j and t = sum_j v_j exp(y_j), they are v_i - t and -exp(y_i) v_i s; with `negate` minus
    that.

    Args:
        v: the gradient of dx, of y's shape and any floating-point dtype, any strides.

    Returns: two fresh tensors, laid out in memory as `torch.empty_like(y)`.
    Raises: ShapeError for shapes that differ or a dimension that y does not have, DtypeError for dtypes.
    """
    dim, _ = _check_double(dim, y, dy, v)
    ddy, gy = torch.empty_like(y), torch.empty_like(y)
    _run(_softmax_double_backward_kernel, dim, log, negate, ddy, gy, v, dy, y)
    return ddy, gy


def _check(x: Tensor, dim: int, dtype: torch.dtype | None) -> tuple[int, torch.dtype]:
    """The dimension counted from 0, and the dtype of the result."""
    rank = max(x.dim(), 1)
    if not -rank <= dim < rank:
        raise ShapeError(
            f"softmax: dim is {dim}; for a tensor of shape {tuple(x.shape)} it lies in [{-rank}, {rank - 1}]"
        )
    if x.is_complex():
        raise DtypeError(f"softmax: x is {dtype_name(x.dtype)}; it takes real tensors")
    if dtype is None and not x.is_floating_point():
        raise DtypeError(f"softmax: x is {dtype_name(x.dtype)}; pass dtype=, a floating-point one")
    if (dtype or x.dtype) not in FLOATS:
        raise DtypeError(f"softmax: dtype is {dtype_name(dtype)}; it computes in {', '.join(map(dtype_name, FLOATS))}")
    return dim % rank, dtype or x.dtype


def _check_gradients(op: str, dim: int, dtype: torch.dtype | None, y: Tensor, dy: Tensor) -> tuple[int, torch.dtype]:
    if dy.shape != y.shape:
        raise ShapeError(f"{op}: dy is {tuple(dy.shape)} and y is {tuple(y.shape)}")
    if dy.dtype != y.dtype:
        raise DtypeError(f"{op}: dy is {dtype_name(dy.dtype)} and y is {dtype_name(y.dtype)}; they must have one dtype")
    return _check(y, dim, dtype)


def _check_double(dim: int, y: Tensor, dy: Tensor, v: Tensor) -> tuple[int, torch.dtype]:
    if v.shape != y.shape:
        raise ShapeError(f"softmax_double_backward: v is {tuple(v.shape)} and y is {tuple(y.shape)}")
    if v.dtype not in FLOATS:
        raise DtypeError(f"softmax_double_backward: v is {dtype_name(v.dtype)} and y is {dtype_name(y.dtype)}")
    return _check_gradients("softmax_double_backward", dim, None, y, dy)


def _run(kernel: Any, dim: int, log: bool, negate: bool, written: Tensor, *tensors: Tensor) -> None:
    """Launches over the rows along `dim` of all tensors, which are of one shape, in the memory order of `written`."""
    strides = (written.stride(), *(tensor.stride() for tensor in tensors))
    for each in launches(written.shape, dim, strides, (), wide_dtype(written.dtype), written.device):
        pointers = each.tensors(written, *tensors)
        launch(kernel, (each.programs,), *pointers, *each.integers, LOG=log, NEGATE=negate, **each.constexprs)
