"""The activations: of each an operation, its in-place variant and its gradients, made from one entry of a table."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .._errors import DtypeError, ShapeError, dtype_name
from .._op import FLOATS, Op, op
from .._strides import check_distinct
from .._tile import wide_dtype
from . import formulas as f
from . import references
from .each import apply
from .references import aten, derivative, second_derivative

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True)
class Gradient:
    """What differentiates an activation.

    backward: (dy, kept, *scalars) -> dx = f'(x) dy, where x or y was kept.
    double_backward: (ddx, dy, kept, *scalars) -> the gradient of ddx . dx with respect to what was kept; None where it
        is zero.
    """

    backward: Op
    double_backward: Op | None


@dataclass(frozen=True)
class Activation:
    """y = f(x, *scalars).

    forward, inplace: (x, *scalars) -> y, a fresh tensor and x itself.
    of_x, of_y: the gradient where x was kept, and where y was.
    """

    name: str
    forward: Op
    inplace: Op | None
    of_x: Gradient | None
    of_y: Gradient | None


def _operation(
    name: str,
    tensors: tuple[str, ...],
    scalars: tuple[str, ...],
    formula: Any,
    reference: Callable[..., Tensor],
    *,
    inplace: bool = False,
    also: tuple[torch.dtype, ...] = (),
    floating: bool = False,
) -> Op:
    """Declares name(*tensors, *scalars) = formula(*tensors backwards, *scalars), for tensors of one shape and dtype.

    The result is laid out in memory as `torch.empty_like` of the last tensor; with `inplace` it is that tensor. The
    keyword `dtype` gives it another dtype.

    also: dtypes besides the floating-point ones.
    floating: makes torch's default dtype of them; otherwise they are kept.
    """
    count = len(tensors)
    takes = (*FLOATS, *also)

    def result(given: tuple[Any, ...], dtype: torch.dtype | None) -> Tensor:
        last: Tensor = given[-1]
        kind = last.dtype
        for at in range(count - 1):
            _check_like(name, tensors[at], given[at], tensors[-1], last)
        if kind not in takes:
            raise DtypeError(f"{name}: got {dtype_name(kind)}; it takes {', '.join(map(dtype_name, takes))}")
        if inplace:
            check_distinct(name, last)
            return last
        if dtype is None and floating and kind in also:
            dtype = torch.get_default_dtype()
        return torch.empty_like(last) if dtype is None else torch.empty_like(last, dtype=dtype)

    def launcher(*arguments: Any, dtype: torch.dtype | None = None) -> Tensor:
        given = arguments[:count]
        y = result(given, dtype)
        apply(formula, y, given[::-1], arguments[count:])
        return y

    def plain(*arguments: Any, dtype: torch.dtype | None = None) -> Tensor:
        given = arguments[:count]
        y = result(given, dtype)
        wide = wide_dtype(y.dtype) if y.dtype.is_floating_point else y.dtype
        found = reference(*(one.to(wide) for one in given), *arguments[count:]).to(y.dtype)
        return y.copy_(found) if inplace else found

    parameters = [inspect.Parameter(one, inspect.Parameter.POSITIONAL_ONLY) for one in (*tensors, *scalars)]
    parameters.append(inspect.signature(launcher).parameters["dtype"])
    launcher.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    launcher.__name__ = launcher.__qualname__ = name
    launcher.__doc__ = formula.__doc__
    written = tensors if inplace else ()
    return op(reference=plain, inplace=written, flops=lambda x, *_: x.numel())(launcher)


def _check_like(name: str, label: str, one: Tensor, last_label: str, last: Tensor) -> None:
    if one.shape != last.shape:
        raise ShapeError(f"{name}: {label} is {tuple(one.shape)} and {last_label} is {tuple(last.shape)}")
    if one.dtype != last.dtype and one.dtype != wide_dtype(last.dtype):
        both = f"{label} is {dtype_name(one.dtype)} and {last_label} is {dtype_name(last.dtype)}"
        raise DtypeError(f"{name}: {both}; they must have one dtype, or {label} that in which {last_label} is summed")


def _gradient(
    name: str,
    kept: str,
    scalars: tuple[str, ...],
    reference: Callable[..., Tensor],
    first: Any,
    second: Any = None,
) -> Gradient:
    """first: the formula of f'(x) dy, second that of f''(x) dy ddx, or of what there is in its place for y."""
    backward = _operation(name, ("dy", kept), scalars, first, reference)
    if second is None:
        return Gradient(backward, None)
    double = name.replace("backward", "double_backward")
    return Gradient(backward, _operation(double, ("ddx", "dy", kept), scalars, second, second_derivative(reference)))


