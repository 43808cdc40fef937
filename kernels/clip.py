"""clip: the norm over many tensors, and clipping them by it or by value, each in one launch by a table of pointers."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._errors import DtypeError, LayoutError, ShapeError, dtype_name
from ._launch import launch
from ._op import op
from ._strides import check_distinct, merge
from ._table import Table, address_of, addresses, chunk_of, chunks_of, integers
from ._tile import TL_DTYPES, wide_dtype
from ._tune import Target, target

# Rows of the table, after the sizes.
_STRIDES, _ADDRESSES = (tl.constexpr(row) for row in range(1, 3))
_ROOT_BLOCK = 1024
_SHORT = 64


@dataclass(frozen=True)
class Tile:
    BLOCK: int
    num_warps: int


_TILES = {"cpu": (Tile(1024, 4), Tile(8192, 4)), "gpu": (Tile(1024, 4), Tile(8192, 8))}


@functools.cache
def pick_tile(largest: int, target: Target) -> Tile:
    """Elements that a program takes: all of a small tensor, many of a large one, for few partial sums."""
    small, large = _TILES[target.kind]
    return small if largest <= small.BLOCK else large


@dataclass(frozen=True)
class Lines(Table):
    """A table of lines: elements at one distance from each other.

    tile: of the chunks.
    strided: whether that distance is anywhere more than one element.
    """

    tile: Tile
    strided: bool


@triton.jit
def _line_of(table_ptr, chunks_ptr, T, TYPE: tl.constexpr, STRIDED: tl.constexpr, BLOCK: tl.constexpr):
    """This program's first element, their distance, their mask, and whether it can do with wide loads and no mask."""
    i, start, left = chunk_of(table_ptr, chunks_ptr, T, BLOCK)
    address = address_of(table_ptr, _ADDRESSES, T, i)
    stride = address_of(table_ptr, _STRIDES, T, i) if STRIDED else 1
    wide = False if STRIDED else (left >= BLOCK) & (address % 16 == 0)
    return address.to(tl.pointer_type(TYPE)) + start * stride, stride, tl.arange(0, BLOCK) < left, wide


@triton.jit
def _largest(a, b):
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _smallest(a, b):
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _total(x, ORDER: tl.constexpr):
    if ORDER == "inf":
        return tl.reduce(x, 0, _largest)
    elif ORDER == "-inf":
        return tl.reduce(x, 0, _smallest)
    else:
        return tl.sum(x, 0)


@triton.jit
def _part(x, order, ORDER: tl.constexpr, WIDE: tl.constexpr):
    """What an element adds to the sum, or puts up for the extreme."""
    if ORDER == "0":
        return (x != 0).to(WIDE)
    x = tl.abs(x.to(WIDE))
    if ORDER == "2":
        x *= x
    elif ORDER == "p":
        x = tl.exp2(order * tl.log2(x))
    return x


