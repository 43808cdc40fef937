"""max_pool2d and adaptive_max_pool2d: the largest pixel of each window, and which one it is."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._errors import DtypeError, dtype_name
from .._launch import launch
from .._op import FLOATS, op
from .._strides import row_offsets
from .blocks import SIZES, block, line_block, span, wide
from .geometry import OutputSize, Sizes, Windows, adaptive_windows, windows
from .lines import forward_lines
from .plan import forward_plan, images, is_channels_last, is_short, new_images

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@triton.jit(do_not_specialize=SIZES)
def _max_pool2d_kernel(
    x_ptr, y_ptr, index_ptr,
    C, H, W, P, Q, pad_h, pad_w, sxn, sxc, sxh, sxw, syn, syc, syp, syq,
    R: tl.constexpr, S: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    LOWEST: tl.constexpr, FLAT: tl.constexpr, MASKED: tl.constexpr, LAST: tl.constexpr, INT64: tl.constexpr,
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
        x = wide(tl.load(x_ptr + c * sxc + h * sxh + w * sxw, mask=inside, other=LOWEST))
        tap = h.to(tl.int64) * W + w if FLAT else tl.full((1, 1, 1), t, tl.int32)
        if t == 0:
            best, at = x, tap
            if MASKED:
                # The first pixel in the image, for a window where nothing is larger than LOWEST.
                r, s = (tl.maximum(-h, 0) + DH - 1) // DH, (tl.maximum(-w, 0) + DW - 1) // DW
                at += r.to(tl.int64) * DH * W + s * DW if FLAT else (r * S + s).to(tl.int32)
        else:
            # As in torch the first of equals wins, and the last NaN.
            better = (x > best) | (x != x)
            best = tl.where(better, x, best)
            at = tl.where(better, tap, at)
    offs = n * syn + c * syc + p * syp + q * syq
    tl.store(y_ptr + offs, best.to(y_ptr.dtype.element_ty), mask=mask)
    if index_ptr is not None:
        tl.store(index_ptr + offs, at.to(index_ptr.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=SIZES)
def _max_line_kernel(
    x_ptr, before_ptr, y_ptr, index_ptr,
    rows, rows1, rows2, K, places, L, out, taps, stride, pad, dilation,
    sx0, sx1, sx2, sxl, sxk, sy0, sy1, sy2, syo, syk, row_step,
    LOWEST: tl.constexpr, NOWHERE: tl.constexpr, FLAT: tl.constexpr, ADAPTIVE: tl.constexpr,
    ALONG: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One window along an axis, for many rows and columns: its taps one after the other, or side by side.

    The number of a pixel (FLAT) or of a tap is where it is on the axis, plus `row_step` times what an earlier launch
    found of the other axis, in before_ptr.
    """
    o, row, k, mask = line_block(rows, K, places, ALONG, BLOCK_R, BLOCK_K)
    first, number, count = span(o, L, out, taps, stride, pad, dilation, ADAPTIVE)
    number, step = (first, dilation) if FLAT else (number, 1)
    x_offs = row_offsets(row, rows2, rows1, sx2, sx1, sx0) + first * sxl
    y_offs = row_offsets(row, rows2, rows1, sy2, sy1, sy0) + o * syo
    if not ALONG:
        x_offs += k * sxk
        y_offs += k * syk
    best = tl.full((BLOCK_R, BLOCK_K), LOWEST, wide(tl.full((), 0, x_ptr.dtype.element_ty)).dtype)
    at = tl.full((BLOCK_R, BLOCK_K), NOWHERE, tl.int32 if NOWHERE < 1 << 31 else tl.int64)
    for s in range(0, count, BLOCK_K if ALONG else 1):
        inside, tap, here = mask, s, (number + s * step).to(at.dtype)
        if ALONG:
            inside, tap = mask & (s + k < count), s + k
            here += k.to(at.dtype) * step
        offs = x_offs + tap * dilation * sxl
        x = wide(tl.load(x_ptr + offs, mask=inside, other=LOWEST))
        if before_ptr is not None:
            here += row_step.to(at.dtype) * tl.load(before_ptr + offs, mask=inside, other=0)
            better = (x > best) | ((x == best) & (here < at)) | ((x != x) & ((best == best) | (here > at)))
        else:
            # Pixels come in their order here: the first of equals wins, as in torch, and the last NaN.
            better = (x > best) | (x != x) | (at == NOWHERE)
        better &= inside
        best, at = tl.where(better, x, best), tl.where(better, here, at)
    if ALONG:
        is_number = best == best
        top = tl.max(tl.where(is_number, best, LOWEST), 1, keep_dims=True)
        first_top = tl.min(tl.where(best == top, at, NOWHERE), 1, keep_dims=True)
        if best.dtype.is_floating():
            nan = tl.max(tl.where(is_number, -1, at), 1, keep_dims=True)
            best, at = tl.where(nan < 0, top, float("nan")), tl.where(nan < 0, first_top, nan)
        else:
            best, at = top, first_top
    tl.store(y_ptr + y_offs, best.to(y_ptr.dtype.element_ty), mask=mask)
    if index_ptr is not None:
        tl.store(index_ptr + y_offs, at.to(index_ptr.dtype.element_ty), mask=mask)


