"""Losses of an input and a target, element by element, with gradients of two orders for both."""

import warnings
from typing import Any

import torch
from torch import Tensor

from tritonnet import kernels
from tritonnet.errors import BackwardError, DeviceError, DtypeError, ShapeError, dtype_name
from tritonnet.kernels.loss import derivative, name_of

from ._reduction import legacy_reduction
from .matmul import autocasts

_REDUCTIONS = ("none", "mean", "sum")


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(input - target)^2, and its mean or sum.

    Sums are kept in float32 (float64 for float64) and have the same bits in every run. The same holds for every loss
    here: each takes tensors of any strides in float32, float16, bfloat16 and float64, where one says no more also mixed
    and integers, and promotes as torch does; each is float32 under autocast; each can be differentiated twice by input
    and target.

    Args:
        input, target: shapes that broadcast, with a UserWarning where they differ.
        reduction: "mean", "sum" or "none".
        weight: of input's shape, a factor for each element; the mean is then divided by the sum of the weights.
        size_average, reduce: the old spelling of reduction, which it overrules.

    Returns: [], for "none" the common shape.
    Raises: ShapeError for shapes that do not fit or a reduction of another name, DtypeError for dtypes that torch does
        not take, DeviceError for tensors on different devices, BackwardError for a third derivative, and for the second
        one of a weighted mean by its weights.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    _warn_of_sizes(input, target)
    weight = _checked("mse_loss", weight, input)
    return _reduced("mse_loss", input, target, reduction, weight=weight, weighted_mean=True)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|input - target|, and its mean or sum; arguments as for mse_loss."""
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    _warn_of_sizes(input, target)
    _check_no_bools("l1_loss", input, target)
    weight = _checked("l1_loss", weight, input)
    return _reduced("l1_loss", input, target, reduction, weight=weight, weighted_mean=True)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """d^2 / (2 beta) where d = |input - target| < beta, else d - beta / 2; and its mean or sum.

    Source: Girshick, Fast R-CNN (2015), equation 3. For beta = 0 it is l1_loss; else as mse_loss.

    Raises: ShapeError also for a negative beta.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    _warn_of_sizes(input, target)
    if beta < 0:
        raise ShapeError(f"smooth_l1_loss: beta is {beta}; it must not be negative")
    if beta == 0:
        _check_no_bools("smooth_l1_loss", input, target)
        return _reduced("l1_loss", input, target, reduction)
    return _reduced("smooth_l1_loss", input, target, reduction, beta)


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """d^2 / 2 where d = |input - target| < delta, else delta (d - delta / 2); and its mean or sum.

    Source: Huber, Annals of Mathematical Statistics 35 (1964). Arguments as for mse_loss, but the loss has the input's
    dtype, and a weight leaves the mean that of all elements.

    Raises: ShapeError also for a delta that is not positive.
    """
    _warn_of_sizes(input, target)
    if delta <= 0:
        raise ShapeError(f"huber_loss: delta is {delta}; it must be positive")
    _check_floating("huber_loss", input=input)
    weight = _checked("huber_loss", weight, input)
    return _reduced("huber_loss", input, target, reduction, delta, weight, like=input)


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-w (t log(x) + (1 - t) log(1 - x)) for probabilities x and t, and its mean or sum; logarithms are at least -100.

    Args:
        input, target: of one shape and dtype; input lies in [0, 1].
        weight: a factor for each element, of a shape that broadcasts to input's; no gradient is computed for it.
        reduction, size_average, reduce: as for mse_loss.

    Raises: as mse_loss; RangeError for an input outside of [0, 1] (on a GPU: a device-side assertion), BackwardError
        for a weight that requires a gradient, DtypeError under autocast on a GPU, where float16 could not hold the
        gradient: use binary_cross_entropy_with_logits.
    """
    name = "binary_cross_entropy"
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    _check_reduction(name, reduction)
    _check_sizes(name, input, target)
    _check_without_gradient(name, weight=weight)
    autocast = autocasts(input.device.type)
    if autocast and input.device.type == "cuda":
        raise DtypeError(
            f"{name}: unsafe to autocast, for its gradient leaves float16's range; leave out the sigmoid before it and "
            "use binary_cross_entropy_with_logits, which is safe"
        )
    _check_floating(name, input=input, target=target)
    if input.dtype != target.dtype and not autocast:
        raise DtypeError(f"{name}: {_dtypes(input, target)}; they must have one dtype")
    return _reduced(name, input, target, reduction, weight=weight, like=input)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """-w (p t log(s) + (1 - t) log(1 - s)) for s = sigmoid(input), and its mean or sum; finite for large inputs.

    Args:
        input, target: logits and probabilities, of one shape; the loss has the target's dtype.
        weight: w, a factor for each element, of a shape that broadcasts to input's.
        pos_weight: p, a factor for the positive part, of such a shape too; usually one for each class.
        reduction, size_average, reduce: as for mse_loss.

    Raises: as mse_loss; BackwardError for a weight or pos_weight that requires a gradient, as none is computed.
    """
    name = "binary_cross_entropy_with_logits"
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    _check_reduction(name, reduction)
    _check_sizes(name, input, target)
    _check_without_gradient(name, weight=weight, pos_weight=pos_weight)
    _check_floating(name, input=input, target=target)
    parameter = 1.0 if pos_weight is None else pos_weight
    return _reduced(name, input, target, reduction, parameter, weight, like=target)


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """target (log(target) - input) for log-probabilities input, 0 where target is 0; and its mean or sum.

    Args:
        input, target: floating-point, shapes that broadcast.
        reduction: also "batchmean", the sum divided by input's first size: the divergence as it is defined. "mean"
            divides by the number of elements, with a UserWarning.
        log_target: target holds log-probabilities too: exp(target) (target - input).
        size_average, reduce: the old spelling of reduction, which it overrules.

    Raises: as mse_loss.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    elif reduction == "mean":
        warnings.warn(
            "kl_div: reduction 'mean' divides by the number of elements; 'batchmean' divides by the batch size alone, "
            "which is the Kullback-Leibler divergence",
            stacklevel=2,
        )
    _check_floating("kl_div", input=input, target=target)
    of = "kl_div(log)" if log_target else "kl_div"
    return _reduced(of, input, target, reduction, reductions=(*_REDUCTIONS, "batchmean"))


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target input)) for targets of 1 and -1, and its mean or sum; finite for large inputs.

    Args:
        input: floating-point; the loss has its dtype.
        target: of a shape that broadcasts with input's; no gradient is computed for it.
        reduction, size_average, reduce: as for mse_loss.

    Raises: as mse_loss; BackwardError for a target that requires a gradient.
    """
    name = "soft_margin_loss"
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    _check_without_gradient(name, target=target)
    _check_floating(name, input=input)
    _check_no_bools(name, input, target)
    return _reduced(name, input, target, reduction, like=input)


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-log of the Poisson probability of target, less log(target!): exp(input) - target input, and its mean or sum.

    Args:
        input, target: shapes that broadcast; input is the logarithm of the rate.
        log_input: False where input is the rate itself: input - target log(input + eps).
        full: adds Stirling's t log(t) - t + log(2 pi t) / 2 for targets t above 1.
        reduction, size_average, reduce: as for mse_loss.

    Raises: as mse_loss.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    options = ["log"] * log_input + ["full"] * full
    of = f"poisson_nll_loss({', '.join(options)})" if options else "poisson_nll_loss"
    return _reduced(of, input, target, reduction, eps)


def _reduced(
    of: str,
    input: Tensor,
    target: Tensor,
    reduction: str,
    parameter: Tensor | float = 1.0,
    weight: Tensor | None = None,
    *,
    weighted_mean: bool = False,
    like: Tensor | None = None,
    reductions: tuple[str, ...] = _REDUCTIONS,
) -> Tensor:
    """The loss of formula `of`.

    weighted_mean: a weighted mean is divided by the sum of the weights.
    like: which tensor's dtype the loss has; that of all promoted if not given.
    """
    _check_reduction(of, reduction, reductions)
    if weighted_mean and weight is not None and reduction == "mean":
        reduction = "weighted mean"
    for role, tensor in (("target", target), ("weight", weight), ("pos_weight", parameter)):
        if isinstance(tensor, Tensor) and tensor.device != input.device:
            both = f"input is on {input.device} and {role} on {tensor.device}"
            raise DeviceError(f"{name_of(of)}: {both}; move them to one device first")
    autocast = autocasts(input.device.type)
    dtype = None
    for tensor in (like,) if like is not None else (input, target, weight):
        if tensor is not None:
            wide = autocast and tensor.dtype in (torch.float16, torch.bfloat16)
            own = torch.float32 if wide else tensor.dtype
            dtype = own if dtype is None else torch.promote_types(dtype, own)
    loss: Tensor = _Loss.apply(of, input, target, weight, parameter, None, reduction, dtype)
    return loss


class _Loss(torch.autograd.Function):
    """(x, target, weight, factor) -> the reduced terms factor weight l(x, target; parameter)."""

    @staticmethod
    def forward(
        ctx: Any,
        of: str,
        x: Tensor,
        target: Tensor,
        weight: Tensor | None,
        parameter: Tensor | float,
        factor: Tensor | None,
        reduction: str,
        dtype: torch.dtype | None,
    ) -> Tensor:
        loss: Tensor
        loss, statistics = kernels.loss(of, x, target, weight, parameter, factor, reduction, dtype)
        _save(ctx, of, reduction, parameter, x, target, weight, factor, statistics)
        return loss

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        x, target, weight, factor, statistics, parameter = _saved(ctx)
        dx, dtarget, dweight, dfactor = _gradients(ctx, 1, dloss, x, target, weight, parameter, factor, statistics)
        return None, dx, dtarget, dweight, None, dfactor, None, None


class _LossGradient(torch.autograd.Function):
    """(dloss, x, target, weight, factor) -> the gradient of one of the last four: kernels.loss_gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        of: str,
        to: str,
        dloss: Tensor,
        x: Tensor,
        target: Tensor,
        weight: Tensor | None,
        parameter: Tensor | float,
        factor: Tensor | None,
        reduction: str,
        statistics: Tensor | None,
    ) -> Tensor:
        gradient: Tensor = kernels.loss_gradient(
            of, to, dloss, x, target, weight, parameter, factor, reduction, statistics
        )
        _save(ctx, of, reduction, parameter, x, target, weight, factor, statistics, dloss)
        ctx.to = to
        return gradient

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, target, weight, factor, statistics, dloss, parameter = _saved(ctx)
        name = name_of(ctx.of)
        if factor is not None:
            raise BackwardError(f"{name}: a third derivative is not offered (create_graph=True)")
        if statistics is not None and (ctx.to == "weight" or ctx.needs_input_grad[5]):
            raise BackwardError(
                f"{name}: the second derivative of a weighted mean by its weights is not offered; pass weight.detach()"
            )
        # The gradient is a sum of terms as the loss is, with g as a factor. Its own weight is none of it.
        weight = None if ctx.to == "weight" else weight
        ddloss = None
        if ctx.needs_input_grad[2]:
            ddloss = _Loss.apply(ctx.of, x, target, weight, parameter, g, ctx.reduction, dloss.dtype)
        dx, dtarget, dweight, _ = _gradients(ctx, 3, dloss, x, target, weight, parameter, g, statistics)
        return None, None, ddloss, dx, dtarget, dweight, None, None, None, None


