"""pad, with gradients of every order: the operation is linear."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels
from tritonnet.errors import ShapeError

from ._function import Function


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """y[o] = input[o - left], and beyond the edges of input a value, or input mirrored, repeated or wrapped.

    Args:
        input: any strides; for constants of any shape, also of integers; for the other modes [C, L], [N, C, L] and
            likewise for images and volumes.
        pad: (left, right) of the last dimension, then of the one before, ...; a negative extent cuts elements off.
        mode: "constant"; "reflect" mirrors at the outermost elements, "replicate" repeats them, "circular" takes the
            input as a period.
        value: of the constants; 0 if not given.

    Returns: a fresh tensor, channels_last where torch takes input for it, else contiguous.
    Raises: ShapeError for pads that do not fit or a value in another mode than "constant", NotImplementedError for
        another mode, DtypeError for complex numbers.
    """
    if mode != "constant" and value:
        raise ShapeError(f"pad: value is {value}; mode {mode!r} takes none")
    y: Tensor = _Pad.apply(input, tuple(pad), mode, value or 0)
    return y


class _Pad(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pads: tuple[int, ...], mode: str, value: float) -> Tensor:
        ctx.shape, ctx.pads, ctx.mode = x.shape, pads, mode
        y: Tensor = kernels.pad(x, pads, mode, value)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return _PadBackward.apply(dy, ctx.shape, ctx.pads, ctx.mode), None, None, None


class _PadBackward(Function):
    @staticmethod
    def forward(ctx: Any, dy: Tensor, shape: torch.Size, pads: tuple[int, ...], mode: str) -> Tensor:
        ctx.pads, ctx.mode = pads, mode
        dx: Tensor = kernels.pad_backward(dy, shape, pads, mode)
        return dx

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> tuple[Tensor | None, ...]:
        return _Pad.apply(ddx, ctx.pads, ctx.mode, 0), None, None, None
