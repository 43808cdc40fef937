"""Tables of pointers: any number of tensors behind one launch, each of whose programs takes a chunk of one tensor."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._errors import DeviceError, DtypeError, ShapeError, dtype_name
from ._tile import TL_DTYPES

Column = Sequence[Tensor | None]
"""A list of tensors of one meaning, one for each row of a launch: all parameters, all gradients."""

SIZES, GROUPS, PARAMS, GRADS = (tl.constexpr(row) for row in range(4))
"""The first rows of an optimizer's table: numbers of elements, rows of hyper, addresses. Others' begin with SIZES."""


@dataclass(frozen=True)
class Table:
    """Where the tensors of a launch lie, on their own device.

    rows: int64 [rows, T]: numbers and addresses, 0 for None; a column for each tensor.
    chunks: int32 [n, 2]: which tensor a program takes, and which of its blocks.
    """

    rows: Tensor
    chunks: Tensor

    @property
    def grads(self) -> Tensor:
        """The addresses of the gradients in an optimizer's table."""
        return self.rows[GRADS.value]


def make_table(
    params: Sequence[Tensor],
    groups: Sequence[int],
    columns: Sequence[Column],
    block: int,
    numbers: Sequence[Iterable[int]] = (),
) -> Table:
    """An optimizer's table: sizes and groups of the parameters, addresses of these and of the columns, numbers."""
    sizes = [p.numel() for p in params]
    rows = [sizes, groups, *map(addresses, (params, *columns)), *numbers]
    device = params[0].device
    return Table(integers(rows).to(device), chunks_of(sizes, block).to(device))


def integers(rows: Sequence[Iterable[int]]) -> Tensor:
    """int64 [rows, T] on the host: what torch.tensor makes of nested lists, in a fraction of its time."""
    numbers = array("q")
    for row in rows:
        numbers.extend(row)
    if not numbers:
        return torch.empty((len(rows), 0), dtype=torch.int64, device="cpu")
    return torch.frombuffer(numbers, dtype=torch.int64).reshape(len(rows), -1)


def chunks_of(sizes: Sequence[int], block: int) -> Tensor:
    """int32 [n, 2] on the host: tensor and block of each program that walks tensors of these sizes."""
    counts = torch.tensor([triton.cdiv(size, block) for size in sizes], dtype=torch.int64, device="cpu")
    of = torch.repeat_interleave(counts)
    within = torch.arange(len(of), device="cpu") - (counts.cumsum(0) - counts)[of]
    return torch.stack((of, within), 1).to(torch.int32)


def addresses(column: Column) -> list[int]:
    """What a table holds for tensors: never 0 but for None; one without elements has no address of its own."""
    return [0 if tensor is None else tensor.data_ptr() or 16 for tensor in column]


def same_order(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one shape lie in memory in one way; the stride of a dimension of size 1 says nothing."""
    return a.shape == b.shape and all(
        size <= 1 or x == y for size, x, y in zip(a.shape, a.stride(), b.stride(), strict=True)
    )


def without_gaps(tensor: Tensor) -> bool:
    """Whether a tensor fills its piece of memory, in any order of its dimensions."""
    return tensor.is_contiguous() or same_order(tensor, torch.empty_like(tensor, device="meta"))


@triton.jit
def chunk_of(table_ptr, chunks_ptr, T, BLOCK: tl.constexpr):
    """The tensor of this program, the first element of its chunk, and how many are left from there on."""
    pid = tl.program_id(0).to(tl.int64)
    i = tl.load(chunks_ptr + 2 * pid)
    start = tl.load(chunks_ptr + 2 * pid + 1).to(tl.int64) * BLOCK
    return i, start, tl.load(table_ptr + SIZES * T + i) - start


@triton.jit
def address_of(table_ptr, row, T, i):
    return tl.load(table_ptr + row * T + i)


def check_columns(
    op: str,
    params: Sequence[Tensor],
    columns: Mapping[str, Column],
    scalars: Mapping[str, Sequence[Tensor]] | None = None,
) -> None:
    """What a kernel cannot see: behind a pointer it takes all tensors of a column to be alike.

    Args:
        columns: by name, tensors like the parameters in shape and device. Each column is of one dtype.
        scalars: columns of one float32 for each parameter.

    Raises: ShapeError, DtypeError, DeviceError, in the name of operation `op`.
    """
    columns, scalars = {"params": params, **columns}, scalars or {}
    for name, column in {**columns, **scalars}.items():
        if len(column) != len(params):
            raise ShapeError(f"{op}: {len(params)} params and {len(column)} {name}; there is one for each")
    for name, column in columns.items():
        dtypes = list(dict.fromkeys(t.dtype for t in column if t is not None))
        if len(dtypes) > 1:
            raise DtypeError(f"{op}: {name} are {' and '.join(map(str, dtypes))}; all must be of one dtype")
        if dtypes and dtypes[0] not in TL_DTYPES:
            takes = ", ".join(map(dtype_name, TL_DTYPES))
            raise DtypeError(f"{op}: {name} are {dtypes[0]}; they are {takes}")
        for p, t in zip(params, column, strict=True):
            if t is not None and t.shape != p.shape:
                raise ShapeError(f"{op}: a parameter is {tuple(p.shape)} and its part of {name} is {tuple(t.shape)}")
    for name, column in {**columns, **scalars}.items():
        for t in column:
            if t is not None and t.device != params[0].device:
                raise DeviceError(f"{op}: a parameter is on {params[0].device} and one of {name} on {t.device}")
    for name, steps in scalars.items():
        if any(step.dtype != torch.float32 or step.numel() != 1 for step in steps):
            raise DtypeError(f"{op}: one of {name} is not one float32")


def check_order(op: str, params: Sequence[Tensor], columns: Iterable[Column]) -> None:
    """Raises ShapeError unless the tensors of each row lie in memory in one way, without gaps: kernels walk memory."""
    for p, *row in zip(params, *columns, strict=True):
        if not without_gaps(p) or not all(t is None or same_order(t, p) for t in row):
            raise ShapeError(
                f"{op}: a parameter is {tuple(p.shape)} with strides {p.stride()}; "
                "it, its gradient and its moments must lie in memory in one way, without gaps"
            )


def check_hyper(op: str, hyper: Tensor, width: int, groups: Sequence[int] | None, count: int) -> None:
    """Raises DtypeError, ShapeError unless `hyper` is float64 [G, width] and has the rows that `groups` name."""
    if hyper.dtype != torch.float64:
        raise DtypeError(f"{op}: hyper is {hyper.dtype}; it must be torch.float64")
    if hyper.shape[1:] != (width,) or not hyper.is_contiguous():
        raise ShapeError(
            f"{op}: hyper is {tuple(hyper.shape)} with strides {hyper.stride()}; it is [G, {width}], contiguous"
        )
    if groups is not None and (len(groups) != count or not all(0 <= group < len(hyper) for group in groups)):
        raise ShapeError(f"{op}: groups are {list(groups)}; each of {count} parameters has a row of {len(hyper)}")