def _save(ctx: Any, of: str, reduction: str, parameter: Tensor | float, *tensors: Tensor | None) -> None:
    ctx.of, ctx.reduction = of, reduction
    ctx.number = None if isinstance(parameter, Tensor) else parameter
    ctx.save_for_backward(*tensors, parameter if ctx.number is None else None)


def _saved(ctx: Any) -> tuple[Any, ...]:
    """The tensors as they were given to _save, then the parameter."""
    *tensors, parameter = ctx.saved_tensors
    return *tensors, parameter if ctx.number is None else ctx.number


_OPERANDS = ((0, "x", "x"), (1, "target", "t"), (2, "weight", ""), (4, "factor", ""))


def _gradients(
    ctx: Any,
    first: int,
    dloss: Tensor,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    parameter: Tensor | float,
    factor: Tensor | None,
    statistics: Tensor | None,
) -> list[Tensor | None]:
    """What is needed of the gradients of x, target, weight and factor, whose places among the inputs begin at `first`;
    as something that can be differentiated where that is asked for."""
    gradient = _LossGradient.apply if torch.is_grad_enabled() else kernels.loss_gradient
    found: list[Tensor | None] = []
    for place, to, by in _OPERANDS:
        if not ctx.needs_input_grad[first + place] or (to == "weight" and weight is None):
            found.append(None)
            continue
        of = derivative(ctx.of, by) if by else ctx.of
        if of is None:
            raise BackwardError(f"{name_of(ctx.of)}: this derivative by {to} is not offered")
        found.append(gradient(of, to, dloss, x, target, weight, parameter, factor, ctx.reduction, statistics))
    return found


