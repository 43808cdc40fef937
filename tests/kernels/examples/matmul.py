import torch

from . import call


def randn(dtype, *shape):
    return torch.randn(shape).to(dtype)


def square(dtype, n):
    return randn(dtype, 60 * n, 40 * n), randn(dtype, 40 * n, 50 * n)


def wide(dtype, n):
    """Sizes that fill a GPU best with tiles of other shapes than square ones; so do the next two."""
    return randn(dtype, 88 * n, 8 * n), randn(dtype, 8 * n, 192 * n)


def tall(dtype, n):
    return randn(dtype, 192 * n, 8 * n), randn(dtype, 8 * n, 88 * n)


def narrow(dtype, n):
    return randn(dtype, 60 * n, 40 * n), randn(dtype, 40 * n, 10)


def linear(dtype, n):
    """As nn.Linear calls it: the weight transposed, the bias and the activation in the product."""
    x, weight, bias = randn(dtype, 2, 5 * n, 33 * n), randn(dtype, 40 * n, 33 * n), randn(dtype, 40 * n)
    return call(x, weight.t(), bias, activation="relu")


def parted(dtype, n):
    """So long a sum that it is parted, and finished by column_sum's kernel."""
    return randn(dtype, 16, 2100 * n), randn(dtype, 2100 * n, 24), randn(dtype, 24)


def batched(dtype, n):
    """Two batch dimensions that no stride walks together, the second one of `b` broadcast."""
    return randn(dtype, 3, 2 * n, 17 * n, 24).transpose(0, 1), randn(dtype, 2 * n, 1, 24, 9 * n)


def rounded(dtype, n):
    """Operands of other dtypes, rounded in the kernel, as under autocast."""
    a, b = torch.randn(33 * n, 40), torch.randn(40, 24 * n).double()
    return call(a, b, dtype=dtype, out_dtype=torch.float32)


def kept(dtype, n):
    """An activation whose gradient needs what it is applied to."""
    return call(randn(dtype, 60 * n, 40), randn(dtype, 40, 50), randn(dtype, 50), activation="gelu", with_pre=True)


def parted_and_kept(dtype, n):
    return call(randn(dtype, 16, 2100 * n), randn(dtype, 2100 * n, 24), activation="silu", with_pre=True)


def gradient(dtype, n):
    x = randn(dtype, 2, 33 * n, 50 * n)
    return call(x, torch.relu(x), "relu")


def gradient_with_bias(dtype, n):
    return call(randn(dtype, 50 * n, 167 * n).t(), randn(dtype, 167 * n, 50 * n), "gelu", torch.float32)


EXAMPLES = {
    "matmul": [square, wide, tall, narrow, linear, parted, batched, rounded, kept, parted_and_kept],
    "matmul_epilogue_backward": [gradient, gradient_with_bias],
}
