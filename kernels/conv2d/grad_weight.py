"""The gradient of conv2d with respect to its weight."""

import functools
from dataclasses import asdict
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._errors import ShapeError
from .._launch import launch
from .._op import op
from .._precision import conv_precision
from .._tile import block_offsets
from .._tune import target
from ..column_sum import sum_parts
from .forward import TL_DTYPES, Operand, conv2d_reference
from .geometry import Geometry, Padding, Pair, channels_last, check_operands, format_strides, geometry, needs_int64, wide_dtype
from .tiles import pick_direct_tile, pick_split, pick_tile

# Both kernels: part s of the pixels goes to row s of dw, [SPLIT, K, C, R, S]; C and K are the channels of one group.


@triton.jit
def _grad_weight_kernel(
    dy_ptr,
    x_ptr,
    dw_ptr,
    N,
    C,
    K,
    H,
    W,
    P,
    Q,
    part_pixels,
    stride_dyn,
    stride_dyk,
    stride_dyp,
    stride_dyq,
    stride_xn,
    stride_xc,
    stride_xh,
    stride_xw,
    stride_dws,
    stride_dwk,
    stride_dwc,
    stride_dwr,
    stride_dwt,
    step_h,
    step_w,
    first_h,
    first_w,
    tap_h,
    tap_w,
    R: tl.constexpr,
    S: tl.constexpr,
    FLAT: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    INT64: tl.constexpr,
    DTYPE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    # One program: BLOCK_K output channels by BLOCK_C weights, of one tap, or where FLAT of whatever (c, r, s) follow each other.
    ACC: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    blocks_c = tl.cdiv(C * R * S, BLOCK_C) if FLAT else tl.cdiv(C, BLOCK_C) * R * S
    pid = tl.program_id(0)
    pid_k, pid_c, part, group = pid // blocks_c, pid % blocks_c, tl.program_id(1), tl.program_id(2)
    if INT64:
        group, part = tl.cast(group, tl.int64), tl.cast(part, tl.int64)
    offs_k = block_offsets(pid_k, BLOCK_K, INT64)
    if FLAT:
        offs_c = block_offsets(pid_c, BLOCK_C, INT64)
        c, r, s = offs_c // (R * S), offs_c // S % R, offs_c % S
        c_ok = offs_c < C * R * S
    else:
        tap = pid_c % (R * S)
        c, r, s = block_offsets(pid_c // (R * S), BLOCK_C, INT64), tap // S, tap % S
        c_ok = c < C
    k_ok = offs_k < K
    dy_ptr += group * K * stride_dyk
    x_ptr += group * C * stride_xc
    dw_ptr += part * stride_dws + group * K * stride_dwk
    columns = c * stride_xc + r * (tap_h * stride_xh) + s * (tap_w * stride_xw)
    acc = tl.zeros((BLOCK_K, BLOCK_C), ACC)
    last = tl.minimum(part_pixels * (part + 1), N * P * Q)
    for start in range(part * part_pixels, last, BLOCK_M):
        offs_m = start + block_offsets(0, BLOCK_M, INT64)
        n, p, q = offs_m // (P * Q), offs_m // Q % P, offs_m % Q
        m_ok = offs_m < last
        row_h, row_w = p * step_h + first_h, q * step_w + first_w
        rows = n * stride_xn + row_h * stride_xh + row_w * stride_xw
        if FLAT:
            h, w = row_h[:, None] + (r * tap_h)[None, :], row_w[:, None] + (s * tap_w)[None, :]
            ok = (h >= 0) & (h < H) & (w >= 0) & (w < W) & m_ok[:, None] & c_ok[None, :]
        else:
            h, w = row_h + r * tap_h, row_w + s * tap_w
            ok = (m_ok & (h >= 0) & (h < H) & (w >= 0) & (w < W))[:, None] & c_ok[None, :]
        x = tl.load(x_ptr + rows[:, None] + columns[None, :], mask=ok, other=0.0)
        dy_rows = n * stride_dyn + p * stride_dyp + q * stride_dyq
        if CHANNELS_LAST:
            dy_ptrs = dy_ptr + dy_rows[:, None] + offs_k[None, :] * stride_dyk
            dy = tl.trans(tl.load(dy_ptrs, mask=m_ok[:, None] & k_ok[None, :], other=0.0))
        else:
            dy_ptrs = dy_ptr + dy_rows[None, :] + offs_k[:, None] * stride_dyk
            dy = tl.load(dy_ptrs, mask=m_ok[None, :] & k_ok[:, None], other=0.0)
        acc = tl.dot(dy.to(DTYPE), x.to(DTYPE), acc, input_precision=PRECISION, out_dtype=ACC)
    columns = c * stride_dwc + r * stride_dwr + s * stride_dwt
    dw_ptrs = dw_ptr + offs_k[:, None] * stride_dwk + columns[None, :]
    tl.store(dw_ptrs, acc.to(dw_ptr.dtype.element_ty), mask=k_ok[:, None] & c_ok[None, :])


@triton.jit
def _grad_weight_direct_kernel(
    dy_ptr,
    x_ptr,
    dw_ptr,
    N,
    C,
    K,
    H,
    W,
    P,
    Q,
    part_pixels,
    stride_dyn,
    stride_dyk,
    stride_dyp,
    stride_dyq,
    stride_xn,
    stride_xc,
    stride_xh,
    stride_xw,
    stride_dws,
    stride_dwk,
    stride_dwc,
    stride_dwr,
    stride_dwt,
    step_h,
    step_w,
    first_h,
    first_w,
    tap_h,
    tap_w,
    GROUPS: tl.constexpr,
    R: tl.constexpr,
    S: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    INT64: tl.constexpr,
    DTYPE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    # One program: one (c, r, s) of BLOCK_K output channels of all groups.
    PIXELS: tl.constexpr = 1 if CHANNELS_LAST else 0
    CHANNELS: tl.constexpr = 0 if CHANNELS_LAST else 1
    ACC: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    pid, part = tl.program_id(0), tl.program_id(1)
    if INT64:
        part = tl.cast(part, tl.int64)
    offs_k = block_offsets(pid // (C * R * S), BLOCK_K, INT64)
    c, r, s = pid // (R * S) % C, pid // S % R, pid % S
    k_ok = offs_k < GROUPS * K
    x_ptrs = x_ptr + tl.expand_dims((offs_k // K * C + c) * stride_xc, CHANNELS)
    dy_ptrs = dy_ptr + tl.expand_dims(offs_k * stride_dyk, CHANNELS)
    acc = tl.zeros((BLOCK_M, BLOCK_K) if CHANNELS_LAST else (BLOCK_K, BLOCK_M), ACC)
    last = tl.minimum(part_pixels * (part + 1), N * P * Q)
    for start in range(part * part_pixels, last, BLOCK_M):
        offs_m = start + block_offsets(0, BLOCK_M, INT64)
        n, p, q = offs_m // (P * Q), offs_m // Q % P, offs_m % Q
        h, w = p * step_h + first_h + r * tap_h, q * step_w + first_w + s * tap_w
        ok = (offs_m < last) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
        ok = tl.expand_dims(ok, PIXELS) & tl.expand_dims(k_ok, CHANNELS)
        rows = n * stride_xn + h * stride_xh + w * stride_xw
        x = tl.load(x_ptrs + tl.expand_dims(rows, PIXELS), mask=ok, other=0.0)
        rows = n * stride_dyn + p * stride_dyp + q * stride_dyq
        dy = tl.load(dy_ptrs + tl.expand_dims(rows, PIXELS), mask=ok, other=0.0)
        acc += x.to(DTYPE).to(ACC) * dy.to(DTYPE).to(ACC)
    dw = tl.sum(acc, axis=CHANNELS)
    dw_ptrs = dw_ptr + part * stride_dws + offs_k * stride_dwk + (c * stride_dwc + r * stride_dwr + s * stride_dwt)
    tl.store(dw_ptrs, dw.to(dw_ptr.dtype.element_ty), mask=k_ok)


def conv2d_grad_weight_reference(
    grad: Tensor,
    x: Tensor,
    shape: tuple[int, ...],
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    dtype: torch.dtype | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    _checked(grad, x, shape, stride, padding, dilation, groups)
    dtype = check_operands("conv2d_grad_weight", dtype, grad=grad, x=x)
    wide = wide_dtype(dtype)
    with torch.enable_grad():
        weight = torch.zeros(shape, dtype=wide, device=grad.device, requires_grad=True)
        y = conv2d_reference(x.detach().to(dtype).to(wide), weight, None, stride, padding, dilation, groups)
        (dw,) = torch.autograd.grad(y, weight, grad.detach().to(dtype).to(wide))
    return dw.to(out_dtype or dtype)


@op(reference=conv2d_grad_weight_reference)
def conv2d_grad_weight(
    grad: Tensor,
    x: Tensor,
    shape: tuple[int, ...],
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    dtype: torch.dtype | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """dw[k, c, r, s] = sum over n, p, q of grad[n, k, p, q] x[n, c, p stride_h + r dilation_h - padding_h, ...].

    Pixels are parted among programs where there are few weights; a second launch sums the parts, in a fixed order.

    Args:
        grad: [N, K, P, Q], the gradient of conv2d's result, any strides.
        x: [N, C, H, W], of grad's dtype, any strides.
        shape: [K, C // groups, R, S] of conv2d's weight.
        stride, padding, dilation, groups: as in conv2d.
        dtype: what operands are rounded to before they are multiplied (autocast).
        out_dtype: of the result; by default that of the products.

    Returns: [K, C // groups, R, S], channels_last where torch takes grad or x for channels_last, else contiguous.

    Raises: ShapeError for sizes that do not fit, DtypeError for operands of several dtypes where `dtype` is None.
    """
    conv = _checked(grad, x, shape, stride, padding, dilation, groups)
    dtype = check_operands("conv2d_grad_weight", dtype, grad=grad, x=x)
    dw_dtype = out_dtype or dtype
    kernel, grid, sizes, constexprs, strides = _call(
        conv, (grad.shape, grad.stride(), dtype), x.stride(), conv_precision(dtype), grad.device
    )
    dw = torch.empty_strided(shape, strides, dtype=dw_dtype, device=grad.device)
    split, numel = grid[1], dw.numel()
    parts = dw if split == 1 else torch.empty((1, split, numel), dtype=wide_dtype(dtype), device=grad.device)
    launch(kernel, grid, grad, x, parts, *sizes, **constexprs)
    if split > 1:
        sum_parts(parts, dw.as_strided((1, numel), (numel, 1)))
    return dw


@functools.lru_cache(maxsize=4096)
def _call(
    conv: Geometry, grad: Operand, x_strides: tuple[int, ...], precision: str, device: torch.device
) -> tuple[Any, tuple[int, ...], tuple[int, ...], dict[str, Any], tuple[int, ...]]:
    """Kernel, grid, integer arguments, constexprs, and the strides of the result."""
    (N, _, P, Q), grad_strides, dtype = grad
    h, w, groups = conv.h, conv.w, conv.groups
    K, C, R, S = conv.K // groups, conv.C // groups, h.taps, w.taps
    M, shape = N * P * Q, (conv.K, C, R, S)
    on = target(device)
    grad_last = channels_last(grad[0], grad_strides)
    strides = format_strides(shape, grad_last or channels_last(conv.in_shape, x_strides))
    int64 = needs_int64(conv.in_shape, x_strides) or needs_int64(grad[0], grad_strides) or needs_int64(shape, strides)
    constexprs = {"R": R, "S": S, "CHANNELS_LAST": grad_last or grad_strides[1] == 1, "INT64": int64, "DTYPE": TL_DTYPES[dtype]}
    if groups > 1 and C * K < 16:
        direct = pick_direct_tile(M, conv.K, constexprs["CHANNELS_LAST"], on)
        kernel, block_m, programs = _grad_weight_direct_kernel, direct.BLOCK_M, triton.cdiv(conv.K, direct.BLOCK_K) * C * R * S
        constexprs |= {"GROUPS": groups, **asdict(direct)}
    else:
        flat = C < 16 and R * S > 1
        tile = pick_tile("conv2d_grad_weight", M, K, C * R * S if flat else C, dtype, on)
        columns = triton.cdiv(C * R * S, tile.BLOCK_C) if flat else triton.cdiv(C, tile.BLOCK_C) * R * S
        kernel, block_m, programs = _grad_weight_kernel, tile.BLOCK_M, triton.cdiv(K, tile.BLOCK_K) * columns
        constexprs |= {"FLAT": flat, "PRECISION": precision, **asdict(tile)}
    split, part_pixels = pick_split(M, block_m, programs * (1 if "GROUPS" in constexprs else groups), on)
    grid = (programs, split) if "GROUPS" in constexprs else (programs, split, groups)
    steps = (h.stride, w.stride, -h.pad, -w.pad, h.dilation, w.dilation)
    sizes = (N, C, K, h.inp, w.inp, P, Q, part_pixels, *grad_strides, *x_strides, conv.K * C * R * S, *strides, *steps)
    return kernel, grid, sizes, constexprs, strides


def _checked(
    grad: Tensor, x: Tensor, shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Geometry:
    conv = geometry("conv2d_grad_weight", x.shape, tuple(shape), stride, padding, dilation, groups)
    if grad.shape != conv.out_shape:
        raise ShapeError(f"conv2d_grad_weight: grad is {tuple(grad.shape)}; the result of this convolution is {conv.out_shape}")
    return conv
