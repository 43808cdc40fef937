"""tritonnet's kernels: torch tensors in, torch tensors out; no autograd, no modules.

Each operation is one file here: its tiles, its Triton kernels, its reference in plain torch, its launcher.
"""

if __name__ == "kernels":
    raise ImportError(
        "import tritonnet.kernels, not kernels: a top-level package of that name belongs to another project"
    )

from . import cpu
from ._op import OPS, Op, never_compiled, path, use
from .adam import adam
from .clip import clip_norm_, clip_value_, total_norm
from .column_sum import column_sum
from .conv2d import conv2d, conv2d_grad_input, conv2d_grad_weight
from .cross_entropy import (
    cross_entropy,
    cross_entropy_backward,
    soft_cross_entropy,
    soft_cross_entropy_backward,
)
from .dropout import channel_dropout, channel_dropout_, dropout, dropout_
from .interpolate import interpolate, interpolate_backward
from .loss import loss, loss_gradient
from .matmul import matmul, matmul_epilogue_backward
from .nll_loss import nll_loss, nll_loss_backward
from .pad import pad, pad_backward
from .pointwise.arithmetic import add, affine, mul, sum_to
from .pointwise.ops import ACTIVATIONS, copy
from .pointwise.prelu import prelu, prelu_backward, prelu_product
from .pool2d import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    adaptive_max_pool2d,
    adaptive_max_pool2d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
    max_pool2d_pick,
)
from .sgd import sgd
from .softmax import softmax, softmax_backward, softmax_double_backward

__all__ = [
    "ACTIVATIONS",
    "OPS",
    "adam",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_backward",
    "add",
    "affine",
    "avg_pool2d",
    "avg_pool2d_backward",
    "channel_dropout",
    "channel_dropout_",
    "clip_norm_",
    "clip_value_",
    "column_sum",
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "copy",
    "cpu",
    "cross_entropy",
    "cross_entropy_backward",
    "dropout",
    "dropout_",
    "interpolate",
    "interpolate_backward",
    "loss",
    "loss_gradient",
    "matmul",
    "matmul_epilogue_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool2d_pick",
    "mul",
    "never_compiled",
    "nll_loss",
    "nll_loss_backward",
    "pad",
    "pad_backward",
    "path",
    "prelu",
    "prelu_backward",
    "prelu_product",
    "sgd",
    "soft_cross_entropy",
    "soft_cross_entropy_backward",
    "softmax",
    "softmax_backward",
    "softmax_double_backward",
    "sum_to",
    "total_norm",
    "use",
]


def __getattr__(name: str) -> Op:
    """The operations of the activations, which a table declares: relu, relu_, relu_backward, ..."""
    if name in OPS:
        return OPS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
