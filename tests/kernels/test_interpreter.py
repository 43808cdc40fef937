"""Triton's interpreter: every example runs there, in float32, and agrees with its reference."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]

CODE = """
import torch
from tests.kernels.agreement import disagreement
from tests.kernels.examples import examples
from tritonnet import kernels

assert kernels.path(torch.device("cpu"))[0] == "Triton's interpreter on the CPU"
for example in examples():
    try:
        found = disagreement(example, torch.float32, 1)
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    if found:
        print(example, found, sep=": ")
"""


def test_every_example():
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stdout, done.stdout
