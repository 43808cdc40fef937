import math

import torch

from . import call


def tensors(dtype, n):
    """Row-major, channels_last, with gaps, transposed; one that fills several programs."""
    return [
        torch.randn(1100 * n, 9).to(dtype),
        torch.randn(2 * n, 3, 4, 5).to(dtype).contiguous(memory_format=torch.channels_last),
        torch.randn(7, 70 * n).to(dtype)[:, : 66 * n],
        torch.randn(5 * n, 9).to(dtype)[:, ::2].t(),
    ]


def two(dtype, n):
    return (tensors(dtype, n),)


def other_norms(order):
    def norm(dtype, n):
        return call(tensors(dtype, n), order)

    norm.__name__ = f"norm_{order}"
    return norm


def clipped_by_norm(dtype, n):
    return tensors(dtype, n), torch.full((), 40.0), 3.0


def clipped_by_value(dtype, n):
    return tensors(dtype, n), 0.5


EXAMPLES = {
    "total_norm": [two, *map(other_norms, (1.0, 0.0, math.inf, -math.inf, 3.0))],
    "clip_norm_": [clipped_by_norm],
    "clip_value_": [clipped_by_value],
}