def _warn_of_sizes(input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). "
            "This will likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=3,
        )


def _checked(name: str, weight: Tensor | None, input: Tensor) -> Tensor | None:
    """A weight of the losses that want one of input's shape."""
    if weight is not None and weight.shape != input.shape:
        both = f"weight is {tuple(weight.shape)} and input is {tuple(input.shape)}"
        raise ShapeError(f"{name}: {both}; they must be the same")
    return weight


def _check_reduction(of: str, reduction: str, reductions: tuple[str, ...] = _REDUCTIONS) -> None:
    if reduction not in reductions:
        offered = ", ".join(map(repr, reductions))
        raise ShapeError(f"{name_of(of)}: reduction is {reduction!r}; it is one of {offered}")


def _check_sizes(name: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        raise ShapeError(
            f"{name}: input is {tuple(input.shape)} and target is {tuple(target.shape)}; they must be the same"
        )


def _check_floating(name: str, **tensors: Tensor) -> None:
    for role, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise DtypeError(f"{name}: {role} is {dtype_name(tensor.dtype)}; it must be floating-point")


def _check_no_bools(name: str, input: Tensor, target: Tensor) -> None:
    if torch.bool in (input.dtype, target.dtype):
        raise DtypeError(f"{name}: {_dtypes(input, target)}; a bool is no number")


def _dtypes(input: Tensor, target: Tensor) -> str:
    return f"input is {dtype_name(input.dtype)} and target is {dtype_name(target.dtype)}"


def _check_without_gradient(name: str, **tensors: Tensor | None) -> None:
    for role, tensor in tensors.items():
        if tensor is not None and tensor.requires_grad and torch.is_grad_enabled():
            raise BackwardError(f"{name}: {role} requires a gradient, which is not computed; pass {role}.detach()")
