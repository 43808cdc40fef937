"""python -m tritonnet says what will run, and says it truly."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import triton

import tritonnet
from tritonnet import __main__ as report
from tritonnet.kernels import _op, cpu

ROOT = Path(__file__).parent.parent


def rows() -> dict[str, str]:
    return dict(report.report())


def test_the_command_prints_versions_paths_and_places():
    done = subprocess.run([sys.executable, "-m", "tritonnet"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for wanted in (tritonnet.__version__, torch.__version__, triton.__version__, "C compiler", "kernel cache"):
        assert wanted in done.stdout
    for name, value in rows().items():
        assert name in done.stdout
        assert value in done.stdout, "a value was cut or wrapped"


def test_without_rich_the_same_lines_are_printed(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    report.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{name:<14}{value}" for name, value in rows().items()]


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what stands there without a GPU")
def test_no_gpu():
    assert rows()["GPUs"].startswith("none")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_each_gpu_and_its_path():
    for index in range(torch.cuda.device_count()):
        name = torch.cuda.get_device_name(index)
        assert rows()[f"GPU {index}"].startswith(name)
        assert rows()[f"cuda:{index} tensors"].startswith(f"Triton on {name}: ")


def test_the_path_of_a_cpu_tensor_and_why(monkeypatch):
    with tritonnet.kernels.use("reference"):
        assert rows()["cpu tensors"].startswith("the references: use(")
    monkeypatch.setattr(cpu, "unavailable", lambda: "no C compiler: install gcc")
    assert rows()["cpu tensors"] == "the references: no C compiler: install gcc"
    monkeypatch.setattr(cpu, "unavailable", lambda: "")
    assert rows()["cpu tensors"].startswith("Triton on the CPU: ")
    monkeypatch.setattr(_op, "INTERPRETED", True)
    assert rows()["cpu tensors"].startswith("Triton's interpreter on the CPU: ")


def test_the_path_is_the_one_that_operations_take(monkeypatch):
    taken = []
    monkeypatch.setattr(_op.OPS["relu"], "launcher", lambda x: taken.append("kernel"))
    monkeypatch.setattr(_op.OPS["relu"], "reference", lambda x: taken.append("reference"))
    said = []
    for backend in ("triton", "reference"):
        with tritonnet.kernels.use(backend):
            tritonnet.kernels.relu(torch.ones(2))
            said.append("reference" if tritonnet.kernels.path(torch.device("cpu"))[0] == "the references" else "kernel")
    assert said == taken


def test_no_c_compiler_is_said_with_the_remedy(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    assert "CC=no-such-compiler" in rows()["C compiler"]
    assert "install gcc" in rows()["C compiler"]


def test_measured_tiles_are_counted(monkeypatch):
    monkeypatch.setattr(report._tune, "table", lambda name: {"matmul": [{}, {}], "conv2d": [{}]})
    assert rows()["cpu tiles"].startswith("3 measured for cpu_")
    monkeypatch.setattr(report._tune, "table", lambda name: {})
    assert rows()["cpu tiles"].startswith("by rule: none measured for cpu_")
