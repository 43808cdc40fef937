"""The kernels, for any formula: of tensors that lie alike in memory, and of rows and columns of any strides."""

import triton
import triton.language as tl

from .._strides import row_offsets, rows_and_cols


@triton.jit
def _load(ptr, offs, mask, ACC: tl.constexpr):
    return tl.load(ptr + offs, mask=mask, other=0).to(ACC)


@triton.jit
def _at(rows, cols, n1, n2, s0, s1, s2, s3):
    return row_offsets(rows, n1, n2, s1, s2, s3) + cols * s0


@triton.jit
def _parameter(p_ptr, p, offs, mask, ACC: tl.constexpr):
    """The tile of a parameter that is a tensor, else the number."""
    return tl.cast(p, ACC) if p_ptr is None else _load(p_ptr, offs, mask, ACC)


@triton.jit
def _times(value, ptr, offs, mask):
    """Times a tensor that may be None."""
    return value if ptr is None else value * _load(ptr, offs, mask, value.dtype)


@triton.jit
def _incoming(dloss_ptr, statistics_ptr, divisor, offs, mask, SCALAR: tl.constexpr, ACC: tl.constexpr):
    """The gradient of each term."""
    divisor = tl.cast(divisor, ACC)
    if statistics_ptr is not None:
        divisor *= tl.load(statistics_ptr)
    return tl.load(dloss_ptr).to(ACC) / divisor if SCALAR else _load(dloss_ptr, offs, mask, ACC)


@triton.jit
def _store_sums(value, weight, sums_ptr, loss_ptr, statistics_ptr, part, divisor, WEIGHTED: tl.constexpr):
    """Part of the sums; without sums_ptr all of them, and so the loss."""
    if sums_ptr is not None:
        tl.store(sums_ptr + 2 * part, value)
        tl.store(sums_ptr + 2 * part + 1, weight)
    elif WEIGHTED:
        total = weight / tl.cast(divisor, weight.dtype)
        tl.store(statistics_ptr, total)
        tl.store(statistics_ptr + 1, value / total)
        tl.store(loss_ptr, value / total)
    else:
        tl.store(loss_ptr, value / tl.cast(divisor, value.dtype))


