"""avg_pool2d and adaptive_avg_pool2d: the mean of the pixels of each window."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._errors import DtypeError, dtype_name
from .._launch import launch
from .._op import FLOATS, op
from .._strides import row_offsets
from .._tile import wide_dtype
from .blocks import SIZES, block, counted, divided, line_block, span, wide
from .geometry import Mean, OutputSize, Sizes, adaptive_mean, mean
from .lines import forward_lines
from .plan import forward_plan, images, is_channels_last, is_short, new_images


@triton.jit(do_not_specialize=SIZES)
def _avg_pool2d_kernel(
    x_ptr, y_ptr,
    C, H, W, P, Q, pad_h, pad_w, sxn, sxc, sxh, sxw, syn, syc, syp, syq, divisor,
    R: tl.constexpr, S: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    COUNT: tl.constexpr, INCLUDE_PAD: tl.constexpr, MASKED: tl.constexpr, LAST: tl.constexpr, INT64: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    n, c, p, q, mask = block(C, P, Q, LAST, INT64, BLOCK_C, BLOCK_P, BLOCK_Q)
    h0, w0 = p * SH - pad_h, q * SW - pad_w
    x_ptr += n * sxn
    for t in tl.static_range(R * S):
        h, w = h0 + t // S * DH, w0 + t % S * DW
        inside = mask
        if MASKED:
            inside = mask & (h >= 0) & (h < H) & (w >= 0) & (w < W)
        x = wide(tl.load(x_ptr + c * sxc + h * sxh + w * sxw, mask=inside, other=0))
        if t == 0:
            total = x
        else:
            total += x
    if COUNT:
        rows = counted(p, H, P, R, SH, pad_h, False, INCLUDE_PAD)
        divisor = rows * counted(q, W, Q, S, SW, pad_w, False, INCLUDE_PAD)
    y = divided(total, divisor)
    tl.store(y_ptr + n * syn + c * syc + p * syp + q * syq, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=SIZES)
def _mean_line_kernel(
    x_ptr, y_ptr,
    rows, rows1, rows2, K, places, L, out, taps, stride, pad, dilation,
    sx0, sx1, sx2, sxl, sxk, sy0, sy1, sy2, syo, syk, divisor, H, P, taps_h, stride_h, pad_h,
    COUNT: tl.constexpr, INCLUDE_PAD: tl.constexpr, ADAPTIVE: tl.constexpr,
    ALONG: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One window along an axis, for many rows and columns: its taps one after the other, or side by side.

    Pixels are counted along w, after h, when rows are numbered by windows along h.
    """
    o, row, k, mask = line_block(rows, K, places, ALONG, BLOCK_R, BLOCK_K)
    first, _, count = span(o, L, out, taps, stride, pad, dilation, ADAPTIVE)
    x_ptrs = x_ptr + row_offsets(row, rows2, rows1, sx2, sx1, sx0) + first * sxl
    y_ptrs = y_ptr + row_offsets(row, rows2, rows1, sy2, sy1, sy0) + o * syo
    if not ALONG:
        x_ptrs += k * sxk
        y_ptrs += k * syk
    total = tl.zeros((BLOCK_R, BLOCK_K), wide(tl.full((), 0, x_ptr.dtype.element_ty)).dtype)
    for s in range(0, count, BLOCK_K if ALONG else 1):
        if ALONG:
            total += wide(tl.load(x_ptrs + (s + k) * sxl, mask=mask & (s + k < count), other=0))
        else:
            total += wide(tl.load(x_ptrs + s * sxl, mask=mask, other=0))
    if ALONG:
        total = tl.sum(total, 1, keep_dims=True)
    if COUNT:
        divisor = counted(row % P, H, P, taps_h, stride_h, pad_h, ADAPTIVE, INCLUDE_PAD)
        divisor *= counted(o, L, out, taps, stride, pad, ADAPTIVE, INCLUDE_PAD)
    tl.store(y_ptrs, divided(total, divisor).to(y_ptr.dtype.element_ty), mask=mask)


