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


def many_rows(dtype, n):
    """Several programs, whose sums a second launch adds up."""
    return torch.randn(3000 * n, 10).to(dtype), torch.randint(10, (3000 * n,))


def soft(dtype, n):
    return torch.randn(300 * n, 21).to(dtype), torch.rand(300 * n, 21).to(dtype)


def soft_weighted(dtype, n):
    return torch.randn(3, 21, 50 * n).to(dtype), torch.rand(3, 21, 50 * n), torch.rand(21), "none", 0.1


def soft_vocabulary(dtype, n):
    return torch.randn(3, 4200 * n).to(dtype), torch.rand(3, 4200 * n).to(dtype), None, "sum"


def gradient_of(op, example):
    def factory(dtype, n):
        x, target, *hyper = example(dtype, n)
        loss, *statistics = OPS[op].reference(x, target, *hyper)
        return call(torch.randn(loss.shape).to(dtype), x, target, *statistics, *hyper)

    factory.__name__ = example.__name__
    return factory


def soft_target_alone(dtype, n):
    return call(*gradient_of("soft_cross_entropy", soft)(dtype, n).args, needs=(False, True))


HARD = [mean, vocabulary, weighted, images, many_rows]
SOFT = [soft, soft_weighted, soft_vocabulary]
EXAMPLES = {
    "cross_entropy": HARD,
    "cross_entropy_backward": [gradient_of("cross_entropy", example) for example in HARD[:4]],
    "soft_cross_entropy": SOFT,
    "soft_cross_entropy_backward": [*(gradient_of("soft_cross_entropy", each) for each in SOFT), soft_target_alone],
}