@triton.jit
def _sum_kernel(
    x_ptr, t_ptr, w_ptr, f_ptr, p_ptr, sums_ptr, loss_ptr, statistics_ptr,
    n, p: "fp64", divisor: "fp64",
    OF: tl.constexpr, ACC: tl.constexpr, WEIGHTED: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    offs = pid.to(tl.int64) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask = offs < n
    value = OF(_load(x_ptr, offs, mask, ACC), _load(t_ptr, offs, mask, ACC), _parameter(p_ptr, p, offs, mask, ACC))
    value = _times(_times(value, w_ptr, offs, mask), f_ptr, offs, mask)
    weight = tl.sum(_load(w_ptr, offs, mask, ACC), 0) if WEIGHTED else 0.0
    value = tl.sum(tl.where(mask, value, 0.0), 0)
    _store_sums(value, weight, sums_ptr, loss_ptr, statistics_ptr, pid, divisor, WEIGHTED)


@triton.jit
def _sum_rows_kernel(
    x_ptr, t_ptr, w_ptr, f_ptr, p_ptr, sums_ptr, loss_ptr, statistics_ptr,
    R, n0, n1, n2, sx0, sx1, sx2, sx3, st0, st1, st2, st3, sw0, sw1, sw2, sw3, sf0, sf1, sf2, sf3, sp0, sp1, sp2, sp3,
    p: "fp64", divisor: "fp64",
    OF: tl.constexpr, ACC: tl.constexpr, WEIGHTED: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    rows, cols, mask = rows_and_cols(R, n0, BLOCK_R, BLOCK_C)
    x_offs = _at(rows, cols, n1, n2, sx0, sx1, sx2, sx3)
    t_offs = _at(rows, cols, n1, n2, st0, st1, st2, st3)
    w_offs = _at(rows, cols, n1, n2, sw0, sw1, sw2, sw3)
    f_offs = _at(rows, cols, n1, n2, sf0, sf1, sf2, sf3)
    p_offs = _at(rows, cols, n1, n2, sp0, sp1, sp2, sp3)
    value = OF(
        _load(x_ptr, x_offs, mask, ACC), _load(t_ptr, t_offs, mask, ACC), _parameter(p_ptr, p, p_offs, mask, ACC)
    )
    value = _times(_times(value, w_ptr, w_offs, mask), f_ptr, f_offs, mask)
    weight = tl.sum(tl.sum(_load(w_ptr, w_offs, mask, ACC), 1), 0) if WEIGHTED else 0.0
    value = tl.sum(tl.sum(tl.where(mask, value, 0.0), 1), 0)
    _store_sums(value, weight, sums_ptr, loss_ptr, statistics_ptr, tl.program_id(0), divisor, WEIGHTED)


@triton.jit
def _sum_parts_kernel(
    parts_ptr, sums_ptr, loss_ptr, statistics_ptr, P, divisor: "fp64", WEIGHTED: tl.constexpr, BLOCK: tl.constexpr
):
    pid = tl.program_id(0)
    offs = pid.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.sum(tl.load(parts_ptr + 2 * offs, mask=offs < P, other=0.0), 0)
    weight = tl.sum(tl.load(parts_ptr + 2 * offs + 1, mask=offs < P, other=0.0), 0) if WEIGHTED else 0.0
    _store_sums(value, weight, sums_ptr, loss_ptr, statistics_ptr, pid, divisor, WEIGHTED)


@triton.jit
def _terms_kernel(
    x_ptr, t_ptr, w_ptr, f_ptr, p_ptr, dloss_ptr, y_ptr, statistics_ptr,
    n, p: "fp64", divisor: "fp64",
    OF: tl.constexpr, ACC: tl.constexpr, SCALAR: tl.constexpr, CENTRED: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    offs = tl.program_id(0).to(tl.int64) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask = offs < n
    value = OF(_load(x_ptr, offs, mask, ACC), _load(t_ptr, offs, mask, ACC), _parameter(p_ptr, p, offs, mask, ACC))
    if CENTRED:
        value -= tl.load(statistics_ptr + 1)
    value = _times(_times(value, w_ptr, offs, mask), f_ptr, offs, mask)
    if dloss_ptr is not None:
        value *= _incoming(dloss_ptr, statistics_ptr, divisor, offs, mask, SCALAR, ACC)
    tl.store(y_ptr + offs, value, mask=mask)


@triton.jit
def _terms_rows_kernel(
    x_ptr, t_ptr, w_ptr, f_ptr, p_ptr, dloss_ptr, y_ptr, statistics_ptr,
    R, n0, n1, n2, sx0, sx1, sx2, sx3, st0, st1, st2, st3, sw0, sw1, sw2, sw3, sf0, sf1, sf2, sf3, sp0, sp1, sp2, sp3,
    sd0, sd1, sd2, sd3, sy0, sy1, sy2, sy3,
    p: "fp64", divisor: "fp64",
    OF: tl.constexpr, ACC: tl.constexpr, SCALAR: tl.constexpr, CENTRED: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    rows, cols, mask = rows_and_cols(R, n0, BLOCK_R, BLOCK_C)
    x_offs = _at(rows, cols, n1, n2, sx0, sx1, sx2, sx3)
    t_offs = _at(rows, cols, n1, n2, st0, st1, st2, st3)
    w_offs = _at(rows, cols, n1, n2, sw0, sw1, sw2, sw3)
    f_offs = _at(rows, cols, n1, n2, sf0, sf1, sf2, sf3)
    p_offs = _at(rows, cols, n1, n2, sp0, sp1, sp2, sp3)
    value = OF(
        _load(x_ptr, x_offs, mask, ACC), _load(t_ptr, t_offs, mask, ACC), _parameter(p_ptr, p, p_offs, mask, ACC)
    )
    if CENTRED:
        value -= tl.load(statistics_ptr + 1)
    value = _times(_times(value, w_ptr, w_offs, mask), f_ptr, f_offs, mask)
    if dloss_ptr is not None:
        d_offs = _at(rows, cols, n1, n2, sd0, sd1, sd2, sd3)
        value *= _incoming(dloss_ptr, statistics_ptr, divisor, d_offs, mask, SCALAR, ACC)
    y_offs = _at(rows, cols, n1, n2, sy0, sy1, sy2, sy3)
    tl.store(y_ptr + y_offs, value, mask=mask)
