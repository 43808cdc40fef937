"""c = act(a b + bias), 2-D and batched, through strides."""

import functools
from dataclasses import asdict, dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import _tune
from .._activations import activation_named
from .._errors import DtypeError, ShapeError, dtype_name
from .._launch import launch
from .._op import FLOATS, op
from .._precision import matmul_precision
from .._strides import merge
from .._tile import TL_DTYPES, block_offsets, grouped_pid, needs_int64, wide_dtype
from ..column_sum import sum_parts
from .tiles import pick_tile


@triton.jit(do_not_specialize=["Y"])
def _matmul_kernel(
    a_ptr, b_ptr, bias_ptr, c_ptr, pre_ptr,
    M, N, K, Y,
    stride_az, stride_ay, stride_am, stride_ak,
    stride_bz, stride_by, stride_bk, stride_bn, stride_bias,
    DTYPE: tl.constexpr, PRECISION: tl.constexpr, ACT: tl.constexpr, INT64: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr, SPLIT_K: tl.constexpr,
):  # fmt: skip
    # One program: a tile of one of Z x Y batch entries and one of SPLIT_K parts of K. c is [Z, Y, SPLIT_K, M, N].
    tiles_m, tiles_n = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    tiles = tiles_m * tiles_n
    part = tl.program_id(0) // tiles
    pid_m, pid_n = grouped_pid(tl.program_id(0) % tiles, tiles_m, tiles_n, GROUP_M)
    z = tl.cast(part // SPLIT_K // Y, tl.int64)
    y = tl.cast(part // SPLIT_K % Y, tl.int64)
    steps = tl.cdiv(tl.cdiv(K, BLOCK_K), SPLIT_K)
    first_k = (part % SPLIT_K) * steps * BLOCK_K

    if INT64:
        stride_ak, stride_bk = tl.cast(stride_ak, tl.int64), tl.cast(stride_bk, tl.int64)
    offs_m = block_offsets(pid_m, BLOCK_M, INT64)
    offs_n = block_offsets(pid_n, BLOCK_N, INT64)
    offs_k = first_k + block_offsets(0, BLOCK_K, INT64)
    a_ptrs = a_ptr + z * stride_az + y * stride_ay + offs_m[:, None] * stride_am + offs_k[None, :] * stride_ak
    b_ptrs = b_ptr + z * stride_bz + y * stride_by + offs_k[:, None] * stride_bk + offs_n[None, :] * stride_bn

    ACC: tl.constexpr = DTYPE if DTYPE.primitive_bitwidth == 64 else tl.float32
    acc = tl.zeros((BLOCK_M, BLOCK_N), ACC)
    for k in range(first_k, tl.minimum(first_k + steps * BLOCK_K, K), BLOCK_K):
        left = K - k
        k_range = tl.arange(0, BLOCK_K)
        a = tl.load(a_ptrs, mask=(offs_m[:, None] < M) & (k_range[None, :] < left), other=0.0).to(DTYPE)
        b = tl.load(b_ptrs, mask=(k_range[:, None] < left) & (offs_n[None, :] < N), other=0.0).to(DTYPE)
        acc = tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=ACC)
        a_ptrs += BLOCK_K * stride_ak
        b_ptrs += BLOCK_K * stride_bk

    if bias_ptr is not None:
        acc += tl.load(bias_ptr + offs_n.to(tl.int64) * stride_bias, mask=offs_n < N, other=0.0).to(ACC)[None, :]
    c_offs = offs_m[:, None] * N + offs_n[None, :]
    c_mask = (offs_m[:, None] < M) & (offs_n[None, :] < N)
    first_c = tl.cast(part, tl.int64) * M * N
    if pre_ptr is not None:
        tl.store(pre_ptr + first_c + c_offs, acc.to(pre_ptr.dtype.element_ty), mask=c_mask)
    if ACT is not None:
        acc = ACT(acc)
    tl.store(c_ptr + first_c + c_offs, acc.to(c_ptr.dtype.element_ty), mask=c_mask)


def matmul_reference(
    a: Tensor,
    b: Tensor,
    bias: Tensor | None = None,
    *,
    activation: str = "none",
    out_dtype: torch.dtype | None = None,
    dtype: torch.dtype | None = None,
    with_pre: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    bias_shape, bias_dtype = (None, None) if bias is None else (bias.shape, bias.dtype)
    dtype = _check(a.shape, b.shape, bias_shape, activation, (a.dtype, b.dtype, bias_dtype), dtype)
    wide = wide_dtype(dtype)
    c = torch.matmul(a.to(dtype).to(wide), b.to(dtype).to(wide))
    if bias is not None:
        c = c + bias.to(wide)
    pre, c = c, activation_named("matmul", activation).reference(c)
    out_dtype = out_dtype or dtype
    return (c.to(out_dtype), pre.to(out_dtype)) if with_pre else c.to(out_dtype)


def _flops(a: Tensor, b: Tensor, *_: Any, **__: Any) -> int:
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return 2 * batch.numel() * a.shape[-2] * a.shape[-1] * b.shape[-1]


@op(reference=matmul_reference, flops=_flops)
def matmul(
    a: Tensor,
    b: Tensor,
    bias: Tensor | None = None,
    *,
    activation: str = "none",
    out_dtype: torch.dtype | None = None,
    dtype: torch.dtype | None = None,
    with_pre: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """c = act(a b + bias), in one launch; batch dimensions broadcast as in torch.matmul.

    Products are summed in float32 (float64 for float64) in an order that depends on the sizes alone: no atomics, the
    same bits in every run and on any number of threads. Float32 operands follow torch's switch for matrix products
    (`torch.set_float32_matmul_precision`).

    Args:
        a: [..., M, K], float32/float16/bfloat16/float64, any strides.
        b: [..., K, N], of a's dtype, any strides.
        bias: [N], of a's dtype, any stride; added to every row.
        activation: "none", "relu", "gelu" (with erf), "gelu_tanh" or "silu".
        out_dtype: of c; by default that of the products.
        dtype: what operands, of any and also different dtypes, are rounded to before they are multiplied (autocast).
        with_pre: return also the pre-activation a b + bias, which the gradient of most activations needs.

    Returns: c [..., M, N], contiguous, act(bias) or act(0) where K is 0; with_pre: c and the pre-activation, alike.
    Raises: ShapeError for ranks, sizes or an activation that do not fit; DtypeError for mixed or other dtypes.
    """
    plan = _plan_of(a, b, bias, activation, dtype)
    c = a.new_empty(plan.shape, dtype=out_dtype or plan.dtype)
    pre = torch.empty_like(c) if with_pre else None
    plan.run(c, a, b, bias, pre)
    return c if pre is None else (c, pre)


@dataclass(frozen=True)
class _Plan:
    """All that a product's sizes, strides and dtypes decide, so that a repeated call is a look-up and a launch."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    activation: str
    walkable: bool
    batch: int
    grid: tuple[int]
    integers: tuple[int, ...]
    constexprs: dict[str, Any]

    def run(self, c: Tensor, a: Tensor, b: Tensor, bias: Tensor | None, pre: Tensor | None) -> None:
        if not self.walkable:
            return self._run_slices(c, a, b, bias, pre)
        splits = self.constexprs["SPLIT_K"]
        if splits == 1:
            launch(_matmul_kernel, self.grid, a, b, bias, c, pre, *self.integers, **self.constexprs)
            return
        M, N = self.integers[:2]
        parts = torch.empty((self.batch, splits, M * N), dtype=wide_dtype(self.dtype), device=c.device)
        constexprs = {**self.constexprs, "ACT": None}
        launch(_matmul_kernel, self.grid, a, b, None, parts, None, *self.integers, **constexprs)
        sum_parts(parts, c, bias, self.activation, pre)

    def _run_slices(self, c: Tensor, a: Tensor, b: Tensor, bias: Tensor | None, pre: Tensor | None) -> None:
        """One product for each index of the first batch dimension, where no two strides walk all batch dimensions."""
        a, b = a.expand(c.shape[:-2] + a.shape[-2:]), b.expand(c.shape[:-2] + b.shape[-2:])
        for i in range(len(c)):
            plan = _plan_of(a[i], b[i], bias, self.activation, self.dtype)
            plan.run(c[i], a[i], b[i], bias, None if pre is None else pre[i])


def _plan_of(a: Tensor, b: Tensor, bias: Tensor | None, activation: str, dtype: torch.dtype | None) -> _Plan:
    return _plan(
        a.shape,
        a.stride(),
        a.dtype,
        b.shape,
        b.stride(),
        b.dtype,
        None if bias is None else (bias.shape, bias.stride(), bias.dtype),
        activation,
        dtype,
        matmul_precision(dtype or a.dtype),
        a.device,
    )


@functools.lru_cache(4096)
def _plan(
    a_shape: torch.Size,
    a_stride: tuple[int, ...],
    a_dtype: torch.dtype,
    b_shape: torch.Size,
    b_stride: tuple[int, ...],
    b_dtype: torch.dtype,
    bias: tuple[torch.Size, tuple[int, ...], torch.dtype] | None,
    activation: str,
    dtype: torch.dtype | None,
    precision: str,
    device: torch.device,
) -> _Plan:
    bias_shape, bias_stride, bias_dtype = bias or (None, (0,), None)
    dtype = _check(a_shape, b_shape, bias_shape, activation, (a_dtype, b_dtype, bias_dtype), dtype)
    (M, K), N = a_shape[-2:], b_shape[-1]
    shape = torch.broadcast_shapes(a_shape[:-2], b_shape[:-2])
    stride_am, stride_ak = a_stride[-2:]
    batch, (a_batch, b_batch) = merge(shape, _broadcast(a_shape, a_stride, shape), _broadcast(b_shape, b_stride, shape))
    # A batch dimension that b does not have is more rows of a.
    if batch and b_batch[-1] == 0 and (M == 1 or a_batch[-1] == M * stride_am):
        stride_am = a_batch[-1] if M == 1 else stride_am
        M *= batch[-1]
        batch, a_batch, b_batch = batch[:-1], a_batch[:-1], b_batch[:-1]
    (Z, Y), (stride_az, stride_ay), (stride_bz, stride_by) = (
        [*start, *last][-2:] for start, last in (((1, 1), batch), ((0, 0), a_batch), ((0, 0), b_batch))
    )
    tile = pick_tile(M, N, K, Z * Y, dtype, _tune.target(device), activation, (a_dtype, b_dtype))
    programs = Z * Y * tile.SPLIT_K * triton.cdiv(M, tile.BLOCK_M) * triton.cdiv(N, tile.BLOCK_N)
    int64 = (
        needs_int64((M, K), (stride_am, stride_ak)) or needs_int64((K, N), b_stride[-2:]) or needs_int64((M, N), (N, 1))
    )
    return _Plan(
        shape=(*shape, a_shape[-2], N),
        dtype=dtype,
        activation=activation,
        walkable=len(batch) <= 2,
        batch=Z * Y,
        grid=(programs,),
        integers=(
            *(M, N, K, Y),
            *(stride_az, stride_ay, stride_am, stride_ak),
            *(stride_bz, stride_by, *b_stride[-2:]),
            bias_stride[0],
        ),
        constexprs={
            "DTYPE": TL_DTYPES[dtype],
            "PRECISION": precision,
            "ACT": activation_named("matmul", activation).formula,
            "INT64": int64,
            **asdict(tile),
        },
    )


def _broadcast(shape: torch.Size, stride: tuple[int, ...], batch: torch.Size) -> list[int]:
    """The strides of `shape`'s batch dimensions as if it were expanded to `batch`."""
    own = [0 if size == 1 else step for size, step in zip(shape[:-2], stride[:-2], strict=True)]
    return [0] * (len(batch) - len(own)) + own


def _check(
    a: torch.Size,
    b: torch.Size,
    bias: torch.Size | None,
    activation: str,
    dtypes: tuple[torch.dtype | None, ...],
    dtype: torch.dtype | None,
) -> torch.dtype:
    """Raises what matmul says that it raises; returns the dtype that is multiplied."""
    given = f"matmul: a is {tuple(a)} and b is {tuple(b)}"
    if len(a) < 2 or len(b) < 2:
        raise ShapeError(f"{given}; each needs rows and columns")
    if a[-1] != b[-2]:
        raise ShapeError(f"{given}; inner sizes {a[-1]} and {b[-2]} differ")
    for left, right in zip(reversed(a[:-2]), reversed(b[:-2]), strict=False):
        if left != right and 1 not in (left, right):
            raise ShapeError(f"{given}; batch sizes {left} and {right} do not broadcast")
    if bias is not None and bias != b[-1:]:
        raise ShapeError(f"matmul: bias is {tuple(bias)} and b is {tuple(b)}; bias needs to be ({b[-1]},)")
    activation_named("matmul", activation)
    mixed = [each for each in dtypes if each is not None]
    product = dtype or mixed[0]
    if wrong := [each for each in (*mixed, product) if each not in FLOATS]:
        raise DtypeError(f"matmul: got {dtype_name(wrong[0])}; it takes {', '.join(map(dtype_name, FLOATS))}")
    if dtype is None and len(set(mixed)) > 1:
        raise DtypeError(f"matmul: got {', '.join(map(dtype_name, mixed))}; a, b and bias need to have one dtype")
    return product
