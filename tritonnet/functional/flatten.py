"""flatten: several dimensions into one, a view where strides allow it."""

from torch import Tensor


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim to end_dim of input become one; torch's view, or its copy where no view walks them."""
    return input.flatten(start_dim, end_dim)
