"""The measuring scripts run, agree with torch before they time, and write what they found."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tritonnet
from perf import checkpoints, functions, module_call, start, step
from perf.cases import Case

ROOT = Path(__file__).parent.parent


@pytest.fixture
def threads(monkeypatch):
    # torch's own test suites, once imported, forbid what the scripts do in a process of their own.
    monkeypatch.setitem(torch.backends.flags_frozen.__globals__, "__allow_nonbracketed_mutation_flag", True)
    before, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    yield
    torch.set_num_threads(before)
    torch.backends.cudnn.benchmark = benchmark


def test_steps_are_timed_and_written(tmp_path, capsys, threads):
    small = ["--dtypes", "float32", "--batch", "4", "--seconds", "0.1"]
    step.main(["--device", "cpu", *small, "--results", str(tmp_path)])
    (file,) = tmp_path.glob("cpu_*/step.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["network"] for row in rows] == ["digits", "mlp", "lenet", "autoencoder"]
    for row in rows:
        assert row["ours_ms"] > 0
        assert row["torch_ms"] > 0
        assert row["rounds"] >= 5
        assert row["disagreement"] < 1e-4
        assert {"device", "path", "torch", "triton", "commit", "date", "clock", "ratio"} <= set(row)
    assert "ratio" in capsys.readouterr().out


def test_what_does_not_agree_with_torch_is_not_timed(monkeypatch):
    monkeypatch.setattr(step, "disagreement", lambda ours, theirs: float("nan"))
    row = step.race("digits", "float32", torch.device("cpu"), 2, 0.1)
    assert "refused" in row
    assert "ratio" not in row
    assert "not timed" in step.line(row)


def test_disagreement_sees_other_weights():
    ours, theirs = step.contestants("digits", torch.float32, torch.device("cpu"), 8)
    assert step.disagreement(ours, theirs) < 1e-4
    with torch.no_grad():
        ours.net[0].weight.mul_(1.1)
    assert step.disagreement(ours, theirs) > 1e-4


def test_the_gpu_script_runs_dry(tmp_path):
    environ = {**os.environ, "PYTHON": sys.executable, "RESULTS": str(tmp_path)}
    done = subprocess.run(
        ["bash", "perf/on_gpu.sh", "--dry-run", "200", "0.02"], cwd=ROOT, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = tmp_path.iterdir()
    assert " passed" in (folder / "examples.txt").read_text()
    assert " passed" in (folder / "tests.txt").read_text()
    assert json.loads((folder / "functions.jsonl").read_text().splitlines()[0])["family"] == "softmax"
    assert json.loads((folder / "step.jsonl").read_text())["network"] == "digits"
    assert json.loads((folder / "start.jsonl").read_text())["us"] > 0
    assert done.stdout.splitlines()[-1].split()[:2] == ["digits", "float32"]


@pytest.mark.parametrize("family", functions.FAMILIES)
def test_functions_agree_with_torchs(family):
    """At the size at which they are timed, forward and backward, so that every row of the table is a figure."""
    for case in functions.of_family(family):
        torch.manual_seed(0)
        inputs = case.make(torch.device("cpu"), torch.float32)
        ours, theirs = (functions.call(function, inputs)() for function in (case.ours, case.torchs))
        assert functions.disagreement(ours, theirs) <= functions.AGREEMENT["float32"], case.name


def test_functions_are_timed_and_written(tmp_path, capsys, threads, monkeypatch):
    def make(device, dtype):
        return (torch.randn(20, device=device, dtype=dtype, requires_grad=True),)

    cases = [Case("double", make, lambda x: x * 2, lambda x: x + x), Case("wrong", make, lambda x: x, torch.square)]
    monkeypatch.setattr(functions, "of_family", lambda family: cases)
    family = functions.FAMILIES[0]
    functions.main(["--device", "cpu", "--families", family, "--seconds", "0.01", "--results", str(tmp_path)])
    (file,) = tmp_path.glob("cpu_*/functions.jsonl")
    double, wrong = (json.loads(line) for line in file.read_text().splitlines())
    assert double["family"] == family and double["ratio"] > 0 and double["disagreement"] == 0
    assert "refused" in wrong and "ratio" not in wrong
    *_, named, refused, mean = capsys.readouterr().out.rstrip().splitlines()
    assert named.startswith("double ") and "not timed" in refused
    assert mean.split()[1:3] == ["geometric", "mean"] and float(mean.split()[-1]) == pytest.approx(
        double["ratio"], abs=0.006
    )


def test_the_second_process_finds_the_cache_of_the_first(monkeypatch):
    caches = []
    monkeypatch.setattr(start, "FIRST_STEP", "import os; print(len(os.listdir(os.environ['TRITON_CACHE_DIR'])))")
    fresh = start.fresh

    def watched(code, **environ):
        found = fresh(code, **environ)
        caches.append(environ["TRITON_CACHE_DIR"])
        Path(caches[-1], "kernel").touch()
        return found

    monkeypatch.setattr(start, "fresh", watched)
    assert start.first_steps(torch.device("cpu")) == {"empty_cache_s": 0, "warm_cache_s": 1}
    assert not Path(caches[0]).exists()


def test_imports_are_timed_in_fresh_processes():
    figures = start.imports(torch.device("cpu"), rounds=1)
    assert figures["with_tritonnet_s"] > 0
    assert figures["torch_and_triton_s"] > 0


def test_module_calls_are_timed_and_written(tmp_path, capsys, threads):
    module_call.main(["--seconds", "0.01", "--results", str(tmp_path)])
    (file,) = tmp_path.glob("cpu_*/module_call.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["what"] for row in rows] == list(module_call.WHAT)
    assert all(row["ratio"] > 0 for row in rows)
    assert "named_parameters" in capsys.readouterr().out


def test_module_calls_leave_the_functions_as_they_were():
    before = torch.nn.functional.linear, tritonnet.nn.functional.linear
    with module_call.without_arithmetic():
        assert torch.nn.functional.linear(3, None, None) == tritonnet.nn.functional.linear(3, None, None) == 3
    assert before == (torch.nn.functional.linear, tritonnet.nn.functional.linear)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_the_gpu_script_wants_a_gpu():
    environ = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(["bash", "perf/on_gpu.sh"], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no GPU" in done.stderr


def test_checkpoints_are_timed_and_written(tmp_path, capsys):
    checkpoints.main(["--megabytes", "1", "--rounds", "2", "--folder", str(tmp_path), "--results", str(tmp_path)])
    (file,) = tmp_path.glob("cpu_*/checkpoints.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert {row["what"] for row in rows} == {"save", "load"}
    assert {"tritonnet.save", "torch.save", "safetensors", "tritonnet.load", "torch.load"} <= {
        row["way"] for row in rows
    }
    assert all(row["mb_per_s"] > 0 and row["ratio_to_safetensors"] > 0 for row in rows)
    assert "to safetensors" in capsys.readouterr().out
