"""The gradient of conv2d with respect to its input: each pixel gathers the taps that touch it."""

import functools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._launch import launch
from .._op import op
from .._tile import wide_dtype
from .correlate import correlate_call
from .forward import conv2d_reference
from .geometry import Axis, Padding, Pair, geometry, hashable
from .plan import Call, Given, Operand, checked, key, result


def conv2d_grad_input_reference(
    grad: Tensor,
    weight: Tensor,
    shape: tuple[int, ...],
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    dtype: torch.dtype | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    steps = (stride, padding, dilation, groups)
    _, dtype = checked("conv2d_grad_input", shape, weight.shape, steps, dtype, grad=grad, weight=weight)
    wide = wide_dtype(dtype)
    grad, weight = grad.detach().to(dtype).to(wide), weight.detach().to(dtype).to(wide)
    with torch.enable_grad():
        x = torch.zeros(shape, dtype=wide, device=grad.device, requires_grad=True)
        y = conv2d_reference(x, weight, None, *steps)
        (dx,) = torch.autograd.grad(y, x, grad)
    return dx.to(out_dtype or dtype)


def _flops(
    grad: Tensor, weight: Tensor, shape: tuple[int, ...], *args: Any, dtype: Any = None, out_dtype: Any = None
) -> int:
    return geometry("conv2d_grad_input", tuple(shape), weight.shape, *map(hashable, args)).flops


@op(reference=conv2d_grad_input_reference, flops=_flops)
def conv2d_grad_input(
    grad: Tensor,
    weight: Tensor,
    shape: tuple[int, ...],
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    dtype: torch.dtype | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """dx[n, c, h, w] = sum of grad[n, k, p, q] weight[k, c, r, s] over all k, r, s whose tap of pixel (p, q) is (h, w).

    Every pixel gathers the taps that touch it: pixels of one remainder of (h, w) by the stride are touched by the same
    taps, and are one correlation of grad with those weights at stride 1. Nothing is scattered, no tap is taken in vain.

    Args:
        grad: [N, K, P, Q], the gradient of conv2d's result, any strides.
        weight: [K, C // groups, R, S], of grad's dtype, any strides.
        shape: [N, C, H, W] of conv2d's input.
        stride, padding, dilation, groups: as in conv2d.
        dtype: what operands are rounded to before they are multiplied (autocast).
        out_dtype: of the result; by default that of the products.

    Returns: [N, C, H, W], channels_last where torch takes grad or weight for channels_last, else contiguous.

    Raises: ShapeError for sizes that do not fit, DtypeError for operands of several dtypes where `dtype` is None.
    """
    plan = _plan(key(grad, weight, shape, stride, padding, dilation, groups, dtype))
    dx = plan.dx.empty(grad.device, out_dtype)
    for phase in plan.phases:
        taps = weight[:, :, phase.tap_h :, phase.tap_w :] if phase.tap_h or phase.tap_w else weight
        pixels = dx[:, :, phase.pixel_h :, phase.pixel_w :] if phase.pixel_h or phase.pixel_w else dx
        call = phase.call
        launch(call.kernel, call.grid, grad, taps, None, pixels, *call.sizes, **call.constexprs)
    return dx


class _Phase(NamedTuple):
    """The pixels from (pixel_h, pixel_w) in steps of the stride, and the taps from (tap_h, tap_w) that touch them."""

    pixel_h: int
    pixel_w: int
    tap_h: int
    tap_w: int
    call: Call


class _Plan(NamedTuple):
    dx: Operand
    phases: list[_Phase]


@functools.lru_cache(maxsize=4096)
def _plan(by: tuple[Any, ...]) -> _Plan:
    """Checks a call and says what it allocates and launches."""
    of = Given.by(by)
    grad, weight, shape, steps = of.left, of.right, of.other, of.steps
    conv, dtype = checked("conv2d_grad_input", shape, weight.shape, steps, of.dtype, grad=grad, weight=weight)
    dx = result(conv.in_shape, dtype, grad, weight)
    k, (N, C, _, _) = conv.K // conv.groups, conv.in_shape
    (sk, sc, sr, ss), (dn, dc, dh, dw) = weight.strides, dx.strides
    phases = []
    for h in along(conv.h):
        for w in along(conv.w):
            call = correlate_call(
                grad,
                Operand(
                    (C // conv.groups, k, h.taps, w.taps), (sc, sk, sr * h.tap_step, ss * w.tap_step), weight.dtype
                ),
                k * sk,
                Operand((N, C, h.pixels, w.pixels), (dn, dc, dh * conv.h.stride, dw * conv.w.stride), dtype),
                0,
                conv.groups,
                (1, 1),
                (h.first, w.first),
                (h.tap, w.tap),
                dtype,
                of.precision,
                of.device,
            )
            # Where no tap touches a phase, there is no weight to point at.
            tap_h, tap_w = (h.lowest, w.lowest) if h.taps and w.taps else (0, 0)
            phases.append(_Phase(h.phase, w.phase, tap_h, tap_w, call))
    return _Plan(dx, phases)


class AxisPhase(NamedTuple):
    """The pixels phase, phase + stride, ... of an axis of the input, which the same taps touch.

    These are taps lowest, lowest + tap_step, ..., `taps` of them; the j-th takes input pixel number i of the phase to
    output pixel i + first + j * tap.
    """

    phase: int
    pixels: int
    lowest: int
    taps: int
    tap_step: int
    first: int
    tap: int


def along(axis: Axis) -> list[AxisPhase]:
    """The phases of an axis."""
    tap_step = axis.stride // math.gcd(axis.stride, axis.dilation)
    found = []
    for phase in range(min(axis.stride, axis.inp)):
        touching = [r for r in range(axis.taps) if (phase + axis.pad - r * axis.dilation) % axis.stride == 0]
        lowest = touching[0] if touching else 0
        first = (phase + axis.pad - lowest * axis.dilation) // axis.stride
        pixels = (axis.inp - phase + axis.stride - 1) // axis.stride
        tap = -tap_step * axis.dilation // axis.stride
        found.append(AxisPhase(phase, pixels, lowest, len(touching), tap_step, first, tap))
    return found