def _activation(
    name: str,
    scalars: tuple[str, ...],
    formula: Any,
    reference: Callable[..., Tensor],
    *,
    of_x: tuple[Any, ...] = (),
    of_y: tuple[Any, ...] = (),
    same_of_y: bool = False,
    inplace: bool = False,
    also: tuple[torch.dtype, ...] = (),
    floating: bool = False,
) -> Activation:
    """of_x, of_y: the arguments of _gradient, from `first` on for x; same_of_y: those of x do for y as well."""
    forward = _operation(name, ("x",), scalars, formula, reference, also=also, floating=floating)
    overwrite = None
    if inplace:
        overwrite = _operation(f"{name}_", ("x",), scalars, formula, reference, inplace=True, also=also)
    from_x = _gradient(f"{name}_backward", "x", scalars, derivative(reference), *of_x) if of_x else None
    from_y = from_x if same_of_y else None
    if of_y:
        from_y = _gradient(f"{name}_backward_of_y" if of_x else f"{name}_backward", "y", scalars, *of_y)
    return Activation(name, forward, overwrite, from_x, from_y)


_ALL = (
    _activation("relu", (), f.relu, aten.relu, of_y=(derivative(aten.relu), f.relu_grad), inplace=True, also=_INTEGERS),
    _activation(
        "leaky_relu", ("negative_slope",), f.leaky_relu, aten.leaky_relu,
        of_x=(f.leaky_relu_grad,), same_of_y=True, inplace=True,
    ),
    _activation(
        "threshold", ("threshold", "value"), f.threshold, aten.threshold,
        of_x=(f.threshold_grad,), same_of_y=True, inplace=True, also=_INTEGERS,
    ),
    _activation(
        "hardtanh", ("min_val", "max_val"), f.hardtanh, aten.hardtanh,
        of_x=(f.hardtanh_grad,), same_of_y=True, inplace=True, also=_INTEGERS,
    ),
    _activation("hardsigmoid", (), f.hardsigmoid, references.hardsigmoid, of_x=(f.hardsigmoid_grad,), inplace=True),
    _activation(
        "hardswish", (), f.hardswish, aten.hardswish, of_x=(f.hardswish_grad, f.hardswish_grad_grad), inplace=True
    ),
    _activation("hardshrink", ("lambd",), f.hardshrink, aten.hardshrink, of_x=(f.hardshrink_grad,)),
    _activation("softshrink", ("lambd",), f.softshrink, aten.softshrink, of_x=(f.hardshrink_grad,)),
    _activation(
        "sigmoid", (), f.sigmoid, aten.sigmoid,
        of_y=(references.sigmoid_backward, f.sigmoid_grad, f.sigmoid_grad_grad),
        also=(*_INTEGERS, torch.bool), floating=True,
    ),
    _activation(
        "tanh", (), f.tanh, aten.tanh,
        of_y=(references.tanh_backward, f.tanh_grad, f.tanh_grad_grad),
        also=(*_INTEGERS, torch.bool), floating=True,
    ),
    _activation(
        "logsigmoid", (), f.logsigmoid, aten.log_sigmoid, of_x=(f.logsigmoid_grad, f.logsigmoid_grad_grad)
    ),
    _activation(
        "softplus", ("beta", "threshold"), f.softplus, aten.softplus, of_x=(f.softplus_grad, f.softplus_grad_grad)
    ),
    _activation(
        "elu", ("alpha",), f.elu, aten.elu,
        of_x=(f.elu_grad, f.elu_grad_grad),
        of_y=(references.elu_backward_of_y, f.elu_grad_of_y, f.elu_grad_grad_of_y), inplace=True,
    ),
    _activation(
        "celu", ("alpha",), f.celu, references.celu,
        of_x=(f.celu_grad, f.celu_grad_grad),
        of_y=(references.celu_backward_of_y, f.celu_grad_of_y, f.celu_grad_grad_of_y), inplace=True,
    ),
    _activation(
        "selu", (), f.selu, aten.selu,
        of_x=(f.selu_grad, f.selu_grad_grad),
        of_y=(references.selu_backward_of_y, f.selu_grad_of_y, f.selu_grad_grad_of_y), inplace=True,
    ),
    _activation("silu", (), f.silu, references.silu, of_x=(f.silu_grad, f.silu_grad_grad), inplace=True),
    _activation("gelu", (), f.gelu, references.gelu, of_x=(f.gelu_grad, f.gelu_grad_grad)),
    _activation("gelu_tanh", (), f.gelu_tanh, references.gelu_tanh, of_x=(f.gelu_tanh_grad, f.gelu_tanh_grad_grad)),
    _activation("mish", (), f.mish, references.mish, of_x=(f.mish_grad, f.mish_grad_grad), inplace=True),
    _activation(
        "softsign", (), f.softsign, references.softsign,
        of_x=(f.softsign_grad, f.softsign_grad_grad), also=_INTEGERS, floating=True,
    ),
    _activation(
        "tanhshrink", (), f.tanhshrink, references.tanhshrink,
        of_x=(f.tanhshrink_grad, f.tanhshrink_grad_grad), also=_INTEGERS, floating=True,
    ),
    _activation("rsqrt", (), f.rsqrt, torch.rsqrt, of_y=(references.rsqrt_backward, f.rsqrt_grad, f.rsqrt_grad_grad)),
)  # fmt: skip
ACTIVATIONS = {one.name: one for one in _ALL}
"""By name."""

copy = _operation("copy", ("x",), (), f.identity, torch.clone)