def max_pool2d_reference(
    x: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    *,
    index: torch.dtype | None = None,
) -> tuple[Tensor, Tensor | None]:
    over = windows("max_pool2d", x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    _check_dtypes("max_pool2d", x, (*FLOATS, *_INTEGERS), index, over.h.taps * over.w.taps)
    sizes = [list(pair) for pair in zip(over.h, over.w, strict=True)]
    _, flat = torch.ops.aten.max_pool2d_with_indices(x.detach(), *sizes[2:6], ceil_mode)
    return _picked(x, flat, flat if index in (None, torch.int64) else taps(flat, over).to(index), index)


def adaptive_max_pool2d_reference(
    x: Tensor, output_size: OutputSize, *, index: torch.dtype | None = None
) -> tuple[Tensor, Tensor | None]:
    over = adaptive_windows("adaptive_max_pool2d", x.shape, output_size)
    _check_dtypes("adaptive_max_pool2d", x, FLOATS, index, over.h.inp * over.w.inp)
    _, flat = torch.ops.aten.adaptive_max_pool2d(x.detach(), [over.h.out, over.w.out])
    return _picked(x, flat, flat if index is None else flat.to(index), index)


def _picked(x: Tensor, flat: Tensor, result: Tensor, index: torch.dtype | None) -> tuple[Tensor, Tensor | None]:
    y = x.flatten(-2).gather(-1, flat.flatten(-2)).view_as(flat)
    if is_channels_last(x):
        y = y.contiguous(memory_format=torch.channels_last)
    return y, None if index is None else result


def taps(flat: Tensor, over: Windows) -> Tensor:
    """Which taps of their windows pixels are, from their places in the plane."""
    h, w = over.h, over.w
    p, q = (torch.arange(axis.out, device=flat.device) * axis.stride - axis.pad for axis in (h, w))
    r, s = (flat // w.inp - p[:, None]) // h.dilation, (flat % w.inp - q) // w.dilation
    return r * w.taps + s


@op(reference=max_pool2d_reference)
def max_pool2d(
    x: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    *,
    index: torch.dtype | None = None,
) -> tuple[Tensor, Tensor | None]:
    """y[n, c, p, q] = max over r, s of x[n, c, h, w], h = p stride_h + r dilation_h - padding_h, and w likewise.

    A NaN is larger than any number. What lies outside of the image is smaller than all that is in it.

    Args:
        x: [N, C, H, W] or [C, H, W], floating-point or an integer, any strides.
        kernel_size, stride, padding, dilation: an int or two, for height and width; the stride is kernel_size if not
            given.
        ceil_mode: P = ceil((H + 2 padding_h - dilation_h (R - 1) - 1) / stride_h) + 1 instead of floor, without a last
            window that starts in the padding behind; Q likewise.
        index: the dtype in which to say where the largest pixels are. int64: h W + w, as torch's return_indices;
            another one: r S + s, which is enough for the gradient and fits int8 up to kernels of 11 by 11.

    Returns: y, [N, C, P, Q] or [C, P, Q], channels_last if x is, else contiguous; and the first of the largest pixels
        of each window, or its last NaN, laid out as y, None without `index`.

    Raises: ShapeError for ranks, sizes or hyper-parameters that do not fit, DtypeError for another dtype.
    """
    over = windows("max_pool2d", x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    _check_dtypes("max_pool2d", x, (*FLOATS, *_INTEGERS), index, over.h.taps * over.w.taps)
    return _launch(x, over, index, flat=index == torch.int64)


@op(reference=adaptive_max_pool2d_reference)
def adaptive_max_pool2d(
    x: Tensor, output_size: OutputSize, *, index: torch.dtype | None = None
) -> tuple[Tensor, Tensor | None]:
    """y[n, c, p, q] = max of x[n, c, h, w], h from floor(p H / P) to ceil((p + 1) H / P), and w likewise.

    A NaN is larger than any number.

    Args:
        x: [N, C, H, W] or [C, H, W], floating-point, any strides.
        output_size: P and Q, or one int for both; None leaves the input's size.
        index: the dtype, int32 or int64, in which to say where the largest pixels are, h W + w.

    Returns: y and the index, as max_pool2d.

    Raises: ShapeError for another rank, an empty height or width or a negative size, DtypeError for another dtype.
    """
    over = adaptive_windows("adaptive_max_pool2d", x.shape, output_size)
    _check_dtypes("adaptive_max_pool2d", x, FLOATS, index, over.h.inp * over.w.inp)
    return _launch(x, over, index, flat=True)


def _launch(x: Tensor, over: Windows, index: torch.dtype | None, flat: bool) -> tuple[Tensor, Tensor | None]:
    last = is_channels_last(x)
    shape = over.out_like(x.shape)
    y = new_images(shape, x, x.dtype, last)
    at = None if index is None else new_images(shape, x, index, last)
    strides = (images(x).stride(), images(y).stride())
    constexprs: dict[str, Any] = {
        "LOWEST": float("-inf") if x.is_floating_point() else torch.iinfo(x.dtype).min,
        "FLAT": flat,
    }
    if is_short(over, last):
        plan = forward_plan(over, *strides, last, x.device)
        launch(_max_pool2d_kernel, plan.grid, x, y, at, *plan.integers, **constexprs, **plan.constexprs)
        return y, at
    numbers = torch.int32 if over.h.inp * over.w.inp < 1 << 31 else torch.int64
    constexprs["NOWHERE"] = torch.iinfo(numbers).max
    row_step, before = over.w.inp if flat else over.w.taps, None
    for line in forward_lines(over, *strides, last, x.device):
        to, to_at = y, at
        if not line.is_last:
            to = new_images(line.shape, x, x.dtype, last)
            to_at = None if index is None else new_images(line.shape, x, numbers, last)
        launch(
            _max_line_kernel, line.grid, x, before, to, to_at, *line.integers, row_step,
            **constexprs, **line.constexprs,
        )  # fmt: skip
        x, before = to, to_at
    return y, at


def _check_dtypes(
    name: str, x: Tensor, dtypes: tuple[torch.dtype, ...], index: torch.dtype | None, places: int
) -> None:
    if x.dtype not in dtypes:
        raise DtypeError(f"{name}: x is {dtype_name(x.dtype)}; it takes {', '.join(map(dtype_name, dtypes))}")
    if index is not None and index not in _INTEGERS[1:]:
        raise DtypeError(f"{name}: index is {dtype_name(index)}; it takes signed integers")
    if index is not None and places > torch.iinfo(index).max:
        raise DtypeError(f"{name}: index is {dtype_name(index)}, which cannot number {places} places")
