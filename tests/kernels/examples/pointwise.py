import torch

from tritonnet.kernels.pointwise.ops import ACTIVATIONS

from . import call

SCALARS = {
    "leaky_relu": (0.3,),
    "threshold": (0.25, -0.75),
    "hardtanh": (-0.75, 0.875),
    "hardshrink": (0.375,),
    "softshrink": (0.375,),
    "softplus": (1.3, 3.1),
    "elu": (0.7,),
    "celu": (1.3,),
}


def flat(dtype, n):
    return (torch.randn(3, 700 * n).to(dtype),)


def positive(dtype, n):
    return (torch.rand(3, 700 * n).to(dtype) + 0.1,)


def strided(dtype, n):
    """A view of four dimensions that do not merge."""
    return (torch.randn(3, 5, 7, 22 * n).to(dtype)[:, :4, 1:, ::2].transpose(0, 1),)


def gradient(dtype, n):
    return torch.randn(3, 700 * n).to(dtype), torch.randn(3, 700 * n).to(dtype)


def strided_gradient(dtype, n):
    return torch.randn(33 * n, 65).to(dtype).t(), torch.randn(65, 33 * n).to(dtype)


def second_gradient(dtype, n):
    return (torch.randn(3, 700 * n).to(dtype) for _ in range(3))


def with_scalars(name, factory):
    """The factory's tensors and the activation's hyper-parameters."""

    def made(dtype, n):
        return (*factory(dtype, n), *SCALARS.get(name, ()))

    made.__name__ = factory.__name__
    return made


def channels(dtype, n):
    return torch.randn(3, 5, 33 * n).to(dtype), torch.randn(5).to(dtype)


def channels_gradient(dtype, n):
    return torch.randn(3, 5, 33 * n).to(dtype), torch.randn(3, 33 * n, 5).to(dtype).mT, torch.randn(5).to(dtype)


def channels_sum(dtype, n):
    x = torch.randn(40, 5, 33 * n).to(dtype)
    return call(x, x, torch.randn(40, 5, 33 * n).to(dtype), channels=5)


def last_channels_sum(dtype, n):
    x = torch.randn(70 * n, 3, 5).to(dtype).mT
    return call(x, x, torch.randn(5).to(dtype), channels=5)


def one_sum(dtype, n):
    x = torch.randn(33, 700 * n).to(dtype)
    return call(x, x, torch.randn(33, 700 * n).to(dtype), channels=1)


def rows_and_columns(dtype, n):
    return torch.randn(65 * n, 1).to(dtype), torch.randn(33 * n).to(dtype)


def to_rows(dtype, n):
    return torch.randn(65 * n, 33).to(dtype), torch.randn(65 * n, 33).to(dtype), (65 * n, 1)


def sum_of_columns(dtype, n):
    return torch.randn(300 * n, 33).to(dtype), (33,), 0.7


def affine(dtype, n):
    return torch.randn(3, 700 * n).to(dtype), 0.3, -1.5


EXAMPLES = {
    "add": [rows_and_columns],
    "affine": [affine],
    "copy": [flat],
    "mul": [rows_and_columns, to_rows],
    "prelu": [channels],
    "prelu_backward": [channels_gradient],
    "prelu_product": [channels_sum, last_channels_sum, one_sum],
    "sum_to": [sum_of_columns],
}
for _name, _activation in ACTIVATIONS.items():
    _made = {_activation.forward: flat, _activation.inplace: flat}
    for _gradient in (_activation.of_x, _activation.of_y):
        if _gradient is not None:
            _made |= {_gradient.backward: gradient, _gradient.double_backward: second_gradient}
    EXAMPLES |= {op.name: [with_scalars(_name, factory)] for op, factory in _made.items() if op is not None}
EXAMPLES["rsqrt"] = [positive]
for _name, _factory in {"relu": strided, "relu_": strided, "relu_backward": strided_gradient}.items():
    EXAMPLES[_name].append(_factory)
