"""Matrix products with gradients of every order."""

from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels
from tritonnet.errors import ShapeError
from tritonnet.kernels._tile import wide_dtype

from ._function import Function


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """c = a b, as torch.matmul: batch dimensions broadcast; a 1-D operand is one row of a, or one column of b.

    Under autocast both are rounded to the autocast dtype as the kernel reads them; float64 tensors are left alone.
    Differentiable any number of times.

    Args:
        a: [..., M, K] or [K], float32/float16/bfloat16/float64, any strides.
        b: [..., K, N] or [K], of a's dtype, any strides.

    Returns: [..., M, N], without the dimensions that a 1-D operand does not have.
    Raises: ShapeError for sizes that do not fit and for operands without dimensions; DtypeError for mixed or other
        dtypes; DeviceError for operands on different devices.
    """
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(f"matmul: a is {tuple(a.shape)} and b is {tuple(b.shape)}; each needs at least one dimension")
    if a.shape[-1] != b.shape[max(b.ndim - 2, 0)]:
        raise ShapeError(
            f"matmul: a is {tuple(a.shape)} and b is {tuple(b.shape)}; "
            f"inner sizes {a.shape[-1]} and {b.shape[max(b.ndim - 2, 0)]} differ"
        )
    dtype = autocast_dtype(a, b)
    c: Tensor = Matmul.apply(a if a.ndim > 1 else a[None, :], b if b.ndim > 1 else b[:, None], dtype, None)
    if b.ndim == 1:
        c = c[..., 0]
    if a.ndim == 1:
        c = c[..., 0] if b.ndim == 1 else c[..., 0, :]
    return c


class Matmul(Function):
    """(a, b, dtype, out_dtype) -> a b, multiplied in `dtype` (None: the operands' own); see kernels.matmul."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, dtype: torch.dtype | None, out_dtype: torch.dtype | None) -> Tensor:
        ctx.save_for_backward(a, b)
        ctx.dtype = dtype or a.dtype
        c: Tensor = kernels.matmul(a, b, dtype=dtype, out_dtype=out_dtype)
        return c

    @staticmethod
    def backward(ctx: Any, dc: Tensor) -> tuple[Tensor | None, ...]:
        a, b = ctx.saved_tensors
        da = product_like(a, dc, b.mT, ctx.dtype) if ctx.needs_input_grad[0] else None
        db = product_like(b, a.mT, dc, ctx.dtype) if ctx.needs_input_grad[1] else None
        return da, db, None, None


class ColumnSum(Function):
    """(x [..., N], out_dtype) -> its sum over all leading dimensions; see kernels.column_sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, out_dtype: torch.dtype) -> Tensor:
        ctx.shape = x.shape
        y: Tensor = kernels.column_sum(x, out_dtype=out_dtype)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        return dy.expand(ctx.shape), None


def product_like(like: Tensor, a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """a b, multiplied in `dtype`, summed over the batch dimensions that `like` lacks; of like's dtype.

    It is itself differentiable. Where `like` has no batch dimensions, a's columns and b's rows of all batch entries
    make one long inner dimension; an operand that no single stride walks that way is copied first.
    """
    if a.ndim == b.ndim == like.ndim == 2:
        return multiply(a, b, dtype, like.dtype)
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    own = (1,) * (len(batch) + 2 - like.ndim) + like.shape[:-2]
    summed = [dim for dim, size in enumerate(batch) if size != own[dim]]
    if not summed:
        return multiply(a, b, dtype, like.dtype).view(like.shape)
    a, b = a.expand(batch + a.shape[-2:]), b.expand(batch + b.shape[-2:])
    if like.numel() == like.shape[-2] * like.shape[-1]:
        return multiply(a.mT.flatten(0, -2).mT, b.flatten(0, -2), dtype, like.dtype).view(like.shape)
    order = [*summed, *(dim for dim in range(len(batch)) if dim not in summed), -2, -1]
    products = multiply(a.permute(order), b.permute(order), dtype, wide_dtype(dtype))
    return column_sum(products.flatten(0, len(summed) - 1).flatten(1), like.dtype).view(like.shape)


def multiply(a: Tensor, b: Tensor, dtype: torch.dtype, out_dtype: torch.dtype) -> Tensor:
    """Matmul of a gradient's operands: recorded only where gradients of gradients are asked for."""
    if torch.is_grad_enabled():
        product: Tensor = Matmul.apply(a, b, dtype, out_dtype)
    else:
        product = kernels.matmul(a, b, dtype=dtype, out_dtype=out_dtype)
    return product


def column_sum(x: Tensor, out_dtype: torch.dtype) -> Tensor:
    """ColumnSum of a gradient: recorded only where gradients of gradients are asked for."""
    total: Tensor = (
        ColumnSum.apply(x, out_dtype) if torch.is_grad_enabled() else kernels.column_sum(x, out_dtype=out_dtype)
    )
    return total


def autocast_dtype(*tensors: Tensor) -> torch.dtype | None:
    """What autocast rounds these operands to; None where it is off, and for float64, which it leaves alone."""
    device = tensors[0].device.type
    if not autocasts(device) or any(tensor.dtype == torch.float64 for tensor in tensors):
        return None
    return torch.get_autocast_dtype(device)


def autocasts(device: str) -> bool:
    """Whether autocast is on for a kind of device; never for one without kernels (meta), which may know none."""
    return device in ("cpu", "cuda") and torch.is_autocast_enabled(device)
