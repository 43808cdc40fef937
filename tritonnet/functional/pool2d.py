"""Pooling of images by maxima and by means, with gradients of every order."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels
from tritonnet.kernels.pool2d import index_dtype, is_channels_last

from ._function import Function

Sizes = int | Sequence[int]
OutputSize = int | Sequence[int | None]


def max_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """y[n, c, p, q] = max over r, s of input[n, c, h, w], h = p stride_h + r dilation_h - padding_h, and w likewise.

    A NaN is larger than any number; of equals the first is taken, of several NaN the last. Where two windows have the
    same largest pixel, their gradients add up.

    Args:
        input: [N, C, H, W] or [C, H, W], floating-point or an integer, any strides.
        kernel_size, stride, padding, dilation: an int or two, for height and width; the stride is kernel_size if not
            given. At most half of the kernel can be padding, which is smaller than any pixel.
        ceil_mode: P = ceil((H + 2 padding_h - dilation_h (R - 1) - 1) / stride_h) + 1 instead of floor, without a last
            window that starts in the padding behind; Q likewise.
        return_indices: return y and, in int64, the h W + w of the pixels that were taken.

    Returns: [N, C, P, Q] or [C, P, Q] of input's dtype; channels_last if input is, else contiguous.

    Raises: ShapeError for ranks, sizes or hyper-parameters that do not fit, DtypeError for another dtype.
    """
    sizes = (kernel_size, stride, padding, dilation, ceil_mode)
    index = None if return_indices or not _is_differentiated(input) else index_dtype(kernel_size, input.device)
    return _maxima(input, sizes, None, index, return_indices)


def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """max_pool2d with return_indices=True, whatever `return_indices` says."""
    y, index = max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices=True)
    return y, index


def adaptive_max_pool2d(
    input: Tensor, output_size: OutputSize, return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """y[n, c, p, q] = max of input[n, c, h, w], h from floor(p H / P) to ceil((p + 1) H / P), and w likewise.

    Args:
        input: [N, C, H, W] or [C, H, W], floating-point, any strides.
        output_size: P and Q, or one int for both; None leaves the input's size.
        return_indices: return y and, in int64, the h W + w of the pixels that were taken.

    Returns: [N, C, P, Q] or [C, P, Q] of input's dtype; channels_last if input is, else contiguous.

    Raises: ShapeError for another rank, an empty height or width or a negative size, DtypeError for another dtype.
    """
    index = None if return_indices or not _is_differentiated(input) else torch.int32
    if index is not None and input.shape[-2:].numel() >= 1 << 31:
        index = torch.int64
    return _maxima(input, None, output_size, index, return_indices)


def adaptive_max_pool2d_with_indices(
    input: Tensor, output_size: OutputSize, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """adaptive_max_pool2d with return_indices=True, whatever `return_indices` says."""
    y, index = adaptive_max_pool2d(input, output_size, return_indices=True)
    return y, index


def avg_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """y[n, c, p, q] = sum over r, s of input[n, c, h, w] / divisor, h = p stride_h + r - padding_h, and w likewise.

    What lies outside of the image counts as 0. The divisor is divisor_override, else the number of pixels of the
    window, those in the padding included or not; what is beyond the padding never counts.

    Args:
        input: [N, C, H, W] or [C, H, W], floating-point or int64 (means are rounded to zero), any strides.
        kernel_size, stride, padding: an int or two, for height and width; the stride is kernel_size if not given.
        ceil_mode: P = ceil((H + 2 padding_h - R) / stride_h) + 1 instead of floor, without a last window that starts
            in the padding behind; Q likewise.

    Returns: [N, C, P, Q] or [C, P, Q] of input's dtype; channels_last if input is, else contiguous. Sums are float32,
        float64 or int64.

    Raises: ShapeError for ranks, sizes or hyper-parameters that do not fit, DtypeError for another dtype.
    """
    sizes = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    y: Tensor = _Means.apply(input, sizes, None)
    return y


def adaptive_avg_pool2d(input: Tensor, output_size: OutputSize) -> Tensor:
    """y[n, c, p, q] is the mean of input[n, c, h, w], h from floor(p H / P) to ceil((p + 1) H / P), and w likewise.

    Args:
        input: [N, C, H, W] or [C, H, W], floating-point, any strides.
        output_size: P and Q, or one int for both; None leaves the input's size.

    Returns: [N, C, P, Q] or [C, P, Q] of input's dtype; channels_last if input is, else contiguous. Sums are float32,
        for float64 float64.

    Raises: ShapeError for another rank, an empty height or width or a negative size, DtypeError for another dtype.
    """
    y: Tensor = _Means.apply(input, None, output_size)
    return y


def _is_differentiated(input: Tensor) -> bool:
    return torch.is_grad_enabled() and input.requires_grad


def _maxima(
    input: Tensor,
    sizes: tuple[Any, ...] | None,
    output_size: OutputSize | None,
    index: torch.dtype | None,
    return_indices: bool,
) -> Tensor | tuple[Tensor, Tensor]:
    y, at = _Maxima.apply(input, sizes, output_size, torch.int64 if return_indices else index)
    return (y, at) if return_indices else y


class _Maxima(Function):
    """x -> y and where the maxima are: for hyper-parameters `sizes`, or for an output_size without any."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, sizes: tuple[Any, ...] | None, output_size: OutputSize | None, dtype: torch.dtype | None
    ) -> tuple[Tensor, Tensor | None]:
        y: Tensor
        at: Tensor | None
        if sizes is None:
            y, at = kernels.adaptive_max_pool2d(x, output_size, index=dtype)
        else:
            y, at = kernels.max_pool2d(x, *sizes, index=dtype)
        if at is not None:
            ctx.mark_non_differentiable(at)
        ctx.save_for_backward(at)
        ctx.of = (x.shape, sizes, is_channels_last(x))
        ctx.set_materialize_grads(False)
        return y, at

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, _: None) -> tuple[Tensor | None, None, None, None]:
        (at,) = ctx.saved_tensors
        return None if dy is None else _MaximaGradient.apply(dy, at, *ctx.of), None, None, None


