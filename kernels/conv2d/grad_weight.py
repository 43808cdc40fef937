"""The gradient of conv2d with respect to its weight: a product over pixels, summed in parts."""

import functools
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._launch import Grid, launch
from .._op import op
from .._tile import TL_DTYPES, block_offsets, wide_dtype, widened
from .._tune import target
from ..column_sum import sum_parts
from .correlate import VARYING, direct, flat, inside, split_pixels
from .forward import conv2d_reference
from .geometry import Padding, Pair, geometry, hashable
from .plan import Call, Given, Operand, checked, key, result
from .tiles import pick_direct_tile, pick_split, pick_tile

# Both kernels: part s of the pixels goes to row s of dw, [SPLIT, K, C, R, S]; C and K are the channels of one group.


@triton.jit(do_not_specialize=VARYING)
def _grad_weight_kernel(
    dy_ptr, x_ptr, dw_ptr,
    N, C, K, H, W, P, Q, R, S, part_pixels,
    stride_dyn, stride_dyk, stride_dyp, stride_dyq, stride_xn, stride_xc, stride_xh, stride_xw,
    stride_dws, stride_dwk, stride_dwc, stride_dwr, stride_dwt,
    step_h, step_w, first_h, first_w, tap_h, tap_w,
    FLAT: tl.constexpr, GRAD_LAST: tl.constexpr, X_LAST: tl.constexpr,
    INT64: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    # One program: BLOCK_K output channels by BLOCK_C input channels of one tap; where FLAT, by a row of (c, r, s).
    # Tiles are read as [pixels, channels] where these are contiguous in memory, else as [channels, pixels].
    PIXELS: tl.constexpr = 1 if X_LAST else 0
    COLUMNS: tl.constexpr = 0 if X_LAST else 1
    GRAD_PIXELS: tl.constexpr = 1 if GRAD_LAST else 0
    GRAD_COLUMNS: tl.constexpr = 0 if GRAD_LAST else 1
    ACC: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    blocks_c = tl.cdiv(C * R * S, BLOCK_C) if FLAT else tl.cdiv(C, BLOCK_C) * R * S
    pid = tl.program_id(0)
    pid_k, pid_c, part, group = pid // blocks_c, pid % blocks_c, tl.program_id(1), tl.program_id(2)
    group, part = widened(group, INT64), widened(part, INT64)
    tap_h, tap_w = widened(tap_h, INT64), widened(tap_w, INT64)
    offs_k = block_offsets(pid_k, BLOCK_K, INT64)
    if FLAT:
        offs_c = block_offsets(pid_c, BLOCK_C, INT64)
        c, r, s = offs_c // (R * S), offs_c // S % R, offs_c % S
        c_ok = offs_c < C * R * S
    else:
        tap = pid_c % (R * S)
        c, r, s = block_offsets(pid_c // (R * S), BLOCK_C, INT64), widened(tap // S, INT64), widened(tap % S, INT64)
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
        n, p, q = split_pixels(offs_m, P, Q)
        m_ok = offs_m < last
        row_h, row_w = p * step_h + first_h, q * step_w + first_w
        rows = n * stride_xn + row_h * stride_xh + row_w * stride_xw
        if FLAT:
            h = tl.expand_dims(row_h, PIXELS) + tl.expand_dims(r * tap_h, COLUMNS)
            w = tl.expand_dims(row_w, PIXELS) + tl.expand_dims(s * tap_w, COLUMNS)
            ok = inside(h, w, H, W) & tl.expand_dims(m_ok, PIXELS) & tl.expand_dims(c_ok, COLUMNS)
        else:
            h, w = row_h + r * tap_h, row_w + s * tap_w
            ok = m_ok & inside(h, w, H, W)
            ok = tl.expand_dims(ok, PIXELS) & tl.expand_dims(c_ok, COLUMNS)
        x = tl.load(x_ptr + tl.expand_dims(rows, PIXELS) + tl.expand_dims(columns, COLUMNS), mask=ok, other=0.0)
        dy_rows = n * stride_dyn + p * stride_dyp + q * stride_dyq
        dy_ptrs = dy_ptr + tl.expand_dims(dy_rows, GRAD_PIXELS) + tl.expand_dims(offs_k, GRAD_COLUMNS) * stride_dyk
        ok = tl.expand_dims(m_ok, GRAD_PIXELS) & tl.expand_dims(k_ok, GRAD_COLUMNS)
        dy = tl.load(dy_ptrs, mask=ok, other=0.0)
        if GRAD_LAST:
            dy = tl.trans(dy)
        if not X_LAST:
            x = tl.trans(x)
        acc = tl.dot(dy.to(DTYPE), x.to(DTYPE), acc, input_precision=PRECISION, out_dtype=ACC)
    columns = c * stride_dwc + r * stride_dwr + s * stride_dwt
    dw_ptrs = dw_ptr + offs_k[:, None] * stride_dwk + columns[None, :]
    tl.store(dw_ptrs, acc.to(dw_ptr.dtype.element_ty), mask=k_ok[:, None] & c_ok[None, :])


@triton.jit(do_not_specialize=VARYING)
def _grad_weight_direct_kernel(
    dy_ptr, x_ptr, dw_ptr,
    N, C, K, H, W, P, Q, R, S, part_pixels,
    stride_dyn, stride_dyk, stride_dyp, stride_dyq, stride_xn, stride_xc, stride_xh, stride_xw,
    stride_dws, stride_dwk, stride_dwc, stride_dwr, stride_dwt,
    step_h, step_w, first_h, first_w, tap_h, tap_w, groups,
    CHANNELS_LAST: tl.constexpr, INT64: tl.constexpr, DTYPE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    # One program: one (c, r, s) of BLOCK_K output channels of all groups.
    PIXELS: tl.constexpr = 1 if CHANNELS_LAST else 0
    CHANNELS: tl.constexpr = 0 if CHANNELS_LAST else 1
    ACC: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    pid, part = tl.program_id(0), tl.program_id(1)
    part, tap_h, tap_w = widened(part, INT64), widened(tap_h, INT64), widened(tap_w, INT64)
    offs_k = block_offsets(pid // (C * R * S), BLOCK_K, INT64)
    c = widened(pid // (R * S) % C, INT64)
    r, s = widened(pid // S % R, INT64), widened(pid % S, INT64)
    k_ok = offs_k < groups * K
    x_ptrs = x_ptr + tl.expand_dims((offs_k // K * C + c) * stride_xc, CHANNELS)
    dy_ptrs = dy_ptr + tl.expand_dims(offs_k * stride_dyk, CHANNELS)
    acc = tl.zeros((BLOCK_M, BLOCK_K) if CHANNELS_LAST else (BLOCK_K, BLOCK_M), ACC)
    last = tl.minimum(part_pixels * (part + 1), N * P * Q)
    for start in range(part * part_pixels, last, BLOCK_M):
        offs_m = start + block_offsets(0, BLOCK_M, INT64)
        n, p, q = split_pixels(offs_m, P, Q)
        h, w = p * step_h + first_h + r * tap_h, q * step_w + first_w + s * tap_w
        ok = (offs_m < last) & inside(h, w, H, W)
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
    steps = (stride, padding, dilation, groups)
    _, dtype = checked("conv2d_grad_weight", x.shape, shape, steps, dtype, grad=grad, x=x)
    wide = wide_dtype(dtype)
    grad, x = grad.detach().to(dtype).to(wide), x.detach().to(dtype).to(wide)
    with torch.enable_grad():
        weight = torch.zeros(shape, dtype=wide, device=grad.device, requires_grad=True)
        y = conv2d_reference(x, weight, None, *steps)
        (dw,) = torch.autograd.grad(y, weight, grad)
    return dw.to(out_dtype or dtype)


def _flops(
    grad: Tensor, x: Tensor, shape: tuple[int, ...], *args: Any, dtype: Any = None, out_dtype: Any = None
) -> int:
    return geometry("conv2d_grad_weight", x.shape, tuple(shape), *map(hashable, args)).flops


@op(reference=conv2d_grad_weight_reference, flops=_flops)
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
    plan = _plan(key(grad, x, shape, stride, padding, dilation, groups, dtype))
    call, dw = plan.call, plan.dw.empty(grad.device, out_dtype)
    split, numel = call.grid[1], dw.numel()
    parts = dw if split == 1 else torch.empty((1, split, numel), dtype=wide_dtype(plan.dw.dtype), device=grad.device)
    launch(call.kernel, call.grid, grad, x, parts, *call.sizes, **call.constexprs)
    if split > 1:
        sum_parts(parts, dw.as_strided((1, numel), (numel, 1)))
    return dw


class _Plan(NamedTuple):
    dw: Operand
    call: Call


@functools.lru_cache(maxsize=4096)
def _plan(by: tuple[Any, ...]) -> _Plan:
    """Checks a call and says what it allocates and launches."""
    of = Given.by(by)
    grad, x, shape, on = of.left, of.right, of.other, target(of.device)
    conv, dtype = checked("conv2d_grad_weight", x.shape, shape, of.steps, of.dtype, grad=grad, x=x)
    dw = result(shape, dtype, grad, x)
    h, w, groups, K, C = conv.h, conv.w, conv.groups, conv.K // conv.groups, conv.C // conv.groups
    N, _, P, Q = conv.out_shape
    R, S, M = h.taps, w.taps, N * P * Q
    constexprs: dict[str, Any] = {"INT64": grad.far or x.far or dw.far, "DTYPE": TL_DTYPES[dtype]}
    if direct(groups, K, C):
        elements = pick_direct_tile(M, conv.K, grad.channels_contiguous, on)
        programs = triton.cdiv(conv.K, elements.BLOCK_K) * C * R * S
        split, part_pixels = pick_split(M, elements.BLOCK_M, programs, on)
        kernel: Any = _grad_weight_direct_kernel
        grid: Grid = (programs, split)
        more: tuple[int, ...] = (groups,)
        constexprs |= {"CHANNELS_LAST": grad.channels_contiguous, **asdict(elements)}
    else:
        together = flat(C, R, S)
        columns = C * R * S if together else C
        tile = pick_tile(
            "conv2d_grad_weight", M, K, columns, together, dtype, on, "", (grad.dtype, x.dtype), constexprs["INT64"]
        )
        programs = triton.cdiv(K, tile.BLOCK_K) * triton.cdiv(columns, tile.BLOCK_C) * (1 if together else R * S)
        split, part_pixels = pick_split(M, tile.BLOCK_M, programs * groups, on)
        kernel, grid, more = _grad_weight_kernel, (programs, split, groups), ()
        last = {"GRAD_LAST": grad.channels_contiguous, "X_LAST": x.channels_contiguous}
        constexprs |= {"FLAT": together, **last, "PRECISION": of.precision, **asdict(tile)}
    steps = (h.stride, w.stride, -h.pad, -w.pad, h.dilation, w.dilation)
    strides = (*grad.strides, *x.strides, conv.K * C * R * S, *dw.strides)
    sizes = (N, C, K, h.inp, w.inp, P, Q, R, S, part_pixels, *strides, *steps, *more)
    return _Plan(dw, Call(kernel, grid, sizes, constexprs))
