"""adam: one step of Adam or AdamW over any number of parameters in one launch, through a table of pointers."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._errors import DtypeError
from ._launch import launch
from ._op import op
from ._table import (
    GRADS,
    GROUPS,
    PARAMS,
    Table,
    address_of,
    check_columns,
    check_hyper,
    check_order,
    chunk_of,
    make_table,
)
from ._tile import TL_DTYPES, wide_dtype
from ._tune import Target, target

# Rows of the table, after those of every optimizer's.
_EXP_AVGS, _EXP_AVG_SQS, _MAX_EXP_AVG_SQS, _STEPS = (tl.constexpr(row) for row in range(4, 8))
_HYPER = tl.constexpr(5)
_SCALARS = tl.constexpr(8)
_ADVANCE_BLOCK = 128


@dataclass(frozen=True)
class Tile:
    BLOCK: int
    num_warps: int


_TILES = {"cpu": Tile(8192, 4), "gpu": Tile(1024, 4)}


@functools.cache
def pick_tile(target: Target) -> Tile:
    """Elements that a program updates: enough to hide its look into the table, few enough for its registers."""
    return _TILES[target.kind]


@triton.jit
def _advance_kernel(
    table_ptr, hyper_ptr, grad_scale_ptr, found_inf_ptr, scalars_ptr, T, DECOUPLED: tl.constexpr, BLOCK: tl.constexpr
):
    """Counts the step of every parameter that takes it, and computes in float64 what all its elements share."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = i < T
    live = mask & (tl.load(table_ptr + GRADS * T + i, mask=mask, other=0) != 0)
    if found_inf_ptr is not None:
        live = tl.where(tl.load(found_inf_ptr) == 0, live, False)
    step_ptrs = tl.load(table_ptr + _STEPS * T + i, mask=mask, other=0).to(tl.pointer_type(tl.float32))
    step = tl.load(step_ptrs, mask=live, other=0.0) + 1.0
    tl.store(step_ptrs, step, mask=live)

    hyper_ptrs = hyper_ptr + _HYPER * tl.load(table_ptr + GROUPS * T + i, mask=mask, other=0)
    lr = tl.load(hyper_ptrs, mask=mask, other=0.0)
    beta1 = tl.load(hyper_ptrs + 1, mask=mask, other=1.0)
    beta2 = tl.load(hyper_ptrs + 2, mask=mask, other=1.0)
    eps = tl.load(hyper_ptrs + 3, mask=mask, other=0.0)
    weight_decay = tl.load(hyper_ptrs + 4, mask=mask, other=0.0)
    correction1 = 1.0 - tl.exp2(step.to(tl.float64) * tl.log2(beta1))
    correction2 = 1.0 - tl.exp2(step.to(tl.float64) * tl.log2(beta2))

    scalar_ptrs = scalars_ptr + _SCALARS * i
    tl.store(scalar_ptrs, live.to(tl.float64), mask=mask)
    tl.store(scalar_ptrs + 1, lr / correction1, mask=mask)
    tl.store(scalar_ptrs + 2, 1.0 / tl.sqrt(correction2), mask=mask)
    tl.store(scalar_ptrs + 3, beta1, mask=mask)
    tl.store(scalar_ptrs + 4, beta2, mask=mask)
    tl.store(scalar_ptrs + 5, eps, mask=mask)
    tl.store(scalar_ptrs + 6, 1.0 - lr * weight_decay if DECOUPLED else weight_decay, mask=mask)
    if grad_scale_ptr is not None:
        tl.store(scalar_ptrs + 7, 1.0 / tl.load(grad_scale_ptr).to(tl.float64) + 0.0 * lr, mask=mask)


