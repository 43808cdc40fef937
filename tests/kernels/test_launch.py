"""A launch compiles and binds once for each key; a repeated one looks its plan up."""

import contextlib
import os
import subprocess
import sys

import pytest
import torch
import triton
import triton.language as tl

from tritonnet.kernels import _launch, cpu
from tritonnet.kernels._errors import CaptureError, KernelAssertionError
from tritonnet.kernels._launch import launch, plan_count


@triton.jit
def _axpy_kernel(x_ptr, y_ptr, z_ptr, n, stride, a, BIAS: tl.constexpr, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offs < n
    z = a * tl.load(x_ptr + offs * stride, mask=mask, other=0.0) + BIAS
    if y_ptr is not None:
        z += tl.load(y_ptr + offs, mask=mask, other=0.0)
    tl.store(z_ptr + offs, z, mask=mask)


@triton.jit
def _small_kernel(x_ptr, BLOCK: tl.constexpr):
    tl.device_assert(tl.load(x_ptr + tl.arange(0, BLOCK)) < 10, "x must be below 10")


@pytest.fixture(autouse=True)
def _plans(monkeypatch):
    monkeypatch.setattr(_launch, "_PLANS", {})


def axpy(x, y, a, stride=1, bias=0.0):
    n = 100
    z = torch.full((n,), torch.nan)
    launch(_axpy_kernel, (triton.cdiv(n, 32),), x, y, z, n, stride, a, BIAS=bias, BLOCK=32)
    expected = a * x[: n * stride : stride] + bias + (0 if y is None else y)
    torch.testing.assert_close(z, expected.float())


def test_a_repeated_launch_takes_its_plan_with_other_tensors_and_floats():
    for a in (2.0, -0.5):
        axpy(torch.randn(100), torch.randn(100), a)
    assert plan_count() == 1


def test_what_specialises_makes_another_plan():
    x, y = torch.randn(400), torch.randn(100)
    axpy(x, y, 2.0)
    axpy(x, None, 2.0)
    axpy(x, y, 2.0, stride=2)
    axpy(x, y, 2.0, bias=1.0)
    axpy(x.double(), y, 2.0)
    axpy(x[1:], y, 2.0)
    assert plan_count() == 6


def test_plans_are_bounded(monkeypatch):
    monkeypatch.setattr(_launch, "_MAX_PLANS", 3)
    x = torch.randn(1000)
    for stride in (1, 2, 3, 4, 5, 1):
        axpy(x, None, 2.0, stride=stride)
        assert plan_count() <= 3


def test_a_grid_without_programs_does_nothing():
    z = torch.ones(1)
    launch(_axpy_kernel, (0,), z, None, z, 0, 1, 1.0, BIAS=0.0, BLOCK=32)
    launch(_axpy_kernel, (1, 0), z, None, z, 0, 1, 1.0, BIAS=0.0, BLOCK=32)
    assert plan_count() == 0 and z.item() == 1


def test_a_launch_without_a_tensor_is_refused():
    with pytest.raises(TypeError, match="_small_kernel: a launch needs a tensor"):
        launch(_small_kernel, (1,), 3, BLOCK=4)


def test_a_device_assert_names_its_message_and_the_next_launch_is_whole():
    launch(_small_kernel, (1,), torch.arange(4), BLOCK=4, debug=True)
    with pytest.raises(KernelAssertionError, match="_small_kernel: x must be below 10"):
        launch(_small_kernel, (1,), torch.arange(8, 12), BLOCK=4, debug=True)
    launch(_small_kernel, (1,), torch.arange(4), BLOCK=4, debug=True)
    launch(_small_kernel, (1,), torch.arange(8, 12), BLOCK=4, debug=False)


@pytest.fixture
def cuda_plans(monkeypatch):
    """Plans for a GPU with the CPU's driver in the place of the GPU's: they take the same calls."""
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: None)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda index: 0, raising=False)
    monkeypatch.setattr(_launch.cpu, "bind", None)
    monkeypatch.setattr(_launch, "_plan", _launch._plan_cuda)
    cpu.activate()
    yield
    cpu.deactivate()


def test_a_plan_for_a_gpu_passes_tensors_numbers_none_and_constants_in_their_places(cuda_plans):
    for _ in range(2):
        axpy(torch.randn(300), torch.randn(100), 2.0, stride=3, bias=1.0)
        axpy(torch.randn(100), None, -1.0)
    assert plan_count() == 2


def test_nothing_is_compiled_while_a_graph_is_captured(cuda_plans, monkeypatch):
    axpy(torch.randn(100), None, -1.0)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    axpy(torch.randn(100), None, 3.0)
    with pytest.raises(CaptureError, match="_axpy_kernel: first launch of this shape inside a CUDA graph capture"):
        axpy(torch.randn(200), None, -1.0, stride=2)


def test_the_interpreter_runs_the_kernels_but_for_bfloat16():
    code = """
import torch
import tritonnet.functional as F
from tritonnet import kernels
from tritonnet.errors import DtypeError
assert kernels.path(torch.device("cpu"))[0] == "Triton's interpreter on the CPU"
x, w = torch.randn(5, 7), torch.randn(3, 7)
torch.testing.assert_close(F.linear(x, w), x @ w.T)
try:
    F.relu(x.bfloat16())
except DtypeError as error:
    print(error)
"""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "Triton's interpreter computes wrong results in bfloat16" in done.stdout