@triton.jit
def _norm_kernel(
    table_ptr, chunks_ptr, partials_ptr, T, order: "fp64",
    TYPE: tl.constexpr, ORDER: tl.constexpr, STRIDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    WIDE: tl.constexpr = partials_ptr.dtype.element_ty
    ptr, stride, mask, wide = _line_of(table_ptr, chunks_ptr, T, TYPE, STRIDED, BLOCK)
    offs = tl.arange(0, BLOCK)
    partials_ptr += tl.program_id(0)
    if wide:
        part = _part(tl.load(tl.multiple_of(ptr + offs, 16)), order, ORDER, WIDE)
        tl.store(partials_ptr, _total(part, ORDER))
    else:
        part = _part(tl.load(ptr + offs * stride, mask=mask, other=0.0), order, ORDER, WIDE)
        nothing = float("inf") if ORDER == "-inf" else 0.0
        tl.store(partials_ptr, _total(tl.where(mask, part, nothing), ORDER))


@triton.jit
def _root_kernel(partials_ptr, norm_ptr, P, order: "fp64", ORDER: tl.constexpr, BLOCK: tl.constexpr):
    WIDE: tl.constexpr = partials_ptr.dtype.element_ty
    nothing = float("inf") if ORDER == "-inf" else 0.0
    acc = tl.full((BLOCK,), nothing, WIDE)
    for start in range(0, P, BLOCK):
        offs = start + tl.arange(0, BLOCK)
        x = tl.load(partials_ptr + offs, mask=offs < P, other=nothing)
        if ORDER == "inf":
            acc = _largest(acc, x)
        elif ORDER == "-inf":
            acc = _smallest(acc, x)
        else:
            acc += x
    total = _total(acc, ORDER)
    if ORDER == "2":
        total = tl.sqrt(total) if WIDE == tl.float64 else tl.sqrt_rn(total)
    elif ORDER == "p":
        total = tl.exp2(tl.log2(total) / order)
    tl.store(norm_ptr, total)


@triton.jit
def _clip_norm_kernel(
    table_ptr, chunks_ptr, total_norm_ptr, T, max_norm: "fp64",
    TYPE: tl.constexpr, STRIDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    WIDE: tl.constexpr = tl.float64 if TYPE == tl.float64 else tl.float32
    factor = max_norm / (tl.load(total_norm_ptr).to(tl.float64) + 1e-6)
    # Not so for a NaN, which is handed on.
    if (factor < 1.0) | (factor != factor):
        ptr, stride, mask, wide = _line_of(table_ptr, chunks_ptr, T, TYPE, STRIDED, BLOCK)
        offs = tl.arange(0, BLOCK)
        if wide:
            ptrs = tl.multiple_of(ptr + offs, 16)
            tl.store(ptrs, tl.load(ptrs).to(WIDE) * factor.to(WIDE))
        else:
            x = tl.load(ptr + offs * stride, mask=mask, other=0.0).to(WIDE)
            tl.store(ptr + offs * stride, x * factor.to(WIDE), mask=mask)


@triton.jit
def _between(x, high):
    """x in [-high, high]; a NaN of either stays one."""
    x = tl.where(x < -high, -high, x)
    x = tl.where(x > high, high, x)
    return tl.where(high == high, x, high)


@triton.jit
def _clip_value_kernel(
    table_ptr, chunks_ptr, T, clip_value: "fp64", TYPE: tl.constexpr, STRIDED: tl.constexpr, BLOCK: tl.constexpr
):
    WIDE: tl.constexpr = tl.float64 if TYPE == tl.float64 else tl.float32
    high = tl.cast(clip_value, WIDE)
    ptr, stride, mask, wide = _line_of(table_ptr, chunks_ptr, T, TYPE, STRIDED, BLOCK)
    offs = tl.arange(0, BLOCK)
    if wide:
        ptrs = tl.multiple_of(ptr + offs, 16)
        tl.store(ptrs, _between(tl.load(ptrs).to(WIDE), high))
    else:
        x = tl.load(ptr + offs * stride, mask=mask, other=0.0).to(WIDE)
        tl.store(ptr + offs * stride, _between(x, high), mask=mask)


def clip_table(tensors: Sequence[Tensor]) -> Lines:
    """The table of tensors that check_clipped lets pass: their sizes, and how they lie in memory."""
    if all(map(Tensor.is_contiguous, tensors)):
        sizes = tuple(map(Tensor.numel, tensors))
        strides: Sequence[int] = [1] * len(sizes)
        begins: Sequence[int] = addresses(tensors)
    else:
        lines = [
            (size, stride, address + offset * tensor.itemsize)
            for tensor, address in zip(tensors, addresses(tensors), strict=True)
            for size, stride, offset in _lines(tensor.shape, tensor.stride())
        ]
        sizes, strides, begins = zip(*lines, strict=True)
    device = tensors[0].device
    tile = pick_tile(max(sizes), target(device))
    rows = integers([sizes, strides, begins]).to(device)
    return Lines(rows, _chunks(sizes, tile.BLOCK, device), tile, any(stride != 1 for stride in strides))


def _checked_table(tensors: Sequence[Tensor], written: bool) -> Lines:
    check_clipped(tensors, written)
    return clip_table(tensors)


@functools.lru_cache(16)
def _chunks(sizes: tuple[int, ...], block: int, device: torch.device) -> Tensor:
    return chunks_of(sizes, block).to(device)


@functools.lru_cache(1024)
def _lines(shape: tuple[int, ...], stride: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Size, stride and offset of the lines that make up a tensor: along its innermost dimension where that is long."""
    order = sorted(range(len(shape)), key=lambda dim: -stride[dim])
    sizes, (strides,) = merge([shape[dim] for dim in order], [stride[dim] for dim in order])
    if not sizes:
        return [(1, 1, 0)]
    along = len(sizes) - 1 if sizes[-1] >= _SHORT else sizes.index(max(sizes))
    size, step = sizes.pop(along), strides.pop(along)
    offsets = [0]
    for n, distance in zip(sizes, strides, strict=True):
        offsets = [offset + k * distance for offset in offsets for k in range(n)]
    return [(size, step, offset) for offset in offsets]


def total_norm_reference(
    tensors: Sequence[Tensor], norm_type: float = 2.0, dtype: torch.dtype | None = None, *, table: Lines | None = None
) -> Tensor:
    check_clipped(tensors, written=False)
    flat = torch.cat([t.reshape(-1).to(wide_dtype(t.dtype)) for t in tensors])
    if not flat.numel():
        return torch.full((), 0.0 if norm_type >= 0 else math.inf, dtype=dtype or tensors[0].dtype, device=flat.device)
    return torch.linalg.vector_norm(flat, norm_type).to(dtype or tensors[0].dtype)


def clip_norm_reference(
    tensors: Sequence[Tensor], total_norm: Tensor, max_norm: float, *, table: Lines | None = None
) -> None:
    check_clipped(tensors, written=True)
    _check_total_norm(total_norm)
    factor = (max_norm / (total_norm.double() + 1e-6)).clamp(max=1.0)
    for t in tensors:
        wide = wide_dtype(t.dtype)
        t.copy_(t.to(wide) * factor.to(wide))


def clip_value_reference(tensors: Sequence[Tensor], clip_value: float, *, table: Lines | None = None) -> None:
    check_clipped(tensors, written=True)
    for t in tensors:
        t.copy_(t.to(wide_dtype(t.dtype)).clamp(-clip_value, clip_value))


@op(
    reference=total_norm_reference,
    tables=("tensors",),
    kept="table",
    flops=lambda tensors, *_, **__: 2 * sum(t.numel() for t in tensors),
)
def total_norm(
    tensors: Sequence[Tensor], norm_type: float = 2.0, dtype: torch.dtype | None = None, *, table: Lines | None = None
) -> Tensor:
    """(sum |x|^p)^(1/p) over all elements of all tensors; for p = 0 how many are not 0, for p = inf the largest |x|.

    Args:
        tensors: at least one, all of one dtype, any shapes and strides.
        norm_type: p, any number; 2, 1, 0, inf and -inf have kernels of their own, others are computed in float64.
        dtype: of the norm; the tensors' if not given. Sums are float32, for float64 tensors float64.
        table: of these tensors, from clip_table, where several operations take them.

    Returns: one element. Over no elements it is 0, for a negative p infinite.
    Raises: DtypeError for several dtypes.
    """
    table = table or _checked_table(tensors, written=False)
    order = {2.0: "2", 1.0: "1", 0.0: "0", math.inf: "inf", -math.inf: "-inf"}.get(float(norm_type), "p")
    kept_in = torch.float64 if order == "p" else wide_dtype(tensors[0].dtype)
    partials = torch.empty(len(table.chunks), dtype=kept_in, device=table.chunks.device)
    norm = torch.empty((), dtype=dtype or tensors[0].dtype, device=partials.device)
    launch(
        _norm_kernel, (len(partials),), table.rows, table.chunks, partials, table.rows.shape[1], float(norm_type),
        TYPE=TL_DTYPES[tensors[0].dtype], ORDER=order, STRIDED=table.strided, **vars(table.tile),
    )  # fmt: skip
    launch(_root_kernel, (1,), partials, norm, len(partials), float(norm_type), ORDER=order, BLOCK=_ROOT_BLOCK)
    return norm


@op(
    reference=clip_norm_reference,
    inplace=("tensors",),
    tables=("tensors",),
    kept="table",
    flops=lambda tensors, *_, **__: sum(t.numel() for t in tensors),
)
def clip_norm_(tensors: Sequence[Tensor], total_norm: Tensor, max_norm: float, *, table: Lines | None = None) -> None:
    """x *= min(1, max_norm / (total_norm + 1e-6)), in place. Where that is 1 nothing is read or written.

    Args:
        tensors: at least one, all of one dtype, any shapes and strides; none of them twice.
        total_norm: one element, of any floating-point dtype.
        table: of these tensors, from clip_table, where several operations take them.

    Raises: DtypeError for several dtypes, ShapeError for an expanded tensor and for a total_norm of several elements.
    """
    _check_total_norm(total_norm)
    table = table or _checked_table(tensors, written=True)
    launch(
        _clip_norm_kernel, (len(table.chunks),),
        table.rows, table.chunks, total_norm, table.rows.shape[1], float(max_norm),
        TYPE=TL_DTYPES[tensors[0].dtype], STRIDED=table.strided, **vars(table.tile),
    )  # fmt: skip


@op(
    reference=clip_value_reference,
    inplace=("tensors",),
    tables=("tensors",),
    kept="table",
    flops=lambda tensors, *_, **__: 2 * sum(t.numel() for t in tensors),
)
def clip_value_(tensors: Sequence[Tensor], clip_value: float, *, table: Lines | None = None) -> None:
    """x = min(max(x, -clip_value), clip_value), in place; NaN stays NaN.

    Args:
        tensors: at least one, all of one dtype, any shapes and strides.
        table: of these tensors, from clip_table, where several operations take them.

    Raises: DtypeError for several dtypes, ShapeError for an expanded tensor.
    """
    table = table or _checked_table(tensors, written=True)
    launch(
        _clip_value_kernel, (len(table.chunks),), table.rows, table.chunks, table.rows.shape[1], float(clip_value),
        TYPE=TL_DTYPES[tensors[0].dtype], STRIDED=table.strided, **vars(table.tile),
    )  # fmt: skip


def check_clipped(tensors: Sequence[Tensor], written: bool) -> None:
    """Raises for tensors that cannot stand behind a clip_table; if they are to be written, for expanded ones too."""
    dtypes = list(dict.fromkeys(map(attrgetter("dtype"), tensors)))
    if len(dtypes) > 1:
        raise DtypeError(f"clip: tensors are {' and '.join(map(dtype_name, dtypes))}; all must be of one dtype")
    if dtypes and dtypes[0] not in TL_DTYPES:
        raise DtypeError(f"clip: got {dtype_name(dtypes[0])}; it takes {', '.join(map(dtype_name, TL_DTYPES))}")
    for layout in set(map(attrgetter("layout"), tensors)) - {torch.strided}:
        raise LayoutError(f"clip: a tensor of layout {layout}; kernels read strided memory (to_dense())")
    if written and not all(map(Tensor.is_contiguous, tensors)):
        for t in tensors:
            check_distinct("clip", t)


def _check_total_norm(total_norm: Tensor) -> None:
    if total_norm.numel() != 1 or not total_norm.is_floating_point():
        raise ShapeError(
            f"clip_norm_: total_norm is {tuple(total_norm.shape)} of {dtype_name(total_norm.dtype)}; "
            "it is one floating-point number"
        )
