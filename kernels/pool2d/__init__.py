"""Pooling over windows of an image: maxima and means, of a fixed size or shared out among the outputs."""

from .average import adaptive_avg_pool2d, avg_pool2d
from .gradient import (
    adaptive_avg_pool2d_backward,
    adaptive_max_pool2d_backward,
    avg_pool2d_backward,
    max_pool2d_backward,
)
from .maximum import adaptive_max_pool2d, max_pool2d
from .pick import max_pool2d_pick
from .plan import index_dtype, is_channels_last

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "index_dtype",
    "is_channels_last",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool2d_pick",
]