def avg_pool2d_reference(
    x: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    _check_dtype("avg_pool2d", x, (*FLOATS, torch.int64))
    sizes = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return means(x, mean("avg_pool2d", x.shape, *sizes))


def adaptive_avg_pool2d_reference(x: Tensor, output_size: OutputSize) -> Tensor:
    _check_dtype("adaptive_avg_pool2d", x, FLOATS)
    return means(x, adaptive_mean("adaptive_avg_pool2d", x.shape, output_size))


def means(x: Tensor, of: Mean) -> Tensor:
    """The reference of both."""
    h, w = of.windows.h, of.windows.w
    if 0 in (h.out, w.out):
        return x.new_empty(of.windows.out_like(x.shape))
    sums = x.to(wide_dtype(x.dtype)) if x.is_floating_point() else x
    sums = torch.stack([sums[..., h.pixels(p), :].sum(-2) for p in range(h.out)], -2)
    sums = torch.stack([sums[..., w.pixels(q)].sum(-1) for q in range(w.out)], -1)
    rows, cols = (torch.tensor(axis.counts(of.include_pad), device=x.device) for axis in (h, w))
    divisor = of.divisor or rows[:, None] * cols
    y = (sums / divisor).to(x.dtype) if x.is_floating_point() else torch.div(sums, divisor, rounding_mode="trunc")
    return y.contiguous(memory_format=torch.channels_last) if is_channels_last(x) else y


@op(reference=avg_pool2d_reference)
def avg_pool2d(
    x: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """y[n, c, p, q] = sum over r, s of x[n, c, h, w] / divisor, h = p stride_h + r - padding_h, and w likewise.

    What lies outside of the image counts as 0. The divisor is divisor_override, else the number of pixels of the
    window, those in the padding included or not; what is beyond the padding never counts.

    Args:
        x: [N, C, H, W] or [C, H, W], floating-point or int64 (means are rounded to zero), any strides.
        kernel_size, stride, padding: an int or two, for height and width; the stride is kernel_size if not given.
        ceil_mode: P = ceil((H + 2 padding_h - R) / stride_h) + 1 instead of floor, without a last window that starts
            in the padding behind; Q likewise.

    Returns: [N, C, P, Q] or [C, P, Q] of x's dtype; channels_last if x is, else contiguous. Sums are kept in float32,
        float64 or int64.

    Raises: ShapeError for ranks, sizes or hyper-parameters that do not fit, DtypeError for another dtype.
    """
    _check_dtype("avg_pool2d", x, (*FLOATS, torch.int64))
    sizes = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return _launch(x, mean("avg_pool2d", x.shape, *sizes))


@op(reference=adaptive_avg_pool2d_reference)
def adaptive_avg_pool2d(x: Tensor, output_size: OutputSize) -> Tensor:
    """y[n, c, p, q] is the mean of x[n, c, h, w], h from floor(p H / P) to ceil((p + 1) H / P), and w likewise.

    Args:
        x: [N, C, H, W] or [C, H, W], floating-point, any strides.
        output_size: P and Q, or one int for both; None leaves the input's size.

    Returns: [N, C, P, Q] or [C, P, Q] of x's dtype; channels_last if x is, else contiguous. Sums are kept in float32,
        for float64 in float64.

    Raises: ShapeError for another rank, an empty height or width or a negative size, DtypeError for another dtype.
    """
    _check_dtype("adaptive_avg_pool2d", x, FLOATS)
    return _launch(x, adaptive_mean("adaptive_avg_pool2d", x.shape, output_size))


def _launch(x: Tensor, of: Mean) -> Tensor:
    last = is_channels_last(x)
    y = new_images((*x.shape[:-2], of.windows.h.out, of.windows.w.out), x, x.dtype, last)
    strides = (images(x).stride(), images(y).stride())
    if is_short(of.windows, last):
        plan = forward_plan(of.windows, *strides, last, x.device)
        launch(
            _avg_pool2d_kernel, plan.grid, x, y, *plan.integers, of.divisor,
            COUNT=of.divisor == 0, INCLUDE_PAD=of.include_pad, **plan.constexprs,
        )  # fmt: skip
        return y
    h, sums = of.windows.h, wide_dtype(x.dtype) if x.is_floating_point() else x.dtype
    for line in forward_lines(of.windows, *strides, last, x.device):
        to, divisor = (y, of.divisor) if line.is_last else (new_images(line.shape, x, sums, last), 1)
        launch(
            _mean_line_kernel, line.grid, x, to, *line.integers, divisor, h.inp, h.out, h.taps, h.stride, h.pad,
            COUNT=divisor == 0, INCLUDE_PAD=of.include_pad, **line.constexprs,
        )  # fmt: skip
        x = to
    return y


def _check_dtype(name: str, x: Tensor, dtypes: tuple[torch.dtype, ...]) -> None:
    if x.dtype not in dtypes:
        raise DtypeError(f"{name}: x is {dtype_name(x.dtype)}; it takes {', '.join(map(dtype_name, dtypes))}")
