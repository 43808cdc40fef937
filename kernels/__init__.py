"""tritonnet's kernels: torch tensors in, torch tensors out; no autograd, no modules.

Each operation is one file here: its tiles, its Triton kernels, its reference in plain torch, its launcher.
"""

if __name__ == "kernels":
    raise ImportError(
        "import tritonnet.kernels, not kernels: a top-level package of that name belongs to another project"
    )

from . import cpu
from ._op import OPS, path, use
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
from .dropout import dropout, dropout_
from .loss import loss, loss_gradient
from .matmul import matmul, matmul_epilogue_backward
from .nll_loss import nll_loss, nll_loss_backward
from .relu import relu, relu_, relu_backward
from .sgd import sgd
from .softmax import softmax, softmax_backward, softmax_double_backward

__all__ = [
    "OPS",
    "adam",
    "clip_norm_",
    "clip_value_",
    "column_sum",
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "cpu",
    "cross_entropy",
    "cross_entropy_backward",
    "dropout",
    "dropout_",
    "loss",
    "loss_gradient",
    "matmul",
    "matmul_epilogue_backward",
    "nll_loss",
    "nll_loss_backward",
    "path",
    "relu",
    "relu_",
    "relu_backward",
    "sgd",
    "soft_cross_entropy",
    "soft_cross_entropy_backward",
    "softmax",
    "softmax_backward",
    "softmax_double_backward",
    "total_norm",
    "use",
]
