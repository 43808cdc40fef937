"""The gradient of matmul's epilogue, y = act(z + bias): dz and dbias in one pass over dy."""

import functools
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import _tune
from .._activations import activation_named
from .._errors import DtypeError, ShapeError, dtype_name
from .._launch import launch
from .._op import op
from .._strides import merge
from .._tile import block_offsets, needs_int64, wide_dtype
from ..column_sum import column_sum, pick_tile, sum_into


@triton.jit(do_not_specialize=["parts"])
def _epilogue_backward_kernel(
    dy_ptr, kept_ptr, dz_ptr, sums_ptr,
    M, N, parts,
    stride_dyb, stride_dym, stride_dyn, stride_keptb, stride_keptm, stride_keptn,
    GRADIENT: tl.constexpr, INT64: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    # One program: BLOCK_N columns of ROWS rows of one of the batches; dz is [batches, M, N], sums [batches, parts, N].
    blocks_n = tl.cdiv(N, BLOCK_N)
    part = tl.program_id(0) // blocks_n
    cols = block_offsets(tl.program_id(0) % blocks_n, BLOCK_N, INT64)[None, :]
    batch = tl.cast(part // parts, tl.int64)
    dy_ptr += batch * stride_dyb
    kept_ptr += batch * stride_keptb
    dz_ptr += batch * M * N
    first = (part % parts) * ROWS

    ACC: tl.constexpr = tl.float64 if kept_ptr.dtype.element_ty == tl.float64 else tl.float32
    acc = tl.zeros((BLOCK_M, BLOCK_N), ACC)
    for start in range(first, tl.minimum(first + ROWS, M), BLOCK_M):
        rows = (start + block_offsets(0, BLOCK_M, INT64))[:, None]
        mask = (rows < M) & (cols < N)
        dy = tl.load(dy_ptr + rows * stride_dym + cols * stride_dyn, mask=mask, other=0.0).to(ACC)
        kept = tl.load(kept_ptr + rows * stride_keptm + cols * stride_keptn, mask=mask, other=0.0).to(ACC)
        dz = GRADIENT(kept, dy)
        tl.store(dz_ptr + rows * N + cols, dz.to(dz_ptr.dtype.element_ty), mask=mask)
        acc += dz
    if sums_ptr is not None:
        offs_n = block_offsets(tl.program_id(0) % blocks_n, BLOCK_N, INT64)
        tl.store(sums_ptr + tl.cast(part, tl.int64) * N + offs_n, tl.sum(acc, axis=0), mask=offs_n < N)


def matmul_epilogue_backward_reference(
    dy: Tensor, kept: Tensor, activation: str, bias_dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor | None]:
    _check(dy, kept, activation)
    wide = wide_dtype(kept.dtype)
    with torch.enable_grad():
        # From y, the gradient of relu is that at y: relu(y) is y.
        z = kept.detach().to(wide).requires_grad_()
        y = activation_named("matmul_epilogue_backward", activation).reference(z)
    (dz,) = torch.autograd.grad(y, z, dy.to(wide))
    dbias = None if bias_dtype is None else dz.sum(dim=tuple(range(dz.ndim - 1))).to(bias_dtype)
    return dz.to(kept.dtype), dbias


@op(reference=matmul_epilogue_backward_reference, flops=lambda dy, *_, **__: 8 * dy.numel())
def matmul_epilogue_backward(
    dy: Tensor, kept: Tensor, activation: str, bias_dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor | None]:
    """dz = act'(z) dy, and dbias[n] = the sum of dz[..., n] over all rows, from one pass over dy.

    Sums are kept in float32 (float64 for float64) in an order that depends on the sizes alone.

    Args:
        dy: the gradient of matmul's result, [..., M, N], any strides.
        kept: what matmul says that the activation's gradient is computed from: its result for "relu", else its
            pre-activation; dy's shape and dtype, any strides.
        activation: "relu", "gelu", "gelu_tanh" or "silu".
        bias_dtype: of dbias; None: it is not computed.

    Returns: dz, contiguous, of kept's dtype; dbias [N] or None.
    Raises: ShapeError for shapes that differ or an activation that has no gradient; DtypeError for dtypes that differ.
    """
    _check(dy, kept, activation)
    dz = torch.empty(kept.shape, dtype=kept.dtype, device=kept.device)
    sums = _run(dy, kept, dz, activation, bias_dtype is not None)
    return dz, None if sums is None else column_sum(sums, out_dtype=bias_dtype)


def _run(dy: Tensor, kept: Tensor, dz: Tensor, activation: str, biased: bool) -> Tensor | None:
    """Fills dz; returns sums over parts of its rows, or None unless `biased`."""
    plan = _plan(dy.shape, dy.stride(), kept.stride(), kept.dtype, activation, dy.device)
    sums = dz.new_empty((plan.parts, dy.shape[-1]), dtype=wide_dtype(dz.dtype)) if biased else None
    if plan.walkable:
        launch(_epilogue_backward_kernel, plan.grid, dy, kept, dz, sums, *plan.integers, **plan.constexprs)
        return sums
    for i in range(plan.parts):
        part = _run(dy[i], kept[i], dz[i], activation, biased)
        if sums is not None:
            sum_into(sums[i], part)
    return sums


@dataclass(frozen=True)
class _Plan:
    """walkable: else each index of the first dimension is a part that has its own plan."""

    walkable: bool
    parts: int
    grid: tuple[int, ...] = ()
    integers: tuple[int, ...] = ()
    constexprs: dict[str, Any] = field(default_factory=dict)


@functools.lru_cache(4096)
def _plan(
    shape: torch.Size,
    dy_stride: tuple[int, ...],
    kept_stride: tuple[int, ...],
    dtype: torch.dtype,
    activation: str,
    device: torch.device,
) -> _Plan:
    sizes, strides = merge(shape[:-1], dy_stride[:-1], kept_stride[:-1])
    if len(sizes) > 2:
        return _Plan(False, shape[0])
    B, M = [1, 1, *sizes][-2:]
    N = shape[-1]
    (dyb, dym), (keptb, keptm) = ([0, 0, *of_one][-2:] for of_one in strides)
    tile = pick_tile(M, N, B, 0, dtype, _tune.target(device))
    parts = triton.cdiv(M, tile.ROWS)
    constexprs = asdict(tile)
    del constexprs["AXIS"]
    far = (needs_int64((M, N), each) for each in ((dym, dy_stride[-1]), (keptm, kept_stride[-1]), (N, 1)))
    return _Plan(
        walkable=True,
        parts=B * parts,
        grid=(B * parts * triton.cdiv(N, tile.BLOCK_N),),
        integers=(M, N, parts, dyb, dym, dy_stride[-1], keptb, keptm, kept_stride[-1]),
        constexprs={
            "GRADIENT": activation_named("matmul_epilogue_backward", activation).gradient,
            "INT64": any(far),
            **constexprs,
        },
    )


def _check(dy: Tensor, kept: Tensor, activation: str) -> None:
    if activation_named("matmul_epilogue_backward", activation).gradient is None:
        raise ShapeError(f"matmul_epilogue_backward: activation is {activation!r}, whose gradient is dy itself")
    if dy.shape != kept.shape or dy.ndim < 2:
        raise ShapeError(
            f"matmul_epilogue_backward: dy is {tuple(dy.shape)} and kept is {tuple(kept.shape)}; "
            "they need to have one shape, [..., M, N]"
        )
    if dy.dtype != kept.dtype:
        given = f"dy is {dtype_name(dy.dtype)} and kept is {dtype_name(kept.dtype)}"
        raise DtypeError(f"matmul_epilogue_backward: {given}; they need to have one dtype")
