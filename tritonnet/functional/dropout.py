"""dropout, of elements and of whole channels, with gradients of every order: each is linear and its own transpose."""

import warnings
from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels
from tritonnet.errors import ShapeError

from ._function import Function
from ._inplace import check_writable

_SEEDS = 2**63 - 1


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """y = input / (1 - p) with probability 1 - p, else 0; input itself where training is false or p is 0.

    The seed comes from torch's default generator of the device (`torch.manual_seed` repeats it), as a tensor, so that a
    CUDA graph draws a new one at each replay. The mask depends on the seed and on each element's number in logical
    order; it is not stored but made again for the gradient.

    Args:
        input: any shape, float32/float16/bfloat16/float64, any strides.
        p: probability of zero, in [0, 1].
        inplace: overwrite input and return it.

    Returns: a tensor laid out in memory as input. A dropped element is 0, be it inf or NaN.
    Raises: ShapeError for p outside of [0, 1] and for inplace on an expanded tensor, BackwardError for inplace on a
        leaf that requires a gradient or a view of one.
    """
    _check_probability("dropout", p)
    if not training or p == 0.0:
        return input
    return _drop("dropout", input, p, inplace, "dropout")


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """dropout of whole channels: those of [N, C, L] or [C, L] are kept or zero, one draw for each sample and channel.

    Raises: as dropout, and ShapeError for another number of dimensions.
    """
    _check_probability("dropout1d", p)
    if input.dim() not in (2, 3):
        raise ShapeError(f"dropout1d: input is {tuple(input.shape)}; it takes [N, C, L] or [C, L]")
    return _drop_channels("dropout1d", input, input.dim() == 3, p, training, inplace)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """dropout of whole channels: those of [N, C, H, W] are kept or zero, one draw for each sample and channel.

    As in torch, the first two dimensions of any input are taken for N and C, with a warning where there are not four.

    Raises: as dropout, and ShapeError for fewer than two dimensions.
    """
    _check_probability("dropout2d", p)
    if input.dim() == 3:
        warnings.warn(
            "dropout2d: a 3-D input is taken for [N, C, L], which torch means to change; use dropout1d", stacklevel=2
        )
    elif input.dim() != 4:
        warnings.warn(
            f"dropout2d: a {input.dim()}-D input, which torch means to refuse; it drops channels of [N, C, H, W]",
            stacklevel=2,
        )
    return _drop_channels("dropout2d", input, True, p, training, inplace)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """dropout of whole channels: those of [N, C, D, H, W] or [C, D, H, W] are kept or zero, one draw for each.

    As in torch, any input of not five dimensions is taken for one sample, with a warning where it has not four.

    Raises: as dropout, and ShapeError for an input without dimensions.
    """
    _check_probability("dropout3d", p)
    if input.dim() not in (4, 5):
        warnings.warn(
            f"dropout3d: a {input.dim()}-D input, which torch means to refuse; it drops channels of [N, C, D, H, W]",
            stacklevel=2,
        )
    return _drop_channels("dropout3d", input, input.dim() == 5, p, training, inplace)


def _check_probability(name: str, p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ShapeError(f"{name}: p is {p}; a probability lies in [0, 1]")


def _drop_channels(name: str, input: Tensor, batched: bool, p: float, training: bool, inplace: bool) -> Tensor:
    x = input if batched else input.unsqueeze(0)
    if x.dim() < 2:
        raise ShapeError(f"{name}: input is {tuple(input.shape)}; it has no channels")
    if not training or p == 0.0:
        return input
    if inplace:
        check_writable(name, input)
    y = _drop(name, x, p, inplace, "channel_dropout")
    return input if inplace else y if batched else y.squeeze(0)


def _drop(name: str, input: Tensor, p: float, inplace: bool, kernel: str) -> Tensor:
    seed = torch.randint(_SEEDS, (1,), device=input.device)
    if not inplace:
        y: Tensor = _Dropout.apply(input, p, seed, kernel)
        return y
    check_writable(name, input)
    _DropoutInplace.apply(input, p, seed, kernel)
    return input


class _Dropout(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, seed: Tensor, kernel: str) -> Tensor:
        ctx.p, ctx.seed, ctx.kernel = p, seed, kernel
        y: Tensor = getattr(kernels, kernel)(x, p, seed)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return _Dropout.apply(dy, ctx.p, ctx.seed, ctx.kernel), None, None, None


class _DropoutInplace(_Dropout):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, seed: Tensor, kernel: str) -> Tensor:
        ctx.p, ctx.seed, ctx.kernel = p, seed, kernel
        getattr(kernels, f"{kernel}_")(x, p, seed)
        ctx.mark_dirty(x)
        return x
