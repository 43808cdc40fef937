"""What the kernels of pooling share: where a program's block lies, windows along an axis, dtypes, divisors of means."""

import triton
import triton.language as tl

SIZES = [*"CHWPQABKL", "rows", "places", "out", "taps", "stride", "pad", "pad_h", "pad_w", "divisor"]
SIZES += ["rows_over", "cols_over", "row_step", "taps_h", "stride_h"]
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
def full_block(block, size, BLOCK: tl.constexpr):
    """Where a block begins: the last one where it ends with the last element, as long as there are enough.

    What two programs then write is the same, and a CPU has no lanes to leave out.
    """
    return tl.minimum(block.to(tl.int64) * BLOCK, tl.maximum(size - BLOCK, 0))


@triton.jit
def line_block(rows, K, places, ALONG: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_K: tl.constexpr):
    """A program's place, one of `places` on the axis, its rows [BLOCK_R, 1], columns [1, BLOCK_K], and their mask.

    Where it is the axis that lies ALONG the columns there are no others, and the mask is one of rows.
    """
    pid = tl.program_id(0)
    k = tl.arange(0, BLOCK_K)[None, :].to(tl.int64)
    block = pid // places
    if not ALONG:
        k += full_block(block % tl.cdiv(K, BLOCK_K), K, BLOCK_K)
        block = block // tl.cdiv(K, BLOCK_K)
    row = full_block(block, rows, BLOCK_R) + tl.arange(0, BLOCK_R)[:, None]
    mask = row < rows
    if not ALONG:
        mask = mask & (k < K)
    return (pid % places).to(tl.int64), row, k, mask


@triton.jit
def span(o, L, out, taps, stride, pad, dilation, ADAPTIVE: tl.constexpr):
    """Of window o along an axis, its first pixel in the image, which tap that is, and how many are in the image."""
    if ADAPTIVE:
        first = o * L // out
        return first, first * 0, ((o + 1) * L + out - 1) // out - first
    else:
        first = o * stride - pad
        tap = (tl.maximum(-first, 0) + dilation - 1) // dilation
        return first + tap * dilation, tap, tl.minimum((L - 1 - first) // dilation + 1, taps) - tap


@triton.jit
def windows_over(i, L, out, taps, stride, pad, ADAPTIVE: tl.constexpr):
    """The first window over pixel i along an axis, and the one after the last."""
    if ADAPTIVE:
        return i * out // L, ((i + 1) * out + L - 1) // L
    else:
        return tl.maximum(i + pad - taps + stride, 0) // stride, tl.minimum((i + pad) // stride + 1, out)


@triton.jit
def counted(o, L, out, taps, stride, pad, ADAPTIVE: tl.constexpr, INCLUDE_PAD: tl.constexpr):
    """How many pixels along an axis window o of a mean is divided by."""
    if ADAPTIVE:
        return ((o + 1) * L + out - 1) // out - o * L // out
    else:
        start = o * stride - pad
        if INCLUDE_PAD:
            return tl.minimum(start + taps, L + pad) - start
        else:
            return tl.minimum(start + taps, L) - tl.maximum(start, 0)


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
