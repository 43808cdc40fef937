"""conv2d, and the correlation kernel that conv2d and its grad input are both made of."""

import functools
from dataclasses import asdict
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._launch import launch
from .._op import op
from .._precision import conv_precision
from .._tile import block_offsets
from .._tune import target
from .geometry import Padding, Pair, channels_last, check_operands, format_strides, geometry, needs_int64, wide_dtype
from .tiles import pick_direct_tile, pick_tile

Operand = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]
"""Shape, strides and dtype."""

TL_DTYPES = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16, torch.float64: tl.float64}

# Both kernels: pixel (p, q) of y meets pixel (p * step_h + first_h + r * tap_h, q * step_w + first_w + s * tap_w) of x
# at tap (r, s); C and K are the channels of one group. Where CHANNELS_LAST, tiles are [pixels, channels], else
# [channels, pixels], so that their last axis is contiguous in memory.


@triton.jit
def _correlate_kernel(
    x_ptr,
    w_ptr,
    bias_ptr,
    y_ptr,
    N,
    C,
    K,
    H,
    W,
    P,
    Q,
    stride_xn,
    stride_xc,
    stride_xh,
    stride_xw,
    stride_wg,
    stride_wk,
    stride_wc,
    stride_wr,
    stride_ws,
    stride_yn,
    stride_yk,
    stride_yp,
    stride_yq,
    stride_bias,
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
    PIXELS: tl.constexpr = 1 if CHANNELS_LAST else 0
    CHANNELS: tl.constexpr = 0 if CHANNELS_LAST else 1
    ACC: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    blocks_k = tl.cdiv(K, BLOCK_K)
    pid = tl.program_id(0)
    pid_m, pid_k, group = pid // blocks_k, pid % blocks_k, tl.program_id(1)
    if INT64:
        group = tl.cast(group, tl.int64)
    offs_m = block_offsets(pid_m, BLOCK_M, INT64)
    offs_k = block_offsets(pid_k, BLOCK_K, INT64)
    offs_c = block_offsets(0, BLOCK_C, INT64)
    n, p, q = offs_m // (P * Q), offs_m // Q % P, offs_m % Q
    m_ok, k_ok = offs_m < N * P * Q, offs_k < K
    row_h, row_w = p * step_h + first_h, q * step_w + first_w
    rows = n * stride_xn + row_h * stride_xh + row_w * stride_xw
    x_ptr += group * C * stride_xc
    w_ptr += group * stride_wg
    w_ptrs = w_ptr + tl.expand_dims(offs_k, CHANNELS) * stride_wk
    w_ok = tl.expand_dims(k_ok, CHANNELS)
    acc = tl.zeros((BLOCK_M, BLOCK_K) if CHANNELS_LAST else (BLOCK_K, BLOCK_M), ACC)

    if FLAT:
        # With few channels, a block of the reduction runs over channels and taps together.
        for start in range(0, C * R * S, BLOCK_C):
            i = start + offs_c
            c, r, s = i // (R * S), i // S % R, i % S
            i_ok = i < C * R * S
            columns = c * stride_xc + r * (tap_h * stride_xh) + s * (tap_w * stride_xw)
            h = tl.expand_dims(row_h, PIXELS) + tl.expand_dims(r * tap_h, CHANNELS)
            w = tl.expand_dims(row_w, PIXELS) + tl.expand_dims(s * tap_w, CHANNELS)
            ok = (h >= 0) & (h < H) & (w >= 0) & (w < W)
            ok = ok & tl.expand_dims(m_ok, PIXELS) & tl.expand_dims(i_ok, CHANNELS)
            x = tl.load(x_ptr + tl.expand_dims(rows, PIXELS) + tl.expand_dims(columns, CHANNELS), mask=ok, other=0.0)
            columns = c * stride_wc + r * stride_wr + s * stride_ws
            weight = tl.load(w_ptrs + tl.expand_dims(columns, PIXELS), mask=w_ok & tl.expand_dims(i_ok, PIXELS), other=0.0)
            acc = _multiply(x.to(DTYPE), weight.to(DTYPE), acc, CHANNELS_LAST, PRECISION)
    else:
        blocks_c = tl.cdiv(C, BLOCK_C)
        for i in range(R * S * blocks_c):
            c, tap = i % blocks_c * BLOCK_C + offs_c, i // blocks_c
            r, s = tap // S, tap % S
            c_ok = c < C
            h, w = row_h + r * tap_h, row_w + s * tap_w
            ok = m_ok & (h >= 0) & (h < H) & (w >= 0) & (w < W)
            taps = rows + (r * tap_h * stride_xh + s * tap_w * stride_xw)
            x_ptrs = x_ptr + tl.expand_dims(taps, PIXELS) + tl.expand_dims(c, CHANNELS) * stride_xc
            x = tl.load(x_ptrs, mask=tl.expand_dims(ok, PIXELS) & tl.expand_dims(c_ok, CHANNELS), other=0.0)
            columns = c * stride_wc + (r * stride_wr + s * stride_ws)
            weight = tl.load(w_ptrs + tl.expand_dims(columns, PIXELS), mask=w_ok & tl.expand_dims(c_ok, PIXELS), other=0.0)
            acc = _multiply(x.to(DTYPE), weight.to(DTYPE), acc, CHANNELS_LAST, PRECISION)

    if bias_ptr is not None:
        bias = tl.load(bias_ptr + (group * K + offs_k) * stride_bias, mask=k_ok, other=0.0)
        acc += tl.expand_dims(bias.to(ACC), CHANNELS)
    y_rows = n * stride_yn + p * stride_yp + q * stride_yq
    y_ptr += group * K * stride_yk
    y_ptrs = y_ptr + tl.expand_dims(y_rows, PIXELS) + tl.expand_dims(offs_k, CHANNELS) * stride_yk
    tl.store(y_ptrs, acc.to(y_ptr.dtype.element_ty), mask=tl.expand_dims(m_ok, PIXELS) & w_ok)


@triton.jit
def _multiply(x, weight, acc, CHANNELS_LAST: tl.constexpr, PRECISION: tl.constexpr):
    if CHANNELS_LAST:
        return tl.dot(x, weight, acc, input_precision=PRECISION, out_dtype=acc.dtype)
    else:
        return tl.dot(weight, x, acc, input_precision=PRECISION, out_dtype=acc.dtype)


@triton.jit
def _correlate_direct_kernel(
    x_ptr,
    w_ptr,
    bias_ptr,
    y_ptr,
    N,
    C,
    K,
    H,
    W,
    P,
    Q,
    stride_xn,
    stride_xc,
    stride_xh,
    stride_xw,
    stride_wg,
    stride_wk,
    stride_wc,
    stride_wr,
    stride_ws,
    stride_yn,
    stride_yk,
    stride_yp,
    stride_yq,
    stride_bias,
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
    # Groups of so few channels that a matrix product would be mostly padding: offs_k runs over the channels of all groups.
    PIXELS: tl.constexpr = 1 if CHANNELS_LAST else 0
    CHANNELS: tl.constexpr = 0 if CHANNELS_LAST else 1
    ACC: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    offs_m = block_offsets(tl.program_id(0), BLOCK_M, INT64)
    offs_k = block_offsets(tl.program_id(1), BLOCK_K, INT64)
    n, p, q = offs_m // (P * Q), offs_m // Q % P, offs_m % Q
    m_ok, k_ok = offs_m < N * P * Q, offs_k < GROUPS * K
    row_h, row_w = p * step_h + first_h, q * step_w + first_w
    rows = n * stride_xn + row_h * stride_xh + row_w * stride_xw
    group = offs_k // K
    x_ptrs = x_ptr + tl.expand_dims(group * C * stride_xc, CHANNELS)
    w_ptrs = w_ptr + group * stride_wg + offs_k % K * stride_wk
    acc = tl.zeros((BLOCK_M, BLOCK_K) if CHANNELS_LAST else (BLOCK_K, BLOCK_M), ACC)
    for i in range(R * S * C):
        c, tap = i % C, i // C
        r, s = tap // S, tap % S
        h, w = row_h + r * tap_h, row_w + s * tap_w
        ok = m_ok & (h >= 0) & (h < H) & (w >= 0) & (w < W)
        taps = rows + (r * tap_h * stride_xh + s * tap_w * stride_xw + c * stride_xc)
        ok = tl.expand_dims(ok, PIXELS) & tl.expand_dims(k_ok, CHANNELS)
        x = tl.load(x_ptrs + tl.expand_dims(taps, PIXELS), mask=ok, other=0.0).to(DTYPE).to(ACC)
        weight = tl.load(w_ptrs + (c * stride_wc + r * stride_wr + s * stride_ws), mask=k_ok, other=0.0).to(DTYPE).to(ACC)
        acc += x * tl.expand_dims(weight, CHANNELS)
    if bias_ptr is not None:
        bias = tl.load(bias_ptr + offs_k * stride_bias, mask=k_ok, other=0.0)
        acc += tl.expand_dims(bias.to(ACC), CHANNELS)
    y_rows = n * stride_yn + p * stride_yp + q * stride_yq
    y_ptrs = y_ptr + tl.expand_dims(y_rows, PIXELS) + tl.expand_dims(offs_k, CHANNELS) * stride_yk
    tl.store(y_ptrs, acc.to(y_ptr.dtype.element_ty), mask=tl.expand_dims(m_ok, PIXELS) & tl.expand_dims(k_ok, CHANNELS))


def conv2d_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    geometry("conv2d", x.shape, weight.shape, stride, padding, dilation, groups)
    dtype = check_operands("conv2d", dtype, x=x, weight=weight, bias=bias)
    wide = wide_dtype(dtype)
    bias = None if bias is None else bias.to(wide)
    return torch.conv2d(x.to(dtype).to(wide), weight.to(dtype).to(wide), bias, stride, padding, dilation, groups).to(dtype)


def _flops(x: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, dtype: torch.dtype | None = None) -> int:
    return geometry("conv2d", x.shape, weight.shape, *args).flops


@op(reference=conv2d_reference, flops=_flops)
def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """y[n, k, p, q] = bias[k] + sum over c, r, s of x[n, c, p stride_h + r dilation_h - padding_h, ...] weight[k, c, r, s].

    x is 0 outside of the image. Output channel k of group g = k // (K // groups) sums over the input channels of group g.

    Args:
        x: [N, C, H, W], any strides.
        weight: [K, C // groups, R, S], any strides, dtype of x.
        bias: [K], dtype of x, any stride, or None.
        stride, dilation: pixels between taps' windows, and between taps; an int or (height, width), at least 1.
        padding: pixels of zeros on each side, an int or (height, width); "same" (P, Q = H, W; stride 1) or "valid" (none).
        groups: divides C and K.
        dtype: what operands, of any and also different dtypes, are rounded to before they are multiplied (autocast).

    Returns: [N, K, P, Q], P = (H + 2 padding_h - dilation_h (R - 1) - 1) // stride_h + 1 and Q likewise, channels_last
        where torch takes x or weight for channels_last, else contiguous.

    Raises: ShapeError for sizes that do not fit, DtypeError for operands of several dtypes where `dtype` is None.
    """
    shape = geometry("conv2d", x.shape, weight.shape, stride, padding, dilation, groups)
    dtype = check_operands("conv2d", dtype, x=x, weight=weight, bias=bias)
    last = channels_last(x.shape, x.stride()) or channels_last(weight.shape, weight.stride())
    y = torch.empty_strided(shape.out_shape, format_strides(shape.out_shape, last), dtype=dtype, device=x.device)
    h, w, k = shape.h, shape.w, shape.K // groups
    step, first, tap = (h.stride, w.stride), (-h.pad, -w.pad), (h.dilation, w.dilation)
    correlate(x, weight[:k], k * weight.stride(0), bias, y, groups, step, first, tap, dtype)
    return y


def correlate(
    x: Tensor,
    weight: Tensor,
    by_group: int,
    bias: Tensor | None,
    y: Tensor,
    groups: int,
    step: tuple[int, int],
    first: tuple[int, int],
    tap: tuple[int, int],
    dtype: torch.dtype,
) -> None:
    """Writes y[n, k, p, q] = bias[k] + sum over c, r, s of x[n, c, p step_h + first_h + r tap_h, ...] weight[k, c, r, s].

    weight is the view [K, C, R, S] of the first group's weights; those of group g lie g * by_group elements further. Products are of `dtype`.
    """
    kernel, grid, sizes, constexprs = _call(
        (x.shape, x.stride(), x.dtype),
        (weight.shape, weight.stride(), by_group),
        (y.shape, y.stride(), dtype),
        0 if bias is None else bias.stride(0),
        groups,
        (*step, *first, *tap),
        conv_precision(dtype),
        y.device,
    )
    launch(kernel, grid, x, weight, bias, y, *sizes, **constexprs)


@functools.lru_cache(maxsize=4096)
def _call(
    x: Operand,
    weight: tuple[tuple[int, ...], tuple[int, ...], int],
    y: Operand,
    stride_bias: int,
    groups: int,
    steps: tuple[int, ...],
    precision: str,
    device: torch.device,
) -> tuple[Any, tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Kernel, grid, integer arguments and constexprs of a correlation."""
    (N, _, H, W), x_strides, _ = x
    (K, C, R, S), w_strides, by_group = weight
    (_, _, P, Q), y_strides, dtype = y
    if R * S == 0:
        R, S, C = 1, 1, 0
    M = N * P * Q
    sizes = (N, C, K, H, W, P, Q, *x_strides, by_group, *w_strides, *y_strides, stride_bias, *steps)
    last = channels_last(x[0], x_strides) or x_strides[1] == 1
    int64 = (
        needs_int64(x[0], x_strides)
        or needs_int64((groups, *weight[0]), (by_group, *w_strides))
        or needs_int64(y[0], y_strides)
    )
    constexprs = {"R": R, "S": S, "CHANNELS_LAST": last, "INT64": int64, "DTYPE": TL_DTYPES[dtype]}
    on = target(device)
    if groups > 1 and C * K < 16:
        direct = pick_direct_tile(M, groups * K, last, on)
        grid = (triton.cdiv(M, direct.BLOCK_M), triton.cdiv(groups * K, direct.BLOCK_K))
        return _correlate_direct_kernel, grid, sizes, {"GROUPS": groups, **constexprs, **asdict(direct)}
    flat = C < 16 and R * S > 1
    tile = pick_tile("conv2d", M, K, C * R * S if flat else C, dtype, on, "channels_last" if last else "")
    grid = (triton.cdiv(M, tile.BLOCK_M) * triton.cdiv(K, tile.BLOCK_K), groups)
    return _correlate_kernel, grid, sizes, {**constexprs, "FLAT": flat, "PRECISION": precision, **asdict(tile)}
