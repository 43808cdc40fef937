"""Pooling of sequences: that of images of a single row."""

from collections.abc import Sequence

from torch import Tensor

from tritonnet.errors import ShapeError

from .pool2d import adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, max_pool2d

Size = int | Sequence[int]


def max_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """y[n, c, q] = max over s of input[n, c, q stride + s dilation - padding]: max_pool2d of a single row.

    Args:
        input: [N, C, L] or [C, L], floating-point or an integer, any strides.
        kernel_size, stride, padding, dilation: an int or a sequence of one.

    Returns: [N, C, Q] or [C, Q]; with return_indices also the places of the maxima, int64.
    Raises: ShapeError and DtypeError as max_pool2d.
    """
    name = "max_pool1d"
    row, step = _row(name, input), None if stride is None else _beside(name, 1, stride=stride)
    window, pads = _beside(name, 1, kernel_size=kernel_size), _beside(name, 0, padding=padding)
    sizes = (window, step, pads, _beside(name, 1, dilation=dilation), ceil_mode)
    return _squeezed(max_pool2d(row, *sizes, return_indices))


def max_pool1d_with_indices(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """max_pool1d with return_indices=True, whatever `return_indices` says."""
    y, index = max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices=True)
    return y, index


def avg_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """y[n, c, q] = mean over s of input[n, c, q stride + s - padding]: avg_pool2d of a single row.

    Args:
        input: [N, C, L] or [C, L], floating-point or int64, any strides.
        kernel_size, stride, padding: an int or a sequence of one.

    Returns: [N, C, Q] or [C, Q].
    Raises: ShapeError and DtypeError as avg_pool2d.
    """
    name = "avg_pool1d"
    row, step = _row(name, input), None if stride is None else _beside(name, 1, stride=stride)
    window, pads = _beside(name, 1, kernel_size=kernel_size), _beside(name, 0, padding=padding)
    return avg_pool2d(row, window, step, pads, ceil_mode, count_include_pad).squeeze(-2)


def adaptive_max_pool1d(
    input: Tensor, output_size: Size, return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """y[n, c, q] = max of input[n, c, floor(q L / Q)] up to ceil((q + 1) L / Q): adaptive_max_pool2d of a single row.

    Args:
        input: [N, C, L] or [C, L], floating-point, any strides.
        output_size: Q, an int or a sequence of one.

    Returns: [N, C, Q] or [C, Q]; with return_indices also the places of the maxima, int64.
    Raises: ShapeError and DtypeError as adaptive_max_pool2d.
    """
    name = "adaptive_max_pool1d"
    size = _beside(name, 1, output_size=output_size)
    return _squeezed(adaptive_max_pool2d(_row(name, input), size, return_indices))


def adaptive_max_pool1d_with_indices(
    input: Tensor, output_size: Size, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """adaptive_max_pool1d with return_indices=True, whatever `return_indices` says."""
    y, index = adaptive_max_pool1d(input, output_size, return_indices=True)
    return y, index


def adaptive_avg_pool1d(input: Tensor, output_size: Size) -> Tensor:
    """y[n, c, q] = mean of input[n, c, floor(q L / Q)] up to ceil((q + 1) L / Q): adaptive_avg_pool2d of a single row.

    Args:
        input: [N, C, L] or [C, L], floating-point, any strides.
        output_size: Q, an int or a sequence of one.

    Returns: [N, C, Q] or [C, Q].
    Raises: ShapeError and DtypeError as adaptive_avg_pool2d.
    """
    name = "adaptive_avg_pool1d"
    return adaptive_avg_pool2d(_row(name, input), _beside(name, 1, output_size=output_size)).squeeze(-2)


def _row(name: str, input: Tensor) -> Tensor:
    """Sequences as images of a single row."""
    if input.ndim not in (2, 3):
        raise ShapeError(f"{name}: input is {tuple(input.shape)}; it takes [N, C, L] or [C, L]")
    return input.unsqueeze(-2)


def _beside(name: str, height: int, **size: Size | None) -> tuple[int, int]:
    """Of images, what an argument of `name` is of sequences."""
    ((argument, given),) = size.items()
    one = given[0] if isinstance(given, Sequence) and len(given) == 1 else given
    if not isinstance(one, int):
        raise ShapeError(f"{name}: {argument} is {given!r}; it takes an int or a sequence of one")
    return height, one


def _squeezed(result: Tensor | tuple[Tensor, Tensor]) -> Tensor | tuple[Tensor, Tensor]:
    return result.squeeze(-2) if isinstance(result, Tensor) else (result[0].squeeze(-2), result[1].squeeze(-2))
