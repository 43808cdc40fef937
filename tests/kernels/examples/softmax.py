import torch

from . import call


def rows(dtype, n):
    return torch.randn(40 * n, 37 * n).to(dtype), 1, True


def columns(dtype, n):
    return torch.randn(37 * n, 40 * n).to(dtype), 0, False, True


def short_rows(dtype, n):
    return torch.randn(300 * n, 10).to(dtype), 1


def long_rows(dtype, n):
    return call(torch.randn(2 * n, 5000 * n).to(dtype), 1, dtype=torch.float32)


def channels(dtype, n):
    return torch.randn(2, 21, 50 * n).to(dtype), 1, True


def gradients(count, forward):
    """Factories of `count` tensors like the input of a forward factory, its output, and the options of that."""

    def of(factory):
        def arguments(dtype, n):
            made = factory(dtype, n)
            x, dim, *options = made if isinstance(made, tuple) else made.args
            return *(torch.randn_like(x) for _ in range(count)), torch.softmax(x, dim), dim, *options

        arguments.__name__ = factory.__name__
        return arguments

    return [of(factory) for factory in forward]


FORWARD = [rows, columns, short_rows, long_rows, channels]
EXAMPLES = {
    "softmax": FORWARD,
    "softmax_backward": gradients(1, FORWARD),
    "softmax_double_backward": gradients(2, FORWARD[:2]),
}
