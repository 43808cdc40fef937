"""Launching: our own way (`launch`, `bind`) and, after `activate`, Triton's."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import triton
import triton.language as tl
from triton.runtime.jit import JITFunction
from triton.tools.tensor_descriptor import TensorDescriptor

from tritonnet.kernels import cpu
from tritonnet.kernels._errors import KernelAssertionError, UnsupportedKernelError
from tritonnet.kernels._launch import launch
from tritonnet.kernels.cpu import active, driver

PATHS = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])


@triton.jit
def _scale_kernel(x_ptr, bias_ptr, out_ptr, n, stride, scale: "fp64", HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    y = tl.load(x_ptr + i * stride, mask=i < n, other=0.0).to(tl.float64) * scale
    if HAS_BIAS:
        y += tl.load(bias_ptr + i, mask=i < n, other=0.0)
    tl.store(out_ptr + i, y, mask=i < n)


@triton.jit
def _checked_kernel(x_ptr, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n, other=1)
    tl.device_assert(n < 100, "at most 99 of them")
    tl.device_assert(x > 0, "x must be positive")
    tl.store(x_ptr + i, x + 1, mask=i < n)


@triton.jit
def _add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offs = tl.program_id(axis=0) * BLOCK + tl.arange(0, BLOCK)
    mask = offs < n
    tl.store(out_ptr + offs, tl.load(x_ptr + offs, mask=mask) + tl.load(y_ptr + offs, mask=mask), mask=mask)


@triton.autotune([triton.Config({"BLOCK": 64}), triton.Config({"BLOCK": 256})], key=["n"])
@triton.jit
def _tuned_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + offs, tl.load(x_ptr + offs, mask=offs < n) * 2, mask=offs < n)


@triton.heuristics({"BLOCK": lambda args: triton.next_power_of_2(args["n"])})
@triton.jit
def _heuristic_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offs = tl.arange(0, BLOCK)
    tl.store(out_ptr + offs, tl.load(x_ptr + offs, mask=offs < n) * 3, mask=offs < n)


@triton.jit
def _tuple_kernel(pointers, numbers, n, BLOCK: tl.constexpr):
    offs = tl.arange(0, BLOCK)
    value = tl.load(pointers[0] + offs, mask=offs < n) * numbers[0] + numbers[1]
    tl.store(pointers[1] + offs, value, mask=offs < n)


@triton.jit
def _descriptor_kernel(source, target, factor, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    m, n = tl.program_id(0) * BLOCK_M, tl.program_id(1) * BLOCK_N
    target.store([m, n], source.load([m, n]) * factor)


@pytest.fixture
def activated():
    cpu.activate()
    yield
    cpu.deactivate()


def scale(x, bias, out, n, stride, factor):
    constexprs = {"HAS_BIAS": bias is not None, "BLOCK": 64}
    launch(_scale_kernel, (triton.cdiv(n, 64),), x, bias, out, n, stride, factor, **constexprs)


@pytest.mark.parametrize("stride", [1, 2, 16])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("n", [1, 63, 64, 1000])
def test_none_and_one_are_constants(n, has_bias, stride):
    x, out = torch.randn(n * stride, dtype=torch.float64), torch.full((n + 1,), 7.0, dtype=torch.float64)
    bias = torch.randn(n, dtype=torch.float64) if has_bias else None
    scale(x, bias, out, n, stride, 0.5)
    assert torch.equal(out[:n], x[::stride] * 0.5 + (bias if has_bias else 0))
    assert out[n] == 7


def test_a_float_argument_keeps_the_precision_of_its_annotation():
    x, out = torch.ones(1, dtype=torch.float64), torch.empty(1, dtype=torch.float64)
    scale(x, None, out, 1, 1, 1 / 3)
    assert out.item() == 1 / 3


def test_empty_grids_launch_nothing():
    launch(_scale_kernel, (0,), torch.ones(1), None, torch.ones(1), 0, 1, 1.0, HAS_BIAS=False, BLOCK=64)


def test_a_failed_assertion_raises_its_message():
    x = torch.tensor([1, 2, 3], dtype=torch.int32)
    launch(_checked_kernel, (1,), x, 3, BLOCK=4, debug=True)
    assert x.tolist() == [2, 3, 4]
    with pytest.raises(KernelAssertionError, match=r"_checked_kernel: .*x must be positive"):
        launch(_checked_kernel, (1,), torch.tensor([1, -2, 3], dtype=torch.int32), 3, BLOCK=4, debug=True)
    with pytest.raises(KernelAssertionError, match=r"_checked_kernel: .*at most 99"):
        launch(_checked_kernel, (1,), torch.ones(128, dtype=torch.int32), 128, BLOCK=128, debug=True)
    launch(_checked_kernel, (1,), torch.tensor([1, -2, 3], dtype=torch.int32), 3, BLOCK=4)


def test_a_wrong_number_of_arguments_is_refused():
    metadata = SimpleNamespace(name="kernel", args=("ptr<f32>", "i32"), arena=0, asserts=())
    with pytest.raises(UnsupportedKernelError, match=r"kernel: .* takes 2 arguments .*the launch passes 1"):
        driver.launcher("unused.so", metadata, ["*fp32"])


def test_a_grid_beyond_an_int_is_refused():
    x = torch.ones(1, dtype=torch.float64)
    with pytest.raises(ValueError, match="2147483647"):
        launch(_scale_kernel, (2**31,), x, None, x, 1, 1, 1.0, HAS_BIAS=False, BLOCK=64)


def test_launching_leaves_tritons_driver_alone():
    script = """
