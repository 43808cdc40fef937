"""dropout, with gradients of every order: the operation is linear and its own transpose."""

from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels
from tritonnet.errors import ShapeError

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
    if not 0.0 <= p <= 1.0:
        raise ShapeError(f"dropout: p is {p}; a probability lies in [0, 1]")
    if not training or p == 0.0:
        return input
    seed = torch.randint(_SEEDS, (1,), device=input.device)
    if not inplace:
        y: Tensor = _Dropout.apply(input, p, seed)
        return y
    check_writable("dropout", input)
    _DropoutInplace.apply(input, p, seed)
    return input


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, seed: Tensor) -> Tensor:
        ctx.p, ctx.seed = p, seed
        y: Tensor = kernels.dropout(x, p, seed)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        return _Dropout.apply(dy, ctx.p, ctx.seed), None, None


class _DropoutInplace(_Dropout):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, seed: Tensor) -> Tensor:
        ctx.p, ctx.seed = p, seed
        kernels.dropout_(x, p, seed)
        ctx.mark_dirty(x)
        return x
