"""How float32 operands are multiplied: torch's own switches, read here and nowhere else.

torch keeps one switch for matrix products and one for convolutions, each with an old form (`allow_tf32`,
`set_float32_matmul_precision`) and a new one (`fp32_precision`); reading the new form is right after either was set,
while reading the old one raises once both were used.
"""

import torch


def matmul_precision(dtype: torch.dtype) -> str:
    """`input_precision` for `tl.dot` in a matrix product of `dtype`: "tf32" or "ieee"."""
    return _named(dtype, torch.backends.cuda.matmul)


def conv_precision(dtype: torch.dtype) -> str:
    """`input_precision` for `tl.dot` in a convolution of `dtype`: "tf32" or "ieee"."""
    return _named(dtype, torch.backends.cudnn.conv)  # type: ignore[attr-defined]


def _named(dtype: torch.dtype, switch: object) -> str:
    if dtype != torch.float32 or torch.version.hip is not None:
        # Of AMD's GPUs only gfx942 has TF32, and Triton compiles no product in it for the others.
        return "ieee"
    return "tf32" if switch.fp32_precision == "tf32" else "ieee"  # type: ignore[attr-defined]