import json, torch, triton, triton.backends
from torch.utils._triton import has_triton
before = list(triton.backends.backends), has_triton()
import tritonnet.kernels as kernels
from triton.runtime.driver import driver
imported = list(triton.backends.backends)
import tritonnet.kernels.cpu.driver as ours, tritonnet.kernels.cpu.active
loaded = list(triton.backends.backends)
kernels.cpu.activate()
has_triton.cache_clear()
after = list(triton.backends.backends), has_triton()
kernels.cpu.deactivate()
print(json.dumps([before, imported, loaded, after, driver._active is None]))
"""
    before, imported, loaded, after, untouched = json.loads(run_python(script))
    assert before[0] == imported == loaded
    assert after[0] == [*before[0], "tritonnet_cpu"] and "cpu" not in after[0]
    assert before[1] == after[1]
    assert untouched


def run_python(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": PATHS} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_repeated_launch_is_cheap():
    """Five microseconds where it was measured; the bound only catches a launch that does everything again."""
    x, out = torch.ones(8, dtype=torch.float64), torch.empty(8, dtype=torch.float64)
    call = lambda: scale(x, None, out, 8, 1, 2.0)  # noqa: E731
    call()
    times = []
    for _ in range(20):
        start = time.thread_time()
        for _ in range(100):
            call()
        times.append((time.thread_time() - start) / 100)
    assert min(times) < 50e-6


def test_activated_triton_launches_on_cpu_tensors(activated):
    x, y, out = torch.randn(1000), torch.randn(1000), torch.empty(1000)
    grid = lambda meta: (triton.cdiv(meta["n"], meta["BLOCK"]),)  # noqa: E731
    _add_kernel[grid](x, y, out, n=1000, BLOCK=128, num_warps=4)
    assert torch.equal(out, x + y)
    _add_kernel[(4, 1, 1)](x, y, out.zero_(), 1000, BLOCK=256, num_stages=3)
    assert torch.equal(out, x + y)
    _add_kernel[(0,)](x, y, out.zero_(), 1000, BLOCK=256)
    assert (out == 0).all()


def test_activated_decorators(activated):
    x = torch.randn(1000)
    out = torch.empty(1000)
    _tuned_kernel[lambda meta: (triton.cdiv(1000, meta["BLOCK"]),)](x, out, 1000)
    assert torch.equal(out, x * 2)
    _heuristic_kernel[(1,)](x, out, 1000)
    assert torch.equal(out, x * 3)


def test_activated_tuples(activated):
    x, out = torch.randn(100), torch.empty(100)
    _tuple_kernel[(1,)]((x, out), (2, 0.5), 100, BLOCK=128)
    assert torch.equal(out, x * 2 + 0.5)
    _tuple_kernel[(1,)]((x, out), (1, 0.25), 100, BLOCK=128)
    assert torch.equal(out, x + 0.25)


def test_activated_descriptors(activated):
    x, out = torch.randn(100, 64), torch.zeros(100, 64)
    source, target = (TensorDescriptor.from_tensor(t, [32, 16]) for t in (x, out))
    _descriptor_kernel[(4, 4)](source, target, 2.0, BLOCK_M=32, BLOCK_N=16)
    assert torch.equal(out, x * 2)


def test_activated_warmup_and_direct_launch(activated):
    x, y, out = torch.randn(1000), torch.randn(1000), torch.empty(1000)
    compiled = _add_kernel.warmup(x, y, out, 1000, BLOCK=512, grid=(1,))
    assert set(compiled.asm) >= {"ttir", "c", "so"}
    compiled[(2, 1, 1)](x, y, out, 1000, 512)
    assert torch.equal(out, x + y)
    assert compiled.n_regs > 0 and compiled.metadata.shared > 0
    by_type = _add_kernel.warmup(torch.float32, torch.float32, torch.float32, 1000, BLOCK=512, grid=(1,))
    assert by_type.metadata.target.backend == ("cuda" if torch.cuda.is_available() else "tritonnet_cpu")


def test_activated_benchmarking(activated):
    x, out = torch.randn(1000), torch.empty(1000)
    milliseconds = triton.testing.do_bench(lambda: _add_kernel[(8,)](x, x, out, 1000, BLOCK=128), warmup=1, rep=2)
    assert 0 < milliseconds < 1000


class Elsewhere:
    """A tensor on a GPU, as far as the choice of a driver can tell."""

    device = torch.device("cuda")


@pytest.mark.parametrize(
    ("arguments", "on_cpu"),
    [
        ((torch.ones(1),), True),
        ((1, (torch.ones(1), 2)), True),
        ((SimpleNamespace(base=torch.ones(1)),), True),
        ((Elsewhere(),), False),
        ((torch.ones(1), Elsewhere()), False),
        ((1, 2.0, None, "a"), False),
    ],
)
def test_the_arguments_choose_the_driver(monkeypatch, arguments, on_cpu):
    seen = []
    gpu = object()
    monkeypatch.setattr(JITFunction, "run", lambda self, *args, **kwargs: seen.append(triton.runtime.driver.active))
    monkeypatch.setattr(triton.runtime.driver, "_active", gpu)
    cpu.activate()
    try:
        _add_kernel[(1,)](*arguments)
        assert triton.runtime.driver.active is gpu
    finally:
        cpu.deactivate()
    assert isinstance(seen[0], active.CPUDriver) == on_cpu
    assert (seen[0] is gpu) != on_cpu


def test_deactivate_restores_triton():
    before = [vars(owner)[name] for owner, name, _ in active._REPLACEMENTS]
    cpu.activate()
    cpu.activate()
    assert all(vars(owner)[name] is not b for (owner, name, _), b in zip(active._REPLACEMENTS, before, strict=True))
    cpu.deactivate()
    assert all(vars(owner)[name] is b for (owner, name, _), b in zip(active._REPLACEMENTS, before, strict=True))