@triton.jit
def _adam_kernel(
    table_ptr, chunks_ptr, scalars_ptr, T,
    PARAM: tl.constexpr, GRAD: tl.constexpr, STATE: tl.constexpr,
    AMSGRAD: tl.constexpr, DECOUPLED: tl.constexpr, MAXIMIZE: tl.constexpr, UNSCALE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i, start, left = chunk_of(table_ptr, chunks_ptr, T, BLOCK)
    scalars_ptr += _SCALARS * i
    if tl.load(scalars_ptr) != 0:
        param = address_of(table_ptr, PARAMS, T, i)
        grad = address_of(table_ptr, GRADS, T, i)
        exp_avg = address_of(table_ptr, _EXP_AVGS, T, i)
        exp_avg_sq = address_of(table_ptr, _EXP_AVG_SQS, T, i)
        maximum = address_of(table_ptr, _MAX_EXP_AVG_SQS, T, i)
        p_ptr = param.to(tl.pointer_type(PARAM)) + start
        g_ptr = grad.to(tl.pointer_type(GRAD)) + start
        m_ptr = exp_avg.to(tl.pointer_type(STATE)) + start
        v_ptr = exp_avg_sq.to(tl.pointer_type(STATE)) + start
        w_ptr = maximum.to(tl.pointer_type(STATE)) + start
        # Wide loads and stores need addresses of whole 16 bytes, and no mask.
        if (left >= BLOCK) & ((param | grad | exp_avg | exp_avg_sq | maximum) % 16 == 0):
            p_ptr, g_ptr = tl.multiple_of(p_ptr, 16), tl.multiple_of(g_ptr, 16)
            m_ptr, v_ptr, w_ptr = tl.multiple_of(m_ptr, 16), tl.multiple_of(v_ptr, 16), tl.multiple_of(w_ptr, 16)
            _update(p_ptr, g_ptr, m_ptr, v_ptr, w_ptr, scalars_ptr, None, None,
                    AMSGRAD, DECOUPLED, MAXIMIZE, UNSCALE, BLOCK)  # fmt: skip
        else:
            _update(p_ptr, g_ptr, m_ptr, v_ptr, w_ptr, scalars_ptr, tl.arange(0, BLOCK) < left, 0.0,
                    AMSGRAD, DECOUPLED, MAXIMIZE, UNSCALE, BLOCK)  # fmt: skip


@triton.jit
def _update(
    p_ptr, g_ptr, m_ptr, v_ptr, w_ptr, scalars_ptr, mask, other,
    AMSGRAD: tl.constexpr, DECOUPLED: tl.constexpr, MAXIMIZE: tl.constexpr, UNSCALE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    acc = tl.float64 if p_ptr.dtype.element_ty == tl.float64 else tl.float32
    step_size = tl.load(scalars_ptr + 1).to(acc)
    inverse_root = tl.load(scalars_ptr + 2).to(acc)
    beta1, beta2 = tl.load(scalars_ptr + 3), tl.load(scalars_ptr + 4)
    eps = tl.load(scalars_ptr + 5).to(acc)
    decay = tl.load(scalars_ptr + 6).to(acc)

    offs = tl.arange(0, BLOCK)
    p = tl.load(p_ptr + offs, mask=mask, other=other).to(acc)
    g = tl.load(g_ptr + offs, mask=mask, other=other).to(acc)
    m = tl.load(m_ptr + offs, mask=mask, other=other).to(acc)
    v = tl.load(v_ptr + offs, mask=mask, other=other).to(acc)
    if UNSCALE:
        g *= tl.load(scalars_ptr + 7).to(acc)
    if MAXIMIZE:
        g = -g
    if DECOUPLED:
        p *= decay
    else:
        g += decay * p
    m += (1.0 - beta1).to(acc) * (g - m)
    v = beta2.to(acc) * v + (1.0 - beta2).to(acc) * g * g
    if AMSGRAD:
        w = tl.load(w_ptr + offs, mask=mask, other=other).to(acc)
        w = tl.maximum(w, v, propagate_nan=tl.PropagateNan.ALL)
        tl.store(w_ptr + offs, w, mask=mask)
    else:
        w = v
    if acc == tl.float64:
        p -= step_size * m / (tl.sqrt(w) * inverse_root + eps)
    else:
        p -= tl.div_rn(step_size * m, tl.sqrt_rn(w) * inverse_root + eps)
    tl.store(p_ptr + offs, p, mask=mask)
    tl.store(m_ptr + offs, m, mask=mask)
    tl.store(v_ptr + offs, v, mask=mask)


def adam_table(
    params: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    max_exp_avg_sqs: Sequence[Tensor] | None,
    steps: Sequence[Tensor],
    groups: Sequence[int],
) -> Table:
    """The table of a launch; see adam for what its tensors must be.

    Raises: ShapeError where a parameter has gaps or a gradient or a moment has another shape or other strides than it,
        DtypeError for dtypes that differ and for a step that is not float32, DeviceError for tensors on several
        devices.
    """
    _check(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps)
    columns = grads, exp_avgs, exp_avg_sqs, [None] * len(params) if max_exp_avg_sqs is None else max_exp_avg_sqs
    check_order("adam", params, columns)
    return make_table(params, groups, (*columns, steps), pick_tile(target(params[0].device)).BLOCK)


def adam_reference(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    max_exp_avg_sqs: Sequence[Tensor] | None,
    steps: Sequence[Tensor],
    hyper: Tensor,
    *,
    groups: Sequence[int] | None = None,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    table: Table | None = None,
) -> None:
    _check(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps)
    check_hyper("adam", hyper, _HYPER.value, groups, len(params))
    takes = torch.ones((), dtype=torch.bool, device=hyper.device) if found_inf is None else found_inf.reshape(()) == 0
    for i, (p, g, exp_avg, exp_avg_sq, step) in enumerate(
        zip(params, grads, exp_avgs, exp_avg_sqs, steps, strict=True)
    ):
        acc = wide_dtype(p.dtype)
        lr, beta1, beta2, eps, weight_decay = hyper[groups[i] if groups else 0].unbind()
        t = step.double() + 1
        old, g = p.detach().to(acc), g.to(acc)
        new = old
        if grad_scale is not None:
            g = g * (1 / grad_scale.double()).to(acc)
        if maximize:
            g = -g
        if decoupled:
            new = old * (1 - lr * weight_decay).to(acc)
        else:
            g = g + weight_decay.to(acc) * old
        m = exp_avg.to(acc) + (1 - beta1).to(acc) * (g - exp_avg.to(acc))
        v = beta2.to(acc) * exp_avg_sq.to(acc) + (1 - beta2).to(acc) * g * g
        w = v
        if max_exp_avg_sqs is not None:
            w = torch.maximum(max_exp_avg_sqs[i].to(acc), v)
            max_exp_avg_sqs[i].copy_(torch.where(takes, w, max_exp_avg_sqs[i].to(acc)))
        denominator = w.sqrt() * (1 / (1 - beta2**t).sqrt()).to(acc) + eps.to(acc)
        new = new - (lr / (1 - beta1**t)).to(acc) * m / denominator
        p.detach().copy_(torch.where(takes, new, old))
        exp_avg.copy_(torch.where(takes, m, exp_avg.to(acc)))
        exp_avg_sq.copy_(torch.where(takes, v, exp_avg_sq.to(acc)))
        step.copy_(torch.where(takes, t, step.double()))


@op(
    reference=adam_reference,
    inplace=("params", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs", "steps"),
    tables=("params", "grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs", "steps", "groups"),
    kept="table",
    flops=lambda params, *_, **__: 12 * sum(p.numel() for p in params),
)
def adam(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    max_exp_avg_sqs: Sequence[Tensor] | None,
    steps: Sequence[Tensor],
    hyper: Tensor,
    *,
    groups: Sequence[int] | None = None,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    table: Table | None = None,
) -> None:
    """m += (1 - b1)(g - m), v += (1 - b2)(g^2 - v), p -= lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps), in place.

    Before that g is divided by grad_scale and, for maximize, negated; the weight decay d adds d p to g or, decoupled,
    multiplies p by 1 - lr d. With the largest second moments (amsgrad) v is the largest so far. t counts the steps
    taken. A step for which found_inf is not 0 changes nothing.

    Args:
        params: of one dtype, without gaps in memory, in any order of dimensions.
        grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs: one for each parameter, of its shape and strides; all gradients
            are of one dtype, and so are all moments. It is computed in float32, for float64 parameters in float64.
        steps: one float32 for each parameter.
        hyper: float64 [G, 5]: lr, beta1, beta2, eps, weight_decay.
        groups: the row of hyper for each parameter; 0 if not given.
        grad_scale, found_inf: one float32 each.
        table: of these tensors, from adam_table, where it is kept from step to step; parameters that it points to
            without a gradient take no step, and need not be among the lists.

    Raises: ShapeError for shapes, lengths or memory layouts that differ, DtypeError for dtypes that do not go together.
    Source: Kingma and Ba, Adam (2015), algorithm 1; Loshchilov and Hutter, Decoupled weight decay (2019), algorithm 2;
        Reddi, Kale and Kumar, On the convergence of Adam and beyond (2018), algorithm 2.
    """
    if not params:
        return
    check_hyper("adam", hyper, _HYPER.value, groups if table is None else None, len(params))
    if table is None:
        groups = groups or [0] * len(params)
        table = adam_table(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps, groups)
    T = table.rows.shape[1]
    scalars = torch.empty((T, _SCALARS.value), dtype=torch.float64, device=hyper.device)
    launch(
        _advance_kernel, (triton.cdiv(T, _ADVANCE_BLOCK),),
        table.rows, hyper, grad_scale, found_inf, scalars, T, DECOUPLED=decoupled, BLOCK=_ADVANCE_BLOCK,
    )  # fmt: skip
    launch(
        _adam_kernel, (len(table.chunks),), table.rows, table.chunks, scalars, T,
        PARAM=TL_DTYPES[params[0].dtype], GRAD=TL_DTYPES[grads[0].dtype], STATE=TL_DTYPES[exp_avgs[0].dtype],
        AMSGRAD=max_exp_avg_sqs is not None, DECOUPLED=decoupled, MAXIMIZE=maximize, UNSCALE=grad_scale is not None,
        **vars(pick_tile(target(hyper.device))),
    )  # fmt: skip


def _check(
    params: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    max_exp_avg_sqs: Sequence[Tensor] | None,
    steps: Sequence[Tensor],
) -> None:
    moments: dict[str, Sequence[Tensor]] = {"exp_avgs": exp_avgs, "exp_avg_sqs": exp_avg_sqs}
    if max_exp_avg_sqs is not None:
        moments["max_exp_avg_sqs"] = max_exp_avg_sqs
    check_columns("adam", params, {"grads": grads, **moments}, {"steps": steps})
    for name, column in moments.items():
        if column and column[0].dtype != exp_avgs[0].dtype:
            raise DtypeError(
                f"adam: exp_avgs are {exp_avgs[0].dtype} and {name} are {column[0].dtype}; "
                "all moments must be of one dtype"
            )
