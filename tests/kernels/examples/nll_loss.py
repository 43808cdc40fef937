import torch

from tritonnet.kernels import OPS

from . import call


def mean(dtype, n):
    return torch.randn(3000 * n, 10).to(dtype), torch.randint(10, (3000 * n,))


def images(dtype, n):
    target = torch.randint(21, (2, 5, 10 * n), dtype=torch.uint8)
    return torch.randn(2, 21, 5, 10 * n).to(dtype), target, torch.rand(21), 3, "none"


def small_sum(dtype, n):
    return torch.randn(20, 37 * n).to(dtype), torch.randint(37 * n, (20,)), None, -100, "sum"


def gradient_of(example):
    def factory(dtype, n):
        x, target, *hyper = example(dtype, n)
        loss, total = OPS["nll_loss"].reference(x, target, *hyper)
        return call(torch.randn(loss.shape).to(dtype), x, target, total, *hyper)

    factory.__name__ = example.__name__
    return factory


FORWARD = [mean, images, small_sum]
EXAMPLES = {"nll_loss": FORWARD, "nll_loss_backward": [gradient_of(example) for example in FORWARD]}
