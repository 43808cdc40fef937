"""Gradients of pooling: each pixel gathers from the windows that it is in, so that no two programs write one place."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._errors import ShapeError
from .._launch import launch
from .._op import op
from .._strides import row_offsets
from .._tile import wide_dtype
from .average import means
from .blocks import SIZES, block, counted, divided, full_block, line_block, span, wide, windows_over
from .geometry import Mean, Sizes, Windows, adaptive_mean, adaptive_windows, mean, windows
from .lines import backward_lines
from .pick import places
from .plan import backward_plan, images, is_short, new_images, scatter_plan


@triton.jit(do_not_specialize=SIZES)
def _cells_kernel(
    dy_ptr, index_ptr, dx_ptr,
    C, H, W, P, Q, A, B, sdyn, sdyc, sdyp, sdyq, sin, sic, sip, siq, sdxn, sdxc, sdxh, sdxw, divisor,
    R: tl.constexpr, S: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, COUNT: tl.constexpr, INCLUDE_PAD: tl.constexpr, FLAT: tl.constexpr,
    MASKED: tl.constexpr, LAST: tl.constexpr, INT64: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Cells (a, b) of SH x SW pixels: which taps meet a pixel of a cell, and in which windows, is constant."""
    n, c, a, b, mask = block(C, A, B, LAST, INT64, BLOCK_C, BLOCK_P, BLOCK_Q)
    dy_ptrs = dy_ptr + n * sdyn + c * sdyc
    if index_ptr is not None:
        index_ptrs = index_ptr + n * sin + c * sic
    pixels = ()
    for phase in tl.static_range(SH * SW):
        total = tl.zeros(mask.shape, wide(tl.full((), 0, dy_ptr.dtype.element_ty)).dtype)
        for t in tl.static_range(R * S):
            if (phase // SW + PH - t // S * DH) % SH == 0 and (phase % SW + PW - t % S * DW) % SW == 0:
                p, q = a + (phase // SW + PH - t // S * DH) // SH, b + (phase % SW + PW - t % S * DW) // SW
                inside = mask
                if MASKED:
                    inside = mask & (p >= 0) & (p < P) & (q >= 0) & (q < Q)
                dy = wide(tl.load(dy_ptrs + p * sdyp + q * sdyq, mask=inside, other=0.0))
                if index_ptr is not None:
                    at = tl.load(index_ptrs + p * sip + q * siq, mask=inside, other=-1)
                    here = (a * SH + phase // SW).to(tl.int64) * W + b * SW + phase % SW if FLAT else t
                    dy = tl.where(at == here, dy, 0.0)
                elif COUNT:
                    rows = counted(p, H, P, R, SH, PH, False, INCLUDE_PAD)
                    dy = divided(dy, rows * counted(q, W, Q, S, SW, PW, False, INCLUDE_PAD))
                total += dy
        if index_ptr is None and not COUNT:
            total = divided(total, divisor)
        pixels += (total,)  # type: ignore[assignment]
    dx_ptr += n * sdxn
    for phase in tl.static_range(SH * SW):
        h, w = a * SH + phase // SW, b * SW + phase % SW
        # Masks of their own also where cells are whole: a CPU cannot tell interleaved stores of one mask apart.
        inside = mask & (h < H) & (w < W)
        tl.store(dx_ptr + (c * sdxc + h * sdxh + w * sdxw), pixels[phase].to(dx_ptr.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=SIZES)
def _spread_line_kernel(
    dy_ptr, dx_ptr,
    rows, rows1, rows2, K, places, L, out, taps, stride, pad, dilation,
    sdy0, sdy1, sdy2, sdyo, sdyk, sdx0, sdx1, sdx2, sdxl, sdxk, divisor,
    COUNT: tl.constexpr, INCLUDE_PAD: tl.constexpr, ADAPTIVE: tl.constexpr,
    ALONG: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """The gradient of means along an axis, for many rows: a pixel of all columns, or, without any, pixels in a row."""
    i, row, k, mask = line_block(rows, K, places, ALONG, BLOCK_R, BLOCK_K)
    dy_ptrs = dy_ptr + row_offsets(row, rows2, rows1, sdy2, sdy1, sdy0)
    dx_ptrs = dx_ptr + row_offsets(row, rows2, rows1, sdx2, sdx1, sdx0)
    total = tl.zeros((BLOCK_R, BLOCK_K), wide(tl.full((), 0, dy_ptr.dtype.element_ty)).dtype)
    if ALONG:
        i = full_block(i, L, BLOCK_K)
        begin, _ = windows_over(i, L, out, taps, stride, pad, ADAPTIVE)
        _, end = windows_over(tl.minimum(i + BLOCK_K, L) - 1, L, out, taps, stride, pad, ADAPTIVE)
        pixel = i + k
    else:
        begin, end = windows_over(i, L, out, taps, stride, pad, ADAPTIVE)
        dy_ptrs += k * sdyk
    for o in range(begin, end):
        dy = wide(tl.load(dy_ptrs + o * sdyo, mask=mask, other=0.0))
        if COUNT:
            dy = divided(dy, counted(o, L, out, taps, stride, pad, ADAPTIVE, INCLUDE_PAD))
        if ALONG:
            first, _, count = span(o, L, out, taps, stride, pad, dilation, ADAPTIVE)
            dy = tl.where((pixel >= first) & (pixel < first + count), dy, 0.0)
        total += dy
    if not COUNT:
        total = divided(total, divisor)
    if ALONG:
        tl.store(dx_ptrs + pixel * sdxl, total.to(dx_ptr.dtype.element_ty), mask=mask & (pixel < L))
    else:
        tl.store(dx_ptrs + i * sdxl + k * sdxk, total.to(dx_ptr.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=SIZES)
def _scatter_kernel(
    dy_ptr, index_ptr, sums_ptr, dx_ptr,
    C, H, W, P, Q, S, stride_h, stride_w, pad_h, pad_w, DH, DW, rows_over, cols_over,
    sdyn, sdyc, sdyp, sdyq, sin, sic, sip, siq, sdxn, sdxc, sdxpixel,
    FLAT: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Planes [H, W] of BLOCK_C channels, in as many rounds as windows overlap: those of one round share no pixel.

    The sums are dx itself, unless sums_ptr points to wider ones.
    """
    pid = tl.program_id(0)
    n = (pid // tl.cdiv(C, BLOCK_C)).to(tl.int64)
    c = pid % tl.cdiv(C, BLOCK_C) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :].to(tl.int64)
    w = tl.arange(0, BLOCK_W)[:, None].to(tl.int64)
    dy_ptrs, index_ptrs = dy_ptr + n * sdyn + c * sdyc, index_ptr + n * sin + c * sic
    dx_ptrs = dx_ptr + n * sdxn + c * sdxc
    sums_ptrs = dx_ptrs if sums_ptr is None else sums_ptr + n * sdxn + c * sdxc
    zero = tl.zeros((BLOCK_W, BLOCK_C), sums_ptrs.dtype.element_ty)
    pixels = H.to(tl.int64) * W
    for start in range(0, pixels, BLOCK_W):
        tl.store(sums_ptrs + (start + w) * sdxpixel, zero, mask=(start + w < pixels) & (c < C))
    for turn in range(rows_over * cols_over):
        tl.debug_barrier()
        p0, q0 = turn // cols_over, turn % cols_over
        in_a_row = tl.cdiv(Q - q0, cols_over)
        windows = tl.cdiv(P - p0, rows_over).to(tl.int64) * in_a_row
        for start in range(0, windows, BLOCK_W):
            p, q = p0 + (start + w) // in_a_row * rows_over, q0 + (start + w) % in_a_row * cols_over
            mask = (start + w < windows) & (c < C)
            at = tl.load(index_ptrs + p * sip + q * siq, mask=mask, other=-1).to(tl.int64)
            pixel = at
            if not FLAT:
                pixel = (p * stride_h - pad_h + at // S * DH) * W + q * stride_w - pad_w + at % S * DW
            inside = mask & (at >= 0) & (pixel >= 0) & (pixel < pixels)
            dy = tl.load(dy_ptrs + p * sdyp + q * sdyq, mask=mask, other=0.0).to(zero.dtype)
            total = dy + tl.load(sums_ptrs + pixel * sdxpixel, mask=inside, other=0.0)
            tl.store(sums_ptrs + pixel * sdxpixel, total, mask=inside)
    if sums_ptr is not None:
        tl.debug_barrier()
        for start in range(0, pixels, BLOCK_W):
            mask = (start + w < pixels) & (c < C)
            total = tl.load(sums_ptrs + (start + w) * sdxpixel, mask=mask, other=0.0)
            tl.store(dx_ptrs + (start + w) * sdxpixel, total.to(dx_ptr.dtype.element_ty), mask=mask)


def max_pool2d_backward_reference(
    dy: Tensor,
    index: Tensor,
    shape: Sequence[int],
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    *,
    channels_last: bool = False,
) -> Tensor:
    over = windows("max_pool2d_backward", shape, kernel_size, stride, padding, dilation, ceil_mode)
    _check("max_pool2d_backward", shape, over, dy, index)
    return _scattered(dy, index if index.dtype == torch.int64 else places(index, over), shape, channels_last)


def adaptive_max_pool2d_backward_reference(
    dy: Tensor, index: Tensor, shape: Sequence[int], *, channels_last: bool = False
) -> Tensor:
    over = adaptive_windows("adaptive_max_pool2d_backward", shape, dy.shape[-2:])
    _check("adaptive_max_pool2d_backward", shape, over, dy, index)
    return _scattered(dy, index.long(), shape, channels_last)


def _scattered(dy: Tensor, places: Tensor, shape: Sequence[int], channels_last: bool) -> Tensor:
    wider = dy.to(wide_dtype(dy.dtype)).flatten(-2)
    dx = wider.new_zeros((*shape[:-2], shape[-2] * shape[-1])).scatter_add(-1, places.flatten(-2), wider)
    return _laid_out(dx.view(tuple(shape)).to(dy.dtype), channels_last)


def avg_pool2d_backward_reference(
    dy: Tensor,
    shape: Sequence[int],
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    channels_last: bool = False,
) -> Tensor:
    sizes = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    of = mean("avg_pool2d_backward", shape, *sizes)
    _check("avg_pool2d_backward", shape, of.windows, dy)
    return _differentiated(dy, shape, of, channels_last)


def adaptive_avg_pool2d_backward_reference(dy: Tensor, shape: Sequence[int], *, channels_last: bool = False) -> Tensor:
    of = adaptive_mean("adaptive_avg_pool2d_backward", shape, dy.shape[-2:])
    _check("adaptive_avg_pool2d_backward", shape, of.windows, dy)
    return _differentiated(dy, shape, of, channels_last)


def _differentiated(dy: Tensor, shape: Sequence[int], of: Mean, channels_last: bool) -> Tensor:
    """As means are linear, their gradient is the same at every x."""
    wider = dy.to(wide_dtype(dy.dtype))
    if dy.numel() == 0:
        return _laid_out(dy.new_zeros(tuple(shape)), channels_last)
    with torch.enable_grad():
        x = wider.new_zeros(tuple(shape)).requires_grad_()
        (dx,) = torch.autograd.grad(means(x, of), x, wider)
    return _laid_out(dx.to(dy.dtype), channels_last)


def _laid_out(dx: Tensor, channels_last: bool) -> Tensor:
    return dx.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


@op(reference=max_pool2d_backward_reference)
def max_pool2d_backward(
    dy: Tensor,
    index: Tensor,
    shape: Sequence[int],
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    *,
    channels_last: bool = False,
) -> Tensor:
    """dx[n, c, h, w] = sum of dy[n, c, p, q] over the windows p, q whose largest pixel is h, w.

    Args:
        dy: the gradient of y, any strides.
        index: what max_pool2d returned for the same hyper-parameters, any strides.
        shape: of x.
        channels_last: how dx is laid out.

    Returns: dx of `shape` and dy's dtype, summed in float32 (float64 for float64) in the order of the taps.

    Raises: ShapeError for hyper-parameters that do not fit, and a dy or an index that do not belong to them.
    """
    over = windows("max_pool2d_backward", shape, kernel_size, stride, padding, dilation, ceil_mode)
    _check("max_pool2d_backward", shape, over, dy, index)
    return _launch(dy, index, shape, Mean(over, 1), index.dtype == torch.int64, channels_last)


@op(reference=adaptive_max_pool2d_backward_reference)
def adaptive_max_pool2d_backward(
    dy: Tensor, index: Tensor, shape: Sequence[int], *, channels_last: bool = False
) -> Tensor:
    """dx[n, c, h, w] = sum of dy[n, c, p, q] over the windows p, q whose largest pixel is h, w.

    Args:
        dy: the gradient of y, any strides.
        index: what adaptive_max_pool2d returned, any strides.
        shape: of x.
        channels_last: how dx is laid out.

    Returns: dx of `shape` and dy's dtype, summed in float32 (float64 for float64).

    Raises: ShapeError for a dy or an index that do not belong to `shape`.
    """
    over = adaptive_windows("adaptive_max_pool2d_backward", shape, dy.shape[-2:])
    _check("adaptive_max_pool2d_backward", shape, over, dy, index)
    return _launch(dy, index, shape, Mean(over, 1), True, channels_last)


@op(reference=avg_pool2d_backward_reference)
def avg_pool2d_backward(
    dy: Tensor,
    shape: Sequence[int],
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    channels_last: bool = False,
) -> Tensor:
    """dx[n, c, h, w] = sum of dy[n, c, p, q] / divisor over the windows p, q that h, w is in.

    Args:
        dy: the gradient of y, any strides.
        shape: of x.
        channels_last: how dx is laid out.

    Returns: dx of `shape` and dy's dtype, summed in float32 (float64 for float64) in the order of the taps.

    Raises: ShapeError for hyper-parameters that do not fit, and a dy that does not belong to them.
    """
    sizes = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    of = mean("avg_pool2d_backward", shape, *sizes)
    _check("avg_pool2d_backward", shape, of.windows, dy)
    return _launch(dy, None, shape, of, False, channels_last)


@op(reference=adaptive_avg_pool2d_backward_reference)
def adaptive_avg_pool2d_backward(dy: Tensor, shape: Sequence[int], *, channels_last: bool = False) -> Tensor:
    """dx[n, c, h, w] = sum of dy[n, c, p, q] / pixels of the window over the windows p, q that h, w is in.

    Args:
        dy: the gradient of y, any strides.
        shape: of x.
        channels_last: how dx is laid out.

    Returns: dx of `shape` and dy's dtype, summed in float32 (float64 for float64).

    Raises: ShapeError for a dy that does not belong to `shape`.
    """
    of = adaptive_mean("adaptive_avg_pool2d_backward", shape, dy.shape[-2:])
    _check("adaptive_avg_pool2d_backward", shape, of.windows, dy)
    return _launch(dy, None, shape, of, False, channels_last)


def _launch(dy: Tensor, index: Tensor | None, shape: Sequence[int], of: Mean, flat: bool, last: bool) -> Tensor:
    last = last and len(shape) == 4
    dx = new_images(tuple(shape), dy, dy.dtype, last)
    index_strides = (0, 0, 0, 0) if index is None else images(index).stride()
    strides = (images(dy).stride(), index_strides, images(dx).stride())
    means = {"COUNT": of.divisor == 0, "INCLUDE_PAD": of.include_pad}
    if is_short(of.windows, last):
        plan = backward_plan(of.windows, *strides, last, dy.device)
        launch(
            _cells_kernel, plan.grid, dy, index, dx, *plan.integers, of.divisor, FLAT=flat, **means, **plan.constexprs
        )  # fmt: skip
    elif index is not None:
        plan = scatter_plan(of.windows, *strides, last, dy.device)
        sums = None if dy.dtype == wide_dtype(dy.dtype) else new_images(tuple(shape), dy, wide_dtype(dy.dtype), last)
        launch(_scatter_kernel, plan.grid, dy, index, sums, dx, *plan.integers, FLAT=flat, **plan.constexprs)
    else:
        for line in backward_lines(of.windows, strides[0], strides[2], last, dy.device):
            to, divisor = dx, of.divisor
            if not line.is_last:
                to, divisor = new_images(line.shape, dy, wide_dtype(dy.dtype), last), 1
            launch(_spread_line_kernel, line.grid, dy, to, *line.integers, divisor, **means, **line.constexprs)
            dy = to
    return dx


def _check(name: str, shape: Sequence[int], over: Windows, dy: Tensor, index: Tensor | None = None) -> None:
    expected = over.out_like(tuple(shape))
    if tuple(dy.shape) != expected:
        raise ShapeError(f"{name}: dy is {tuple(dy.shape)}; for x of {tuple(shape)} it is {expected}")
    if index is not None and tuple(index.shape) != expected:
        raise ShapeError(f"{name}: index is {tuple(index.shape)} and dy {expected}")
