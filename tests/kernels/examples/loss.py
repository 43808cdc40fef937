import torch

from tritonnet.kernels import OPS

from . import call


def pair(dtype, n, *inner):
    return torch.rand(40 * n, 70, *inner).to(dtype), torch.rand(40 * n, 70, *inner).to(dtype)


def mean(dtype, n):
    return "mse_loss", *pair(dtype, n)


def probabilities(dtype, n):
    """Read in [0, 1] by an assertion, rows of different strides."""
    x, target = pair(dtype, n)
    return "binary_cross_entropy", x, target.t().contiguous().t(), None, 1.0, None, "sum"


def logits(dtype, n):
    weights = torch.rand(70).to(dtype), torch.rand(40 * n, 1).to(dtype)
    return "binary_cross_entropy_with_logits", *pair(dtype, n), *weights, None, "none"


def weighted_mean(dtype, n):
    return "l1_loss", *pair(dtype, n), torch.rand(40 * n, 70).to(dtype), 1.0, None, "weighted mean"


def weighted_rows(dtype, n):
    return "huber_loss", *pair(dtype, n), torch.rand(70).to(dtype), 0.5, None, "weighted mean"


def alike(dtype, n):
    return "smooth_l1_loss", *pair(dtype, n), None, 0.5, torch.randn(40 * n, 70).to(dtype), "none"


def gradient_of(example, of, to):
    def factory(dtype, n):
        name, x, target, *options = example(dtype, n)
        loss, statistics = OPS["loss"].reference(name, x, target, *options)
        weight, parameter, factor, reduction = [*options, *(None, 1.0, None, "mean")[len(options) :]]
        return call(
            name + of,
            to,
            torch.randn(loss.shape).to(dtype),
            x,
            target,
            weight,
            parameter,
            factor,
            reduction,
            statistics,
        )

    factory.__name__ = f"{example.__name__}_of_{to}"
    return factory


EXAMPLES = {
    "loss": [mean, probabilities, logits, weighted_mean, weighted_rows, alike],
    "loss_gradient": [
        gradient_of(mean, ".x", "x"),
        gradient_of(probabilities, ".t", "target"),
        gradient_of(logits, ".x", "x"),
        gradient_of(weighted_mean, "", "weight"),
        gradient_of(weighted_rows, "", "weight"),
        gradient_of(weighted_rows, ".t", "target"),
        gradient_of(alike, ".x", "x"),
        gradient_of(alike, "", "factor"),
    ],
}
# What loss returned for it.
DENSE = {"loss_gradient": {"statistics"}}
