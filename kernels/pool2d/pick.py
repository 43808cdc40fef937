"""The gradient of a maximum's gradient: of each window, the pixel where its largest one was."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import _tune
from .._errors import ShapeError
from .._launch import launch
from .._op import op
from .blocks import SIZES, block
from .geometry import Axis, Sizes, Windows, windows
from .plan import images, is_channels_last, new_images, pick_launch


@triton.jit(do_not_specialize=SIZES)
def _pick_kernel(
    x_ptr, index_ptr, y_ptr,
    C, H, W, P, Q, S, stride_h, stride_w, pad_h, pad_w, DH, DW,
    sxn, sxc, sxh, sxw, sin, sic, sip, siq, syn, syc, syp, syq,
    FLAT: tl.constexpr, LAST: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    n, c, p, q, mask = block(C, P, Q, LAST, True, BLOCK_C, BLOCK_P, BLOCK_Q)
    at = tl.load(index_ptr + n * sin + c * sic + p * sip + q * siq, mask=mask, other=0).to(tl.int64)
    if FLAT:
        h, w = at // W, at % W
    else:
        h, w = p * stride_h - pad_h + at // S * DH, q * stride_w - pad_w + at % S * DW
    inside = mask & (h >= 0) & (h < H) & (w >= 0) & (w < W)
    y = tl.load(x_ptr + n * sxn + c * sxc + h * sxh + w * sxw, mask=inside, other=0.0)
    tl.store(y_ptr + n * syn + c * syc + p * syp + q * syq, y, mask=mask)


def max_pool2d_pick_reference(
    x: Tensor,
    index: Tensor,
    kernel_size: Sizes | None = None,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Tensor:
    over = _windows(x, index, kernel_size, stride, padding, dilation, ceil_mode)
    flat = places(index, over) if _says_taps(index, kernel_size) else index.long()
    y = x.flatten(-2).gather(-1, flat.flatten(-2)).view(index.shape)
    return y.contiguous(memory_format=torch.channels_last) if is_channels_last(x) else y


def places(taps: Tensor, over: Windows) -> Tensor:
    """h W + w of the pixels which are `taps` of their windows."""
    h, w = over.h, over.w
    p, q = (torch.arange(axis.out, device=taps.device) * axis.stride - axis.pad for axis in (h, w))
    taps = taps.long()
    return (p[:, None] + taps // w.taps * h.dilation) * w.inp + q + taps % w.taps * w.dilation


@op(reference=max_pool2d_pick_reference)
def max_pool2d_pick(
    x: Tensor,
    index: Tensor,
    kernel_size: Sizes | None = None,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """y[n, c, p, q] = x[n, c, h, w], h, w being where index[n, c, p, q] says: for an x that was pooled, its maxima.

    Args:
        x: [N, C, H, W] or [C, H, W], floating-point, any strides.
        index: of max_pool2d for these hyper-parameters, or of adaptive_max_pool2d without any; any strides.

    Returns: a tensor of index's shape and x's dtype; channels_last if x is, else contiguous.

    Raises: ShapeError for hyper-parameters that do not fit, and for an index that does not belong to them.
    """
    over = _windows(x, index, kernel_size, stride, padding, dilation, ceil_mode)
    last = is_channels_last(x)
    y = new_images(tuple(index.shape), x, x.dtype, last)
    strides = [stride for each in (x, index, y) for stride in images(each).stride()]
    tile, grid = pick_launch(over, last, _tune.target(x.device))
    h, w = over.h, over.w
    moves = (w.taps, h.stride, w.stride, h.pad, w.pad, h.dilation, w.dilation)
    launch(
        _pick_kernel, grid, x, index, y, over.C, h.inp, w.inp, h.out, w.out, *moves, *strides,
        FLAT=not _says_taps(index, kernel_size), LAST=last, **vars(tile),
    )  # fmt: skip
    return y


def _says_taps(index: Tensor, kernel_size: Sizes | None) -> bool:
    return kernel_size is not None and index.dtype != torch.int64


def _windows(
    x: Tensor,
    index: Tensor,
    kernel_size: Sizes | None,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
) -> Windows:
    if kernel_size is None:
        N, C, H, W = images(x).shape
        over = Windows(N, C, Axis(H, index.shape[-2], 1, 1, 0), Axis(W, index.shape[-1], 1, 1, 0))
    else:
        over = windows("max_pool2d_pick", x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    if tuple(index.shape) != over.out_like(tuple(x.shape)):
        raise ShapeError(f"max_pool2d_pick: index is {tuple(index.shape)} and x is {tuple(x.shape)}")
    return over