class _MaximaGradient(Function):
    """(dy, where the maxima are) -> dx; linear in dy."""

    @staticmethod
    def forward(
        ctx: Any, dy: Tensor, at: Tensor, shape: torch.Size, sizes: tuple[Any, ...] | None, channels_last: bool
    ) -> Tensor:
        ctx.save_for_backward(at)
        ctx.sizes = sizes
        dx: Tensor
        if sizes is None:
            dx = kernels.adaptive_max_pool2d_backward(dy, at, shape, channels_last=channels_last)
        else:
            dx = kernels.max_pool2d_backward(dy, at, shape, *sizes, channels_last=channels_last)
        return dx

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> tuple[Tensor, None, None, None, None]:
        (at,) = ctx.saved_tensors
        return _Picked.apply(ddx, at, ctx.sizes), None, None, None, None


class _Picked(Function):
    """(x, where maxima are) -> the pixels there; linear in x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, at: Tensor, sizes: tuple[Any, ...] | None) -> Tensor:
        ctx.save_for_backward(at)
        ctx.of = (x.shape, sizes, is_channels_last(x))
        y: Tensor = kernels.max_pool2d_pick(x, at, *(sizes or ()))
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        (at,) = ctx.saved_tensors
        return _MaximaGradient.apply(dy, at, *ctx.of), None, None


class _Means(Function):
    """x -> y, for hyper-parameters `sizes`, or for an output_size without any."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: tuple[Any, ...] | None, output_size: OutputSize | None) -> Tensor:
        ctx.of = (x.shape, sizes, is_channels_last(x))
        y: Tensor = kernels.adaptive_avg_pool2d(x, output_size) if sizes is None else kernels.avg_pool2d(x, *sizes)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        return _MeansGradient.apply(dy, *ctx.of), None, None


class _MeansGradient(Function):
    """dy -> dx; linear, and the gradient of that are means again."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, shape: torch.Size, sizes: tuple[Any, ...] | None, channels_last: bool) -> Tensor:
        ctx.sizes, ctx.output_size = sizes, tuple(dy.shape[-2:])
        dx: Tensor
        if sizes is None:
            dx = kernels.adaptive_avg_pool2d_backward(dy, shape, channels_last=channels_last)
        else:
            dx = kernels.avg_pool2d_backward(dy, shape, *sizes, channels_last=channels_last)
        return dx

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> tuple[Tensor, None, None, None]:
        return _Means.apply(ddx, ctx.sizes, ctx.output_size), None, None, None
