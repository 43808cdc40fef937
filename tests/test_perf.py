"""The measuring scripts run, agree with torch before they time, and write what they found."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from perf import start, step

ROOT = Path(__file__).parent.parent


@pytest.fixture
def threads():
    before, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    yield
    torch.set_num_threads(before)
    torch.backends.cudnn.benchmark = benchmark


def test_steps_are_timed_and_written(tmp_path, capsys, threads):
    small = ["--networks", "digits", "mlp", "--dtypes", "float32", "--batch", "4", "--seconds", "0.1"]
    step.main(["--device", "cpu", *small, "--results", str(tmp_path)])
    (file,) = tmp_path.glob("cpu_*/step.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["network"] for row in rows] == ["digits", "mlp"]
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
        ["bash", "perf/on_gpu.sh", "--dry-run", "200", "0.1"], cwd=ROOT, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = tmp_path.iterdir()
    assert " passed" in (folder / "tests.txt").read_text()
    assert json.loads((folder / "step.jsonl").read_text())["network"] == "digits"
    assert json.loads((folder / "start.jsonl").read_text())["us"] > 0
    assert done.stdout.splitlines()[-1].split()[:2] == ["digits", "float32"]


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


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_the_gpu_script_wants_a_gpu():
    environ = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(["bash", "perf/on_gpu.sh"], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no GPU" in done.stderr
