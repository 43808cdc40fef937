"""sgd: one step of stochastic gradient descent over any number of parameters in one launch, by a table of pointers."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._errors import ShapeError
from ._launch import launch
from ._op import op
from ._table import (
    GRADS,
    GROUPS,
    PARAMS,
    Column,
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
_MOMENTUM_BUFFERS, _FIRST = (tl.constexpr(row) for row in range(4, 6))
_HYPER = tl.constexpr(4)


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
def _sgd_kernel(
    table_ptr, chunks_ptr, hyper_ptr, grad_scale_ptr, found_inf_ptr, T,
    PARAM: tl.constexpr, GRAD: tl.constexpr, STATE: tl.constexpr,
    MOMENTUM: tl.constexpr, NESTEROV: tl.constexpr, MAXIMIZE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i, start, left = chunk_of(table_ptr, chunks_ptr, T, BLOCK)
    grad = address_of(table_ptr, GRADS, T, i)
    live = grad != 0
    if found_inf_ptr is not None:
        live &= tl.load(found_inf_ptr) == 0
    if live:
        param = address_of(table_ptr, PARAMS, T, i)
        momentum = address_of(table_ptr, _MOMENTUM_BUFFERS, T, i)
        first = address_of(table_ptr, _FIRST, T, i) != 0
        hyper_ptr += _HYPER * address_of(table_ptr, GROUPS, T, i)
        p_ptr = param.to(tl.pointer_type(PARAM)) + start
        g_ptr = grad.to(tl.pointer_type(GRAD)) + start
        b_ptr = momentum.to(tl.pointer_type(STATE)) + start
        # Wide loads and stores need addresses of whole 16 bytes, and no mask.
        if (left >= BLOCK) & ((param | grad | momentum) % 16 == 0):
            p_ptr, g_ptr, b_ptr = tl.multiple_of(p_ptr, 16), tl.multiple_of(g_ptr, 16), tl.multiple_of(b_ptr, 16)
            _update(p_ptr, g_ptr, b_ptr, hyper_ptr, grad_scale_ptr, first, None, None,
                    MOMENTUM, NESTEROV, MAXIMIZE, BLOCK)  # fmt: skip
        else:
            _update(p_ptr, g_ptr, b_ptr, hyper_ptr, grad_scale_ptr, first, tl.arange(0, BLOCK) < left, 0.0,
                    MOMENTUM, NESTEROV, MAXIMIZE, BLOCK)  # fmt: skip


@triton.jit
def _update(
    p_ptr, g_ptr, b_ptr, hyper_ptr, grad_scale_ptr, first, mask, other,
    MOMENTUM: tl.constexpr, NESTEROV: tl.constexpr, MAXIMIZE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    acc = tl.float64 if p_ptr.dtype.element_ty == tl.float64 else tl.float32
    lr = tl.load(hyper_ptr).to(acc)
    momentum = tl.load(hyper_ptr + 1).to(acc)
    gain = (1.0 - tl.load(hyper_ptr + 2)).to(acc)
    decay = tl.load(hyper_ptr + 3).to(acc)

    offs = tl.arange(0, BLOCK)
    p = tl.load(p_ptr + offs, mask=mask, other=other).to(acc)
    g = tl.load(g_ptr + offs, mask=mask, other=other).to(acc)
    if grad_scale_ptr is not None:
        g *= (1.0 / tl.load(grad_scale_ptr).to(tl.float64)).to(acc)
    if MAXIMIZE:
        g = -g
    # An infinite parameter is not turned into NaN by no decay.
    g += tl.where(decay != 0, decay * p, 0.0)
    if MOMENTUM:
        b = tl.load(b_ptr + offs, mask=mask, other=other).to(acc)
        b = tl.where(first, g, momentum * b + gain * g)
        tl.store(b_ptr + offs, b, mask=mask)
        if NESTEROV:
            g += momentum * b
        else:
            g = b
    tl.store(p_ptr + offs, p - lr * g, mask=mask)


def sgd_table(
    params: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    momentum_buffers: Sequence[Tensor] | None,
    groups: Sequence[int],
    first: Sequence[bool],
) -> Table:
    """The table of a launch; see sgd for what its tensors must be.

    Raises: ShapeError where a parameter has gaps or a gradient or momentum has another shape or other strides than it,
        DtypeError for dtypes that differ, DeviceError for tensors on several devices.
    """
    _check(params, grads, momentum_buffers, first)
    columns = grads, [None] * len(params) if momentum_buffers is None else momentum_buffers
    check_order("sgd", params, columns)
    return make_table(params, groups, columns, pick_tile(target(params[0].device)).BLOCK, [map(int, first)])


def all_begun(table: Table) -> None:
    """Says in a table that no momentum begins with the next step."""
    table.rows[_FIRST.value].zero_()


def sgd_reference(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    momentum_buffers: Sequence[Tensor] | None,
    hyper: Tensor,
    *,
    groups: Sequence[int] | None = None,
    first: Sequence[bool] | None = None,
    nesterov: bool = False,
    maximize: bool = False,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    table: Table | None = None,
) -> None:
    _check(params, grads, momentum_buffers, first)
    _check_nesterov(momentum_buffers, nesterov)
    check_hyper("sgd", hyper, _HYPER.value, groups, len(params))
    takes = torch.ones((), dtype=torch.bool, device=hyper.device) if found_inf is None else found_inf.reshape(()) == 0
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        acc = wide_dtype(p.dtype)
        lr, momentum, dampening, weight_decay = hyper[groups[i] if groups else 0].unbind()
        old, g = p.detach().to(acc), g.to(acc)
        if grad_scale is not None:
            g = g * (1 / grad_scale.double()).to(acc)
        if maximize:
            g = -g
        g = g + torch.where(weight_decay == 0, 0, weight_decay.to(acc) * old)
        if momentum_buffers is not None:
            before = momentum_buffers[i].to(acc)
            b = g if first and first[i] else momentum.to(acc) * before + (1 - dampening).to(acc) * g
            momentum_buffers[i].copy_(torch.where(takes, b, before))
            g = g + momentum.to(acc) * b if nesterov else b
        p.detach().copy_(torch.where(takes, old - lr.to(acc) * g, old))


@op(
    reference=sgd_reference,
    inplace=("params", "momentum_buffers"),
    tables=("params", "grads", "momentum_buffers", "groups", "first"),
    kept="table",
    flops=lambda params, *_, **__: 6 * sum(p.numel() for p in params),
)
def sgd(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    momentum_buffers: Sequence[Tensor] | None,
    hyper: Tensor,
    *,
    groups: Sequence[int] | None = None,
    first: Sequence[bool] | None = None,
    nesterov: bool = False,
    maximize: bool = False,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    table: Table | None = None,
) -> None:
    """g += d p, b = m b + (1 - dampening) g, p -= lr b (nesterov: p -= lr (g + m b); without momentum: p -= lr g).

    In place. Before that g is divided by grad_scale and, for maximize, negated. A momentum's first step is b = g,
    whatever b holds. A step for which found_inf is not 0 changes nothing.

    Args:
        params: of one dtype, without gaps in memory, in any order of dimensions.
        grads, momentum_buffers: one for each parameter, of its shape and strides; all gradients are of one dtype, and
            so are all buffers. It is computed in float32, for float64 parameters in float64.
        hyper: float64 [G, 4]: lr, momentum m, dampening, weight_decay d.
        groups: the row of hyper for each parameter; 0 if not given.
        first: for each parameter whether its momentum begins with this step; none if not given.
        grad_scale, found_inf: one float32 each.
        table: of these tensors, from sgd_table, where it is kept from step to step; parameters that it points to
            without a gradient take no step, and need not be among the lists.

    Raises: ShapeError for shapes, lengths or memory layouts that differ and for nesterov without momentum, DtypeError
        for dtypes that do not go together.
    Source: Sutskever, Martens, Dahl and Hinton, On the importance of initialization and momentum in deep learning
        (2013), with lr outside of the momentum.
    """
    if not params:
        return
    check_hyper("sgd", hyper, _HYPER.value, groups if table is None else None, len(params))
    _check_nesterov(momentum_buffers, nesterov)
    if table is None:
        table = sgd_table(params, grads, momentum_buffers, groups or [0] * len(params), first or [False] * len(params))
    state = (momentum_buffers or params)[0].dtype
    launch(
        _sgd_kernel, (len(table.chunks),),
        table.rows, table.chunks, hyper, grad_scale, found_inf, table.rows.shape[1],
        PARAM=TL_DTYPES[params[0].dtype], GRAD=TL_DTYPES[grads[0].dtype], STATE=TL_DTYPES[state],
        MOMENTUM=momentum_buffers is not None, NESTEROV=nesterov, MAXIMIZE=maximize,
        **vars(pick_tile(target(hyper.device))),
    )  # fmt: skip


def _check(
    params: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    momentum_buffers: Sequence[Tensor] | None,
    first: Sequence[bool] | None,
) -> None:
    columns: dict[str, Column] = {"grads": grads}
    if momentum_buffers is not None:
        columns["momentum_buffers"] = momentum_buffers
    check_columns("sgd", params, columns)
    if first is not None and len(first) != len(params):
        raise ShapeError(f"sgd: {len(params)} params and {len(first)} in first; there is one for each")


def _check_nesterov(momentum_buffers: Sequence[Tensor] | None, nesterov: bool) -> None:
    if nesterov and momentum_buffers is None:
        raise ShapeError("sgd: nesterov is True and there are no momentum_buffers")
