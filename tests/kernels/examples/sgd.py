import torch

from . import call
from .adam import lists


def hyper():
    return torch.tensor([[1e-2, 0.9, 0.5, 0.1], [1e-3, 0.8, 0.0, 0.0]], dtype=torch.float64)


def plain(dtype, n):
    params, grads = lists(dtype, n, 2)
    return params, grads, None, hyper()


def momentum(dtype, n):
    """Momenta that begin and others that go on, in float32, as the optimizer keeps them."""
    params, grads = lists(dtype, n, 2)
    (buffers,) = lists(torch.float64 if dtype == torch.float64 else torch.float32, n, 1)
    return call(params, grads, buffers, hyper(), groups=[0, 0, 1], first=[True, False, False])


def nesterov(dtype, n):
    """Everything that a step can be asked for."""
    params, grads, buffers = lists(dtype, n, 3)
    return call(
        params, grads, buffers, hyper(),
        groups=[1, 0, 1], nesterov=True, maximize=True, grad_scale=torch.tensor(4.0), found_inf=torch.zeros(()),
    )  # fmt: skip


EXAMPLES = {"sgd": [plain, momentum, nesterov]}
DENSE = {"sgd": {"hyper"}}
