"""float32 products follow torch's switches, whichever form they were set in."""

import subprocess
import sys

import pytest

# torch refuses to read one form of a switch after the other was set, so that each case has a process of its own.
CASES = {
    "": ("ieee", "tf32"),
    "torch.set_float32_matmul_precision('high')": ("tf32", "tf32"),
    "torch.backends.cuda.matmul.allow_tf32 = True": ("tf32", "tf32"),
    "torch.backends.cuda.matmul.fp32_precision = 'tf32'": ("tf32", "tf32"),
    "torch.backends.cudnn.allow_tf32 = False": ("ieee", "ieee"),
    "torch.backends.cudnn.conv.fp32_precision = 'ieee'": ("ieee", "ieee"),
    "torch.backends.fp32_precision = 'ieee'": ("ieee", "ieee"),
    "torch.backends.cuda.matmul.allow_tf32 = True; torch.backends.cudnn.conv.fp32_precision = 'ieee'": ("tf32", "ieee"),
}


@pytest.mark.parametrize("setting", CASES)
def test_switch(setting):
    code = f"""
import torch
{setting}
from tritonnet.kernels._precision import conv_precision, matmul_precision
print(matmul_precision(torch.float32), conv_precision(torch.float32))
assert matmul_precision(torch.float64) == conv_precision(torch.bfloat16) == "ieee"
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert tuple(out.split()) == CASES[setting]
