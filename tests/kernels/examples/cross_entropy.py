import torch

from tritonnet.kernels import OPS

from . import call


def logits(dtype, n, *inner):
    """Logits and targets, one of them to be ignored."""
    target = torch.randint(21, (50 * n, *inner))
    target[0] = -100
    return torch.randn(50 * n, 21, *inner).to(dtype), target


def mean(dtype, n):
    return logits(dtype, n)


def vocabulary(dtype, n):
    """More classes than a tile holds."""
    return torch.randn(7, 2100 * n).to(dtype), torch.randint(2100 * n, (7,)), None, -100, "sum"


def weighted(dtype, n):
    return (*logits(dtype, n), torch.rand(21).to(dtype), -100, "mean", 0.1)


def images(dtype, n):
    return (*logits(dtype, n, 3, 5), torch.rand(21), -100, "none", 0.1)


def gradient_of(example):
    def factory(dtype, n):
        x, target, *hyper = example(dtype, n)
        loss, *statistics = OPS["cross_entropy"].reference(x, target, *hyper)
        return call(torch.randn(loss.shape).to(dtype), x, target, *statistics, *hyper)

    factory.__name__ = example.__name__
    return factory


FORWARD = [mean, vocabulary, weighted, images]
EXAMPLES = {"cross_entropy": FORWARD, "cross_entropy_backward": [gradient_of(example) for example in FORWARD]}
