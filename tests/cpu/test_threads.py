"""The pool: every program once, the same bits on any number of threads, several callers, forks, sleep."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import triton
import triton.language as tl

from tritonnet.kernels._errors import KernelAssertionError
from tritonnet.kernels._launch import launch

PATHS = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
HERE = Path(__file__)


@triton.jit
def _visit_kernel(out_ptr):
    x, y, z = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    at = (z * tl.num_programs(1) + y) * tl.num_programs(0) + x
    tl.atomic_add(out_ptr + at, 1)


@triton.jit
def _matmul_kernel(a_ptr, b_ptr, c_ptr, M, N, K, BLOCK: tl.constexpr):
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    sums = tl.zeros((BLOCK, BLOCK), c_ptr.dtype.element_ty)
    for k0 in range(0, K, BLOCK):
        k = k0 + tl.arange(0, BLOCK)
        a = tl.load(a_ptr + m[:, None] * K + k[None, :], mask=(m[:, None] < M) & (k[None, :] < K), other=0.0)
        b = tl.load(b_ptr + k[:, None] * N + n[None, :], mask=(k[:, None] < K) & (n[None, :] < N), other=0.0)
        sums = tl.dot(a, b, sums, input_precision="ieee", out_dtype=sums.dtype)
    tl.store(c_ptr + m[:, None] * N + n[None, :], sums, mask=(m[:, None] < M) & (n[None, :] < N))


@triton.jit
def _fill_kernel(out_ptr, value, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + i, tl.zeros((BLOCK,), tl.float32) + value, mask=i < n)


@triton.jit
def _transpose_kernel(x_ptr, out_ptr, SIDE: tl.constexpr):
    i = tl.arange(0, SIDE)
    base = tl.program_id(0) * SIDE * SIDE
    x = tl.load(x_ptr + base + i[:, None] * SIDE + i[None, :])
    y = tl.trans(x) + tl.sum(x, axis=1)[:, None]
    tl.store(out_ptr + base + i[:, None] * SIDE + i[None, :], y)


@triton.jit
def _late_assert_kernel(x_ptr):
    tl.device_assert(tl.load(x_ptr + tl.program_id(0)) == 0, "not zero")


@pytest.fixture(autouse=True)
def threads():
    """Four threads, whatever the machine has; restored afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield torch.set_num_threads
    torch.set_num_threads(before)


def run_python(script: str) -> str:
    """Runs a script with this file's kernels in scope, in a process of its own."""
    head = f"""
import importlib.util, json, os, sys, threading, time, torch
spec = importlib.util.spec_from_file_location("kernels_of_test", {str(HERE)!r})
k = importlib.util.module_from_spec(spec); spec.loader.exec_module(k)
launch, torch_threads = k.launch, torch.set_num_threads(4)
tasks = lambda: len(os.listdir("/proc/self/task"))
fill = lambda out, value: launch(k._fill_kernel, (-(-out.numel() // 64),), out, value, out.numel(), BLOCK=64)
"""
    environment = os.environ | {"PYTHONPATH": PATHS}
    command = [sys.executable, "-W", "ignore", "-c", head + script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("grid", [(1,), (2,), (7, 3, 2), (1000,), (1, 1, 5), (1, 64), (4097,)])
def test_every_program_runs_once(grid):
    out = torch.zeros(torch.Size(grid).numel(), dtype=torch.int32)
    for repeat in range(1, 4):
        launch(_visit_kernel, grid, out)
        assert (out == repeat).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_number_of_threads_changes_no_bit(threads, dtype):
    a, b = torch.randn(300, 200, dtype=dtype), torch.randn(200, 250, dtype=dtype)
    results = []
    for count in (1, 2, 4):
        threads(count)
        for _ in range(3):
            c = torch.full((300, 250), torch.nan, dtype=dtype)
            launch(_matmul_kernel, (10, 8), a, b, c, 300, 250, 200, BLOCK=32)
            results.append(c)
    assert all(torch.equal(results[0], other) for other in results)
    bound = 202 * torch.finfo(dtype).eps * (a.double().abs() @ b.double().abs())
    assert ((results[0].double() - a.double() @ b.double()).abs() <= bound).all()


def test_python_threads_launch_one_kernel_with_their_own_arguments():
    wrong: list[tuple[int, float]] = []

    def work(number: int) -> None:
        out = torch.empty(4096)
        for step in range(200):
            value = float(number * 1000 + step)
            launch(_fill_kernel, (64,), out, value, 4096, BLOCK=64)
            if not (out == value).all():
                wrong.append((number, value))

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_a_forked_child_has_threads_of_its_own():
    script = """
out = torch.empty(1 << 16)
fill(out, 1.0)
stop = False
def busy():
    mine = torch.empty(1 << 16)
    while not stop: fill(mine, 2.0)
other = threading.Thread(target=busy); other.start()
for child in range(10):
    pid = os.fork()
    if pid == 0:
        value = 10.0 + child
        for _ in range(20): fill(out, value)
        os._exit(0 if bool((out == value).all()) and tasks() > 1 else 1)
    assert os.waitpid(pid, 0)[1] == 0, child
stop = True; other.join()
fill(out, 3.0)
assert bool((out == 3.0).all())
"""
    run_python(script)


@pytest.mark.parametrize(("side", "dtype"), [(256, torch.float64), (512, torch.float64)])
def test_large_tiles_fit_on_worker_threads(side, dtype):
    x = torch.randn(8, side, side, dtype=dtype)
    out = torch.empty_like(x)
    for _ in range(2):
        launch(_transpose_kernel, (8,), x, out, SIDE=side)
    torch.testing.assert_close(out, x.mT + x.sum(-1, keepdim=True), rtol=1e-12, atol=1e-9)


def test_a_failed_assertion_on_any_thread_is_reported():
    for at in (0, 1, 500, 999):
        x = torch.zeros(1000)
        x[at] = 1
        for _ in range(3):
            with pytest.raises(KernelAssertionError, match="not zero"):
                launch(_late_assert_kernel, (1000,), x, debug=True)
    launch(_late_assert_kernel, (1000,), torch.zeros(1000), debug=True)


def test_threads_sleep_are_few_and_are_not_openmps():
    script = """
files = lambda: {line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}
libraries = lambda: {path for path in files() if "omp" in path.split("/")[-1]}
openmp, before = libraries(), tasks()
one = torch.empty(64)
for _ in range(5): fill(one, 1.0)
alone = tasks()
out = torch.empty(1 << 22)
for _ in range(20): fill(out, 1.0)
many = tasks()
start = time.process_time(); time.sleep(0.5); idle = time.process_time() - start
print(json.dumps([before, alone, many, idle, sorted(libraries() - openmp)]))
"""
    before, alone, many, idle, openmp = json.loads(run_python(script))
    assert alone == before, "a grid of one program wakes and makes no thread"
    assert before < many <= before + 3
    assert idle < 0.1, "a pool with nothing to do uses no processor time"
    assert not openmp
