"""Gradients clipped by their norm or by value, as torch.nn.utils does it: in place, outside of autograd."""

import functools
import math
import types
import warnings
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from tritonnet import kernels
from tritonnet.errors import NonFiniteError
from tritonnet.kernels.clip import Lines, check_clipped, clip_table

TensorOrTensors: TypeAlias = Tensor | Iterable[Tensor]


def get_total_norm(
    tensors: TensorOrTensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all elements of all tensors: (sum |x|^p)^(1/p), for p = inf the largest |x|.

    Args:
        tensors: one tensor or several, of any shapes, strides, dtypes and devices.
        norm_type: p, any number or "inf". For p = 0 it is the number of tensors that hold anything but 0.
        error_if_nonfinite: look at the norm, which waits for the device, and raise if it is not finite.
        foreach: which of its implementations torch is to take; here there is one.

    Returns: one element on the device of the first tensor, of the dtype that theirs promote to; 0.0 if there is none.
        It is found in one pass over the tensors of a dtype and device, whose order depends on their sizes alone, and
        rounded once.
    Raises: NonFiniteError; DtypeError for tensors that are not floating-point, LayoutError for sparse ones.
    """
    return _norm(_groups([tensors] if isinstance(tensors, Tensor) else list(tensors)), norm_type, error_if_nonfinite)


def clip_grads_with_norm_(
    parameters: TensorOrTensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Multiplies the gradients of `parameters` by min(1, max_norm / (total_norm + 1e-6)), in place.

    The factor is found on the device. Where it is 1 the gradients are not touched.

    Args:
        parameters: one or several; those without gradient are passed over.
        foreach: which of its implementations torch is to take; here there is one.

    Raises: ShapeError for an expanded gradient, DtypeError and LayoutError as get_total_norm.
    """
    _clip_by_norm(_groups(_grads(parameters), written=True), max_norm, total_norm)


def clip_grad_norm_(
    parameters: TensorOrTensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scales the gradients of `parameters` together so that their norm is at most max_norm, in place.

    get_total_norm, then clip_grads_with_norm_; their arguments and errors. Nothing waits for the device unless
    error_if_nonfinite is set. Warns of an empty generator, which is likely one that was used up.

    Returns: the norm before clipping.
    """
    if isinstance(parameters, types.GeneratorType):
        parameters = list(parameters)
        if not parameters:
            warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=2)
    groups = _groups(_grads(parameters), written=True)
    total_norm = _norm(groups, norm_type, error_if_nonfinite)
    _clip_by_norm(groups, max_norm, total_norm)
    return total_norm


def clip_grad_value_(parameters: TensorOrTensors, clip_value: float, foreach: bool | None = None) -> None:
    """Clips each element of the gradients of `parameters` to [-clip_value, clip_value], in place; NaN stays NaN.

    Args:
        parameters: one or several; those without gradient are passed over.
        foreach: which of its implementations torch is to take; here there is one.

    Raises: ShapeError for an expanded gradient, DtypeError and LayoutError as get_total_norm.
    """
    for tensors, table in _groups(_grads(parameters), written=True):
        kernels.clip_value_(tensors, float(clip_value), table=table)


class _Group(NamedTuple):
    """Tensors of one device and dtype, and the table of where they lie; None where they lie nowhere."""

    tensors: Sequence[Tensor]
    table: Lines | None


_KIND = attrgetter("device", "dtype")


def _groups(tensors: list[Tensor], written: bool = False) -> list[_Group]:
    """The tensors by device and dtype, in the order of their first. Raises for what the kernels do not take."""
    if any(map(Tensor.is_neg, tensors)):
        # Neither a norm nor a bound knows signs.
        tensors = [torch._neg_view(t) if t.is_neg() else t for t in tensors]
    kinds = list(map(_KIND, tensors))
    groups = []
    for kind in (found := dict.fromkeys(kinds)):
        of_kind = tensors if len(found) == 1 else [t for t, its in zip(tensors, kinds, strict=True) if its == kind]
        check_clipped(of_kind, written)
        nowhere = of_kind[0].is_meta or isinstance(of_kind[0], FakeTensor)
        groups.append(_Group(of_kind, None if nowhere else clip_table(of_kind)))
    return groups


def _grads(parameters: TensorOrTensors) -> list[Tensor]:
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in parameters if p.grad is not None]


def _norm(groups: list[_Group], norm_type: float, error_if_nonfinite: bool) -> Tensor:
    norm_type = float(norm_type)
    if not groups:
        return torch.tensor(0.0)
    if len(groups) == 1 and norm_type != 0:
        total_norm: Tensor = kernels.total_norm(groups[0].tensors, norm_type, table=groups[0].table)
    else:
        if norm_type == 0:
            groups = [_Group([t], None) for group in groups for t in group.tensors]
        dtypes = [group.tensors[0].dtype for group in groups]
        wide = torch.float64 if torch.float64 in dtypes else torch.float32
        device = groups[0].tensors[0].device
        norms = [kernels.total_norm(g.tensors, norm_type, wide, table=g.table).to(device) for g in groups]
        total_norm = kernels.total_norm(norms, norm_type, functools.reduce(torch.promote_types, dtypes))
    if error_if_nonfinite and not math.isfinite(total_norm.item()):
        raise NonFiniteError(
            f"get_total_norm: the norm of order {norm_type} is {total_norm.item()}; to scale by it all the same, "
            "set error_if_nonfinite=False"
        )
    return total_norm


def _clip_by_norm(groups: list[_Group], max_norm: float, total_norm: Tensor) -> None:
    for tensors, table in groups:
        norm = total_norm.to(tensors[0].device)
        if len(set(map(id, tensors))) == len(tensors):
            kernels.clip_norm_(tensors, norm, float(max_norm), table=table)
        else:
            # As often as it is given, as torch does it; the programs of one launch would write it at the same time.
            for tensor in tensors:
                kernels.clip_norm_([tensor], norm, float(max_norm))
