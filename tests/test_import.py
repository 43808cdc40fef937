"""`import tritonnet`: cheap, quiet, and possible without a compiler and without a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import tritonnet

ROOT = Path(__file__).parent.parent


def run(code: str, **environment: str) -> str:
    """What a fresh interpreter prints; any warning is an error."""
    command = [sys.executable, "-W", "error", "-c", code]
    settings = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, env=settings, check=True, capture_output=True, text=True).stdout


def test_takes_a_fifth_of_a_second_more_than_torch_and_triton(tmp_path: Path) -> None:
    """Once Python has kept its bytecode, which some environments forbid."""
    code = """
import time, torch, triton
start = time.process_time()
import tritonnet
print(time.process_time() - start)
"""
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    assert min(float(run(code, **bytecode)) for _ in range(4)) < 0.2


def test_needs_no_compiler_and_touches_no_gpu() -> None:
    code = """
import torch
def fail(*_, **__): raise AssertionError("import asked for a GPU")
torch.cuda._lazy_init = fail
import tritonnet
net = tritonnet.nn.Sequential(tritonnet.nn.Conv2d(1, 2, 3), tritonnet.nn.Linear(2, 2))
print(len(net.state_dict()))
"""
    assert run(code, PATH="/nonexistent", CC="") == "4\n"


def test_testing_is_imported_when_asked_for() -> None:
    code = """
import sys, tritonnet
print("tritonnet.testing" in sys.modules, callable(tritonnet.testing.check))
"""
    assert run(code) == "False True\n"


def test_every_public_name_is_there() -> None:
    assert all(hasattr(tritonnet, name) for name in tritonnet.__all__)
    assert all(hasattr(tritonnet.nn, name) for name in tritonnet.nn.__all__)
    assert not hasattr(tritonnet, "nothing")
