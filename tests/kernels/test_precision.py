"""float32 products follow torch's switches, whichever form they were set in."""

import functools
import json
import subprocess
import sys

import pytest
import torch

from tritonnet.kernels._precision import conv_precision, matmul_precision

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


@functools.cache
def found() -> dict[str, list[str]]:
    """What each setting gives. torch refuses to read one form of a switch after the other was set: a process each."""
    code = f"""
import json, os, torch
from tritonnet.kernels._precision import conv_precision, matmul_precision
for setting in {list(CASES)!r}:
    if os.fork() == 0:
        exec(setting)
        assert matmul_precision(torch.float64) == conv_precision(torch.bfloat16) == "ieee"
        precisions = matmul_precision(torch.float32), conv_precision(torch.float32)
        print(json.dumps([setting, precisions]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, setting
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return dict(json.loads(line) for line in out.splitlines())


@pytest.mark.parametrize("setting", CASES)
def test_switch(setting):
    assert tuple(found()[setting]) == CASES[setting]


def test_amds_gpus_multiply_in_float32(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert matmul_precision(torch.float32) == conv_precision(torch.float32) == "ieee"
