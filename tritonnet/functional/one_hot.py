"""one_hot: class indices as rows of zeros and a one, integers throughout."""

import torch
from torch import Tensor


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """y[..., c] = 1 where tensor[...] = c, else 0; torch's own operation, which computes with integers alone.

    Args:
        tensor: int64 class indices, any shape.
        num_classes: size of the last dimension of y; -1: the largest index plus one.

    Returns: int64, tensor's shape and one dimension more; no gradient passes.
    Raises: RuntimeError for other dtypes and for an index outside of the classes.
    """
    return torch._C._nn.one_hot(tensor, num_classes)
