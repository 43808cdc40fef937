"""The correlation that conv2d and its grad input are both made of, as an implicit matrix product or directly."""

from dataclasses import asdict

import torch
import triton
import triton.language as tl

from .._tile import TL_DTYPES, block_offsets, widened
from .._tune import target
from .geometry import needs_int64
from .plan import Call, Operand
from .tiles import pick_direct_tile, pick_tile

VARYING = [
    *"NHWPQRS",
    "step_h",
    "step_w",
    "first_h",
    "first_w",
    "tap_h",
    "tap_w",
    "stride_bias",
    "part_pixels",
    "groups",
]
"""Arguments whose value no kernel is compiled for: one kernel serves images of all sizes, and kernels of all sizes."""

# Both kernels: pixel (p, q) of y meets pixel (p * step_h + first_h + r * tap_h, q * step_w + first_w + s * tap_w) of x
# at tap (r, s); C and K are the channels of one group. Where CHANNELS_LAST, tiles are [pixels, channels], else
# [channels, pixels], so that their last axis is contiguous in memory.


@triton.jit(do_not_specialize=VARYING)
def _correlate_kernel(
    x_ptr, w_ptr, bias_ptr, y_ptr,
    N, C, K, H, W, P, Q, R, S,
    stride_xn, stride_xc, stride_xh, stride_xw, stride_wg, stride_wk, stride_wc, stride_wr, stride_ws,
    stride_yn, stride_yk, stride_yp, stride_yq, stride_bias,
    step_h, step_w, first_h, first_w, tap_h, tap_w,
    FLAT: tl.constexpr, CHANNELS_LAST: tl.constexpr, INT64: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    PIXELS: tl.constexpr = 1 if CHANNELS_LAST else 0
    CHANNELS: tl.constexpr = 0 if CHANNELS_LAST else 1
    ACC: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    blocks_k = tl.cdiv(K, BLOCK_K)
    pid = tl.program_id(0)
    pid_m, pid_k, group = pid // blocks_k, pid % blocks_k, tl.program_id(1)
    group, tap_h, tap_w = widened(group, INT64), widened(tap_h, INT64), widened(tap_w, INT64)
    offs_m = block_offsets(pid_m, BLOCK_M, INT64)
    offs_k = block_offsets(pid_k, BLOCK_K, INT64)
    offs_c = block_offsets(0, BLOCK_C, INT64)
    n, p, q = split_pixels(offs_m, P, Q)
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
            ok = inside(h, w, H, W) & tl.expand_dims(m_ok, PIXELS) & tl.expand_dims(i_ok, CHANNELS)
            x = tl.load(x_ptr + tl.expand_dims(rows, PIXELS) + tl.expand_dims(columns, CHANNELS), mask=ok, other=0.0)
            columns = c * stride_wc + r * stride_wr + s * stride_ws
            ok = w_ok & tl.expand_dims(i_ok, PIXELS)
            weight = tl.load(w_ptrs + tl.expand_dims(columns, PIXELS), mask=ok, other=0.0)
            acc = _multiply(x.to(DTYPE), weight.to(DTYPE), acc, CHANNELS_LAST, PRECISION)
    else:
        blocks_c = tl.cdiv(C, BLOCK_C)
        for i in range(R * S * blocks_c):
            c, tap = i % blocks_c * BLOCK_C + offs_c, i // blocks_c
            r, s = widened(tap // S, INT64), widened(tap % S, INT64)
            c_ok = c < C
            h, w = row_h + r * tap_h, row_w + s * tap_w
            ok = m_ok & inside(h, w, H, W)
            taps = rows + (r * tap_h * stride_xh + s * tap_w * stride_xw)
            x_ptrs = x_ptr + tl.expand_dims(taps, PIXELS) + tl.expand_dims(c, CHANNELS) * stride_xc
            x = tl.load(x_ptrs, mask=tl.expand_dims(ok, PIXELS) & tl.expand_dims(c_ok, CHANNELS), other=0.0)
            columns = c * stride_wc + (r * stride_wr + s * stride_ws)
            ok = w_ok & tl.expand_dims(c_ok, PIXELS)
            weight = tl.load(w_ptrs + tl.expand_dims(columns, PIXELS), mask=ok, other=0.0)
            acc = _multiply(x.to(DTYPE), weight.to(DTYPE), acc, CHANNELS_LAST, PRECISION)

    _store(
        acc, bias_ptr, y_ptr, group * K, offs_k, k_ok, n, p, q, m_ok,
        stride_bias, stride_yn, stride_yk, stride_yp, stride_yq, CHANNELS_LAST,
    )  # fmt: skip


@triton.jit
def split_pixels(offs_m, P, Q):
    """Image, row and column of pixel numbers."""
    n = offs_m // (P * Q)
    within = offs_m - n * (P * Q)
    p = within // Q
    return n, p, within - p * Q


@triton.jit
def inside(h, w, H, W):
    """Whether pixels are of the image, and not of its padding."""
    return (h >= 0) & (h < H) & (w >= 0) & (w < W)


@triton.jit
def _multiply(x, weight, acc, CHANNELS_LAST: tl.constexpr, PRECISION: tl.constexpr):
    if CHANNELS_LAST:
        return tl.dot(x, weight, acc, input_precision=PRECISION, out_dtype=acc.dtype)
    else:
        return tl.dot(weight, x, acc, input_precision=PRECISION, out_dtype=acc.dtype)


@triton.jit
def _store(
    acc, bias_ptr, y_ptr, first_k, offs_k, k_ok, n, p, q, m_ok,
    stride_bias, stride_yn, stride_yk, stride_yp, stride_yq, CHANNELS_LAST: tl.constexpr,
):  # fmt: skip
    """acc + bias to pixels (n, p, q) of the channels first_k + offs_k."""
    PIXELS: tl.constexpr = 1 if CHANNELS_LAST else 0
    CHANNELS: tl.constexpr = 0 if CHANNELS_LAST else 1
    if bias_ptr is not None:
        bias = tl.load(bias_ptr + (first_k + offs_k).to(tl.int64) * stride_bias, mask=k_ok, other=0.0)
        acc += tl.expand_dims(bias.to(acc.dtype), CHANNELS)
    rows = n * stride_yn + p * stride_yp + q * stride_yq
    y_ptr += first_k * stride_yk
    y_ptrs = y_ptr + tl.expand_dims(rows, PIXELS) + tl.expand_dims(offs_k, CHANNELS) * stride_yk
    tl.store(y_ptrs, acc.to(y_ptr.dtype.element_ty), mask=tl.expand_dims(m_ok, PIXELS) & tl.expand_dims(k_ok, CHANNELS))


@triton.jit(do_not_specialize=VARYING)
def _correlate_direct_kernel(
    x_ptr, w_ptr, bias_ptr, y_ptr,
    N, C, K, H, W, P, Q, R, S,
    stride_xn, stride_xc, stride_xh, stride_xw, stride_wg, stride_wk, stride_wc, stride_wr, stride_ws,
    stride_yn, stride_yk, stride_yp, stride_yq, stride_bias,
    step_h, step_w, first_h, first_w, tap_h, tap_w, groups,
    CHANNELS_LAST: tl.constexpr, INT64: tl.constexpr, DTYPE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    # For groups of so few channels that a matrix product would be mostly padding: offs_k runs over those of all groups.
    tap_h, tap_w = widened(tap_h, INT64), widened(tap_w, INT64)
    PIXELS: tl.constexpr = 1 if CHANNELS_LAST else 0
    CHANNELS: tl.constexpr = 0 if CHANNELS_LAST else 1
    ACC: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    offs_m = block_offsets(tl.program_id(0), BLOCK_M, INT64)
    offs_k = block_offsets(tl.program_id(1), BLOCK_K, INT64)
    n, p, q = split_pixels(offs_m, P, Q)
    m_ok, k_ok = offs_m < N * P * Q, offs_k < groups * K
    row_h, row_w = p * step_h + first_h, q * step_w + first_w
    rows = n * stride_xn + row_h * stride_xh + row_w * stride_xw
    group = offs_k // K
    x_ptrs = x_ptr + tl.expand_dims(group * C * stride_xc, CHANNELS)
    w_ptrs = w_ptr + group * stride_wg + offs_k % K * stride_wk
    acc = tl.zeros((BLOCK_M, BLOCK_K) if CHANNELS_LAST else (BLOCK_K, BLOCK_M), ACC)
    for i in range(R * S * C):
        c, tap = widened(i % C, INT64), i // C
        r, s = widened(tap // S, INT64), widened(tap % S, INT64)
        h, w = row_h + r * tap_h, row_w + s * tap_w
        ok = m_ok & inside(h, w, H, W)
        taps = rows + (r * tap_h * stride_xh + s * tap_w * stride_xw + c * stride_xc)
        ok = tl.expand_dims(ok, PIXELS) & tl.expand_dims(k_ok, CHANNELS)
        x = tl.load(x_ptrs + tl.expand_dims(taps, PIXELS), mask=ok, other=0.0).to(DTYPE).to(ACC)
        weight = tl.load(w_ptrs + (c * stride_wc + r * stride_wr + s * stride_ws), mask=k_ok, other=0.0)
        acc += x * tl.expand_dims(weight.to(DTYPE).to(ACC), CHANNELS)
    _store(
        acc, bias_ptr, y_ptr, 0, offs_k, k_ok, n, p, q, m_ok,
        stride_bias, stride_yn, stride_yk, stride_yp, stride_yq, CHANNELS_LAST,
    )  # fmt: skip


def direct(groups: int, K: int, C: int) -> bool:
    """Whether groups of K by C channels are so small that a matrix product would be mostly padding."""
    return groups > 1 and K * C < 16


def flat(C: int, R: int, S: int) -> bool:
    """Whether there are so few channels that a block of the reduction runs over channels and taps together."""
    return C < 16 and R * S > 1


def correlate_call(
    x: Operand,
    weight: Operand,
    by_group: int,
    y: Operand,
    stride_bias: int,
    groups: int,
    step: tuple[int, int],
    first: tuple[int, int],
    tap: tuple[int, int],
    dtype: torch.dtype,
    precision: str,
    device: torch.device,
) -> Call:
    """How to write y[n, k, p, q] = bias[k] + sum over c, r, s of x[n, c, h, w] weight[k, c, r, s].

    There h = p step_h + first_h + r tap_h, and w likewise. weight is that of the first group, [K, C, R, S]; those of
    group g lie g * by_group elements further. Products are of `dtype`. Launched with x, weight, bias or None, and y.
    """
    N, _, H, W = x.shape
    K, C, R, S = weight.shape
    _, _, P, Q = y.shape
    if R * S == 0:
        R, S, C = 1, 1, 0
    M = N * P * Q
    strides = (*x.strides, by_group, *weight.strides, *y.strides, stride_bias)
    sizes = (N, C, K, H, W, P, Q, R, S, *strides, *step, *first, *tap)
    last = x.channels_contiguous
    int64 = x.far or y.far or needs_int64((groups, *weight.shape), (by_group, *weight.strides))
    constexprs = {"CHANNELS_LAST": last, "INT64": int64, "DTYPE": TL_DTYPES[dtype]}
    if direct(groups, K, C):
        elements = pick_direct_tile(M, groups * K, last, target(device))
        grid = (triton.cdiv(M, elements.BLOCK_M), triton.cdiv(groups * K, elements.BLOCK_K))
        return Call(_correlate_direct_kernel, grid, (*sizes, groups), {**constexprs, **asdict(elements)})
    together = flat(C, R, S)
    layout = "channels_last" if last else ""
    columns, operands = C * R * S if together else C, (x.dtype, weight.dtype)
    tile = pick_tile("conv2d", M, K, columns, together, dtype, target(device), layout, operands, int64)
    grid = (triton.cdiv(M, tile.BLOCK_M) * triton.cdiv(K, tile.BLOCK_K), groups)
    return Call(
        _correlate_kernel, grid, sizes, {**constexprs, "FLAT": together, "PRECISION": precision, **asdict(tile)}
    )
