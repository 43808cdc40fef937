"""avg_pool2d and adaptive_avg_pool2d: the mean of the pixels of each window."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._errors import DtypeError, dtype_name
from .._launch import launch
from .._op import FLOATS, op
from .._tile import wide_dtype
from .blocks import SIZES, block, counted, divided, long_block, span, wide
from .geometry import Mean, OutputSize, Sizes, adaptive_mean, mean
from .plan import forward_plan, images, is_channels_last, new_images


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
def _avg_windows_kernel(
    x_ptr, y_ptr,
    N, C, H, W, P, Q, R, S, stride_h, stride_w, pad_h, pad_w, DH, DW,
    sxn, sxc, sxh, sxw, syn, syc, syp, syq, divisor,
    COUNT: tl.constexpr, INCLUDE_PAD: tl.constexpr,
    ADAPTIVE: tl.constexpr, LAST: tl.constexpr, WHOLE: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    n, c, p, q, k, mask = long_block(N, C, P, Q, LAST, BLOCK_R, BLOCK_K)
    h0, h1 = span(p, H, P, R, stride_h, pad_h, DH, ADAPTIVE)
    w0, w1 = span(q, W, Q, S, stride_w, pad_w, DW, ADAPTIVE)
    x_ptrs = x_ptr + n * sxn + c * sxc
    total = tl.zeros((BLOCK_R, BLOCK_K), wide(tl.full((), 0, x_ptr.dtype.element_ty)).dtype)
    for r in range(R):
        h = h0 + r * DH
        for s in range(0, BLOCK_K if WHOLE else S, 1 if LAST else BLOCK_K):
            w = w0 + (s if LAST else s + k) * DW
            inside = mask & (h >= 0) & (h < h1) & (w >= 0) & (w < w1)
            total += wide(tl.load(x_ptrs + h * sxh + w * sxw, mask=inside, other=0))
    if not LAST:
        total = tl.sum(total, 1, keep_dims=True)
    if COUNT:
        rows = counted(p, H, P, R, stride_h, pad_h, ADAPTIVE, INCLUDE_PAD)
        divisor = rows * counted(q, W, Q, S, stride_w, pad_w, ADAPTIVE, INCLUDE_PAD)
    y = divided(total, divisor)
    tl.store(y_ptr + n * syn + c * syc + p * syp + q * syq, y.to(y_ptr.dtype.element_ty), mask=mask)


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
    plan = forward_plan(of.windows, images(x).stride(), images(y).stride(), last, x.device)
    kernel = _avg_pool2d_kernel if plan.short else _avg_windows_kernel
    launch(
        kernel, plan.grid, x, y, *plan.integers, of.divisor,
        COUNT=of.divisor == 0, INCLUDE_PAD=of.include_pad, **plan.constexprs,
    )  # fmt: skip
    return y


def _check_dtype(name: str, x: Tensor, dtypes: tuple[torch.dtype, ...]) -> None:
    if x.dtype not in dtypes:
        raise DtypeError(f"{name}: x is {dtype_name(x.dtype)}; it takes {', '.join(map(dtype_name, dtypes))}")
