"""What the kernels of pooling share: where a program's block lies, windows along an axis, dtypes, divisors of means."""

import triton
import triton.language as tl

SIZES = ["N", "C", "H", "W", "P", "Q", "A", "B", "pad_h", "pad_w", "rows_over", "cols_over", "divisor"]
"""Parameters that a kernel is not built anew for when they are 1."""


@triton.jit
def along(first, BLOCK: tl.constexpr, AXIS: tl.constexpr, INT64: tl.constexpr):
    """first, first + 1, ... along one of three axes; in 64 bits where their product with a stride can pass 2^31."""
    offs = first + tl.arange(0, BLOCK)
    if INT64:
        offs = offs.to(tl.int64)
    if AXIS == 0:
        return offs[:, None, None]
    elif AXIS == 1:
        return offs[None, :, None]
    else:
        return offs[None, None, :]


@triton.jit
def block(
    C, P, Q,
    LAST: tl.constexpr, INT64: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """The image n of a program, its indices c, p, q, and their mask: [C, P, Q], or [P, Q, C] for channels last."""
    pid = tl.program_id(0)
    blocks_q, blocks_p, blocks_c = tl.cdiv(Q, BLOCK_Q), tl.cdiv(P, BLOCK_P), tl.cdiv(C, BLOCK_C)
    q = along(pid % blocks_q * BLOCK_Q, BLOCK_Q, 1 if LAST else 2, INT64)
    p = along(pid // blocks_q % blocks_p * BLOCK_P, BLOCK_P, 0 if LAST else 1, INT64)
    c = along(pid // blocks_q // blocks_p % blocks_c * BLOCK_C, BLOCK_C, 2 if LAST else 0, INT64)
    n = (pid // blocks_q // blocks_p // blocks_c).to(tl.int64)
    return n, c, p, q, (c < C) & (p < P) & (q < Q)


@triton.jit
def span(o, size, out, taps, stride, pad, dilation, ADAPTIVE: tl.constexpr):
    """The first pixel of window o, perhaps before the image, and the end of its pixels in the image."""
    if ADAPTIVE:
        return o * size // out, ((o + 1) * size + out - 1) // out
    else:
        first = o * stride - pad
        return first, tl.minimum(first + (taps - 1) * dilation + 1, size)


@triton.jit
def windows_over(h, size, out, taps, stride, pad, dilation, ADAPTIVE: tl.constexpr):
    """The first and the last window over pixel h; with a dilation h may lie between the taps of one."""
    if ADAPTIVE:
        return h * out // size, ((h + 1) * out + size - 1) // size - 1
    else:
        reach = h + pad - (taps - 1) * dilation
        return tl.maximum(reach + stride - 1, 0) // stride, tl.minimum((h + pad) // stride, out - 1)


@triton.jit
def counted(o, size, out, taps, stride, pad, ADAPTIVE: tl.constexpr, INCLUDE_PAD: tl.constexpr):
    """How many pixels along an axis window o of a mean is divided by."""
    start, end = span(o, size, out, taps, stride, pad, 1, ADAPTIVE)
    if ADAPTIVE:
        return end - start
    elif INCLUDE_PAD:
        return tl.minimum(start + taps, size + pad) - start
    else:
        return end - tl.maximum(start, 0)


@triton.jit
def long_block(N, C, P, Q, LAST: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_K: tl.constexpr):
    """The windows [BLOCK_R, 1] of a program: their n, c, p, q, what is counted along [1, BLOCK_K], and a mask.

    Channels last, channels are counted along BLOCK_K, else the pixels in a row of each window.
    """
    pid = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, BLOCK_K)[None, :]
    blocks_c = tl.cdiv(C, BLOCK_K) if LAST else 1
    row = (pid // blocks_c * BLOCK_R + tl.arange(0, BLOCK_R))[:, None]
    p, q = row // Q % P, row % Q
    if LAST:
        c, n = pid % blocks_c * BLOCK_K + k, row // Q // P
        return n, c, p, q, k, (n < N) & (c < C)
    else:
        c, n = row // Q // P % C, row // Q // P // C
        return n, c, p, q, k, n < N


@triton.jit
def wide(x):
    """As values are compared and sums are kept: bfloat16 and float16 in float32."""
    return x.to(tl.float32) if x.dtype.is_floating() and x.dtype.primitive_bitwidth == 16 else x


@triton.jit
def divided(total, divisor):
    """A mean; of integers, rounded to zero."""
    if total.dtype.is_floating():
        return total / tl.cast(divisor, total.dtype)
    else:
        return total // divisor
