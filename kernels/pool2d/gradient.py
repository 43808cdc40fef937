"""Gradients of pooling: each pixel gathers from the windows that it is in, so that no two programs write one place."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._errors import ShapeError
from .._launch import launch
from .._op import op
from .._tile import wide_dtype
from .average import means
from .blocks import SIZES, block, counted, divided, wide, windows_over
from .geometry import Mean, Sizes, Windows, adaptive_mean, adaptive_windows, mean, windows
from .pick import places
from .plan import backward_plan, images, new_images


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
    dx_ptrs = dx_ptr + n * sdxn + c * sdxc
    for phase in tl.static_range(SH * SW):
        h, w = a * SH + phase // SW, b * SW + phase % SW
        # Masks of their own also where cells are whole: a CPU cannot tell interleaved stores of one mask apart.
        inside = mask & (h < H) & (w < W)
        tl.store(dx_ptrs + h * sdxh + w * sdxw, pixels[phase].to(dx_ptr.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=SIZES)
def _pixels_kernel(
    dy_ptr, index_ptr, dx_ptr,
    N, C, H, W, P, Q, R, S, stride_h, stride_w, pad_h, pad_w, DH, DW, rows_over, cols_over,
    sdyn, sdyc, sdyp, sdyq, sin, sic, sip, siq, sdxn, sdxc, sdxh, sdxw, divisor,
    COUNT: tl.constexpr, INCLUDE_PAD: tl.constexpr, FLAT: tl.constexpr, ADAPTIVE: tl.constexpr, DILATED: tl.constexpr,
    ONE: tl.constexpr, LAST: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Rows of pixels, along their channels or along the row: at most rows_over x cols_over windows are over a pixel."""
    pid = tl.program_id(0).to(tl.int64)
    wide_by = C if LAST else W
    blocks_k = tl.cdiv(wide_by, BLOCK_K)
    row = (pid // blocks_k * BLOCK_R + tl.arange(0, BLOCK_R))[:, None]
    k = pid % blocks_k * BLOCK_K + tl.arange(0, BLOCK_K)[None, :]
    if LAST:
        n, h, w, c = row // W // H, row // W % H, row % W, k
    else:
        n, c, h, w = row // H // C, row // H % C, row % H, k
    mask = (n < N) & (k < wide_by)
    p0, p1 = windows_over(h, H, P, R, stride_h, pad_h, DH, ADAPTIVE)
    q0, q1 = windows_over(w, W, Q, S, stride_w, pad_w, DW, ADAPTIVE)
    dy_ptrs = dy_ptr + n * sdyn + c * sdyc
    if index_ptr is not None:
        index_ptrs = index_ptr + n * sin + c * sic
    total = tl.zeros((BLOCK_R, BLOCK_K), wide(tl.full((), 0, dy_ptr.dtype.element_ty)).dtype)
    for i in range(rows_over):
        p = p0 + i
        for j in range(cols_over):
            # A single window in each row is the same for all pixels of the row: read once.
            q = tl.zeros((1, 1), tl.int64) if ONE else q0 + j
            meets = (p <= p1) & (q >= q0) & (q <= q1)
            if DILATED:
                meets &= ((h + pad_h - p * stride_h) % DH == 0) & ((w + pad_w - q * stride_w) % DW == 0)
            inside = (n < N) & (c < C) & (p <= p1) if ONE else mask & meets
            dy = wide(tl.load(dy_ptrs + p * sdyp + q * sdyq, mask=inside, other=0.0))
            if index_ptr is not None:
                at = tl.load(index_ptrs + p * sip + q * siq, mask=inside, other=-1)
                tap = (h + pad_h - p * stride_h) // DH * S + (w + pad_w - q * stride_w) // DW
                meets &= at == (h * W + w if FLAT else tap)
            elif COUNT:
                rows = counted(p, H, P, R, stride_h, pad_h, ADAPTIVE, INCLUDE_PAD)
                dy = divided(dy, rows * counted(q, W, Q, S, stride_w, pad_w, ADAPTIVE, INCLUDE_PAD))
            total += tl.where(meets, dy, 0.0)
    if index_ptr is None and not COUNT:
        total = divided(total, divisor)
    tl.store(dx_ptr + n * sdxn + c * sdxc + h * sdxh + w * sdxw, total.to(dx_ptr.dtype.element_ty), mask=mask)


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
    plan = backward_plan(of.windows, *strides, last, dy.device)
    launch(
        _cells_kernel if plan.short else _pixels_kernel, plan.grid, dy, index, dx, *plan.integers, of.divisor,
        COUNT=of.divisor == 0, INCLUDE_PAD=of.include_pad, FLAT=flat, **plan.constexprs,
    )  # fmt: skip
    return dx


def _check(name: str, shape: Sequence[int], over: Windows, dy: Tensor, index: Tensor | None = None) -> None:
    expected = over.out_like(tuple(shape))
    if tuple(dy.shape) != expected:
        raise ShapeError(f"{name}: dy is {tuple(dy.shape)}; for x of {tuple(shape)} it is {expected}")
    if index is not None and tuple(index.shape) != expected:
        raise ShapeError(f"{name}: index is {tuple(index.shape)} and dy {expected}")
