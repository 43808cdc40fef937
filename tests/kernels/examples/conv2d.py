"""Each plan of a convolution, in both memory formats: a matrix product over channels (plain, grouped), over channels
and taps where channels are few (flat), no product where groups are small (direct)."""

import torch

from . import call

STRIDED, DILATED, PLAIN = ((2, 1), (1, 2), (1, 1)), ((1, 1), 2, (1, 2)), (1, 0, 1)

# Channels of x and of weight, groups, then stride, padding and dilation; size of the kernel.
PLANS = {
    "plain": (lambda n: (24 * n, 20 * n, 1), DILATED, (3, 3)),
    "pointwise": (lambda n: (9 * n, 20 * n, 1), PLAIN, (1, 1)),
    "flat": (lambda n: (3, 20 * n, 1), STRIDED, (3, 2)),
    "grouped": (lambda n: (32 * n, 40 * n, 2), STRIDED, (2, 3)),
    "grouped_flat": (lambda n: (8 * n, 12 * n, 2 * n), PLAIN, (3, 3)),
    "direct": (lambda n: (6 * n, 12 * n, 6 * n), STRIDED, (3, 3)),
}


def operands(dtype, n, plan, last):
    channels, hyper, taps = PLANS[plan]
    C, K, groups = channels(n)
    x, weight = torch.randn(3 + n // 4, C, 9, 11).to(dtype), torch.randn(K, C // groups, *taps).to(dtype)
    grad = torch.randn(torch.conv2d(x.to("meta"), weight.to("meta"), None, *hyper, groups).shape).to(dtype)
    if last:
        x, weight, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight, grad))
    return x, weight, grad, (*hyper, groups)


def forward(plan, last):
    def factory(dtype, n):
        x, weight, _, steps = operands(dtype, n, plan, last)
        return x, weight, torch.randn(len(weight)).to(dtype), *steps

    return named(factory, plan, last)


def grad_input(plan, last):
    def factory(dtype, n):
        x, weight, grad, steps = operands(dtype, n, plan, last)
        return grad, weight, tuple(x.shape), *steps

    return named(factory, plan, last)


def grad_weight(plan, last):
    def factory(dtype, n):
        x, weight, grad, steps = operands(dtype, n, plan, last)
        return grad, x, tuple(weight.shape), *steps

    return named(factory, plan, last)


def named(factory, plan, last):
    factory.__name__ = f"{plan}{'_last' if last else ''}"
    return factory


def mixed_formats(dtype, n):
    """An image whose channels are contiguous, a gradient whose pixels are."""
    x, weight, grad, steps = operands(dtype, n, "plain", False)
    return grad, x.contiguous(memory_format=torch.channels_last), tuple(weight.shape), *steps


def rounded(make):
    """Operands of another dtype, rounded in the kernel, as under autocast."""

    def factory(dtype, n):
        return call(*make("plain", False)(torch.float32, n), dtype=dtype)

    factory.__name__ = "rounded"
    return factory


OPS = {"conv2d": forward, "conv2d_grad_input": grad_input, "conv2d_grad_weight": grad_weight}
EXAMPLES = {op: [of(plan, last) for plan in PLANS for last in (False, True)] + [rounded(of)] for op, of in OPS.items()}
EXAMPLES["conv2d_grad_weight"].append(mixed_formats)
