"""Losses of an input and a target, element by element, with gradients of two orders for both."""

import warnings

from torch import Tensor

from tritonnet.errors import DtypeError, ShapeError

from .._reduction import legacy_reduction
from ..matmul import autocasts
from .checks import (
    REDUCTIONS,
    check_floating,
    check_no_bools,
    check_reduction,
    check_sizes,
    check_without_gradient,
    checked_weight,
    dtypes,
    warn_of_sizes,
)
from .gradients import reduced


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
    warn_of_sizes(input, target)
    weight = checked_weight("mse_loss", weight, input)
    return reduced("mse_loss", input, target, reduction, weight=weight, weighted_mean=True)


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
    warn_of_sizes(input, target)
    check_no_bools("l1_loss", input, target)
    weight = checked_weight("l1_loss", weight, input)
    return reduced("l1_loss", input, target, reduction, weight=weight, weighted_mean=True)


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
    warn_of_sizes(input, target)
    if beta < 0:
        raise ShapeError(f"smooth_l1_loss: beta is {beta}; it must not be negative")
    if beta == 0:
        check_no_bools("smooth_l1_loss", input, target)
        return reduced("l1_loss", input, target, reduction)
    return reduced("smooth_l1_loss", input, target, reduction, beta)


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
    warn_of_sizes(input, target)
    if delta <= 0:
        raise ShapeError(f"huber_loss: delta is {delta}; it must be positive")
    check_floating("huber_loss", input=input)
    weight = checked_weight("huber_loss", weight, input)
    return reduced("huber_loss", input, target, reduction, delta, weight, like=input)


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
    check_reduction(name, reduction)
    check_sizes(name, input, target)
    check_without_gradient(name, weight=weight)
    autocast = autocasts(input.device.type)
    if autocast and input.device.type == "cuda":
        raise DtypeError(
            f"{name}: unsafe to autocast, for its gradient leaves float16's range; leave out the sigmoid before it and "
            "use binary_cross_entropy_with_logits, which is safe"
        )
    check_floating(name, input=input, target=target)
    if input.dtype != target.dtype and not autocast:
        raise DtypeError(f"{name}: {dtypes(input, target)}; they must have one dtype")
    return reduced(name, input, target, reduction, weight=weight, like=input)


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
    check_reduction(name, reduction)
    check_sizes(name, input, target)
    check_without_gradient(name, weight=weight, pos_weight=pos_weight)
    check_floating(name, input=input, target=target)
    parameter = 1.0 if pos_weight is None else pos_weight
    return reduced(name, input, target, reduction, parameter, weight, like=target)


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
    check_floating("kl_div", input=input, target=target)
    of = "kl_div(log)" if log_target else "kl_div"
    return reduced(of, input, target, reduction, reductions=(*REDUCTIONS, "batchmean"))


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
    check_without_gradient(name, target=target)
    check_floating(name, input=input)
    check_no_bools(name, input, target)
    return reduced(name, input, target, reduction, like=input)


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
    return reduced(of, input, target, reduction, eps)
