import torch

from . import call


def lists(dtype, n, count):
    """`count` lists of tensors alike: two in row-major order, one channels_last."""
    shapes = [(70 * n, 33), (5 * n,), (2 * n, 3, 4, 5)]
    made = [[torch.rand(shape).to(dtype) for shape in shapes] for _ in range(count)]
    for tensors in made:
        tensors[2] = tensors[2].contiguous(memory_format=torch.channels_last)
    return made


def hyper():
    # eps is off its default: at 1e-8 the update divides by what float16 cannot hold.
    return torch.tensor([[1e-2, 0.9, 0.99, 1e-4, 0.1], [1e-3, 0.8, 0.9, 1e-3, 0.0]], dtype=torch.float64)


def steps():
    return [torch.zeros(()), torch.ones(()), torch.full((), 7.0)]


def adam(dtype, n):
    params, grads, *moments = lists(dtype, n, 4)
    return params, grads, *moments, None, steps(), hyper()


def adamw(dtype, n):
    """Everything that a step can be asked for; moments in float32, as the optimizer keeps them."""
    params, grads = lists(dtype, n, 2)
    moments = lists(torch.float64 if dtype == torch.float64 else torch.float32, n, 3)
    return call(
        params, grads, *moments, steps(), hyper(),
        groups=[1, 0, 1], decoupled=True, maximize=True, grad_scale=torch.tensor(4.0), found_inf=torch.zeros(()),
    )  # fmt: skip


EXAMPLES = {"adam": [adam, adamw]}
DENSE = {"adam": {"hyper"}}
