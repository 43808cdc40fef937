"""What the make commands run with: .ci/with.py keeps a Python that has torch as it is, and fetches what it lacks."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def setup(monkeypatch, tmp_path):
    """.ci/with.py as a module, with its folders in a temporary one and every command that it runs recorded."""
    spec = importlib.util.spec_from_file_location("with_py", ROOT / ".ci" / "with.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.commands, module.fails = [], set()
    monkeypatch.setattr(module, "DEPS", tmp_path / ".deps")
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")

    def run(command, **_):
        module.commands.append(command)
        for flag in ("--target", "venv"):
            if flag in command:
                (module.DEPS if flag == "--target" else module.VENV).mkdir(exist_ok=True)
        plan = {"install": [{"metadata": {"name": "absent", "version": "1.2"}}]}
        return SimpleNamespace(returncode=int(bool(module.fails & set(command))), stdout=json.dumps(plan))

    monkeypatch.setattr(module.subprocess, "run", run)
    return module


def test_it_runs_python_with_tritonnet():
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    code = "import sys, tritonnet; print(tritonnet.__file__, sys.argv[1:])"
    command = [sys.executable, ".ci/with.py", "-c", code, "a b"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.stdout == f"{ROOT / 'tritonnet' / '__init__.py'} ['a b']\n", done.stderr


def test_a_python_that_lacks_nothing_is_left_alone(setup):
    setup.fill_deps(["torch>=2.11", "pytest"])
    assert not setup.commands
    assert not setup.DEPS.exists()


def test_what_is_missing_goes_beside_the_checkout_once(setup):
    for _ in range(2):
        setup.fill_deps(["pytest", "absent"])
    plan, install = setup.commands
    assert "--dry-run" in plan
    assert "pytest" not in plan
    assert install[install.index("--no-deps") :] == ["--no-deps", "--target", str(setup.DEPS), "absent==1.2"]
    setup.fill_deps(["pytest"])
    assert not setup.DEPS.exists(), "nothing is missing any more"


@pytest.mark.parametrize("failing", ["--dry-run", "--target"])
def test_without_a_network_the_rest_still_runs(setup, failing, capsys):
    setup.fails = {failing}
    setup.fill_deps(["absent"])
    assert "going on without" in capsys.readouterr().err
    setup.fails = set()
    setup.fill_deps(["absent"])
    assert (setup.DEPS / "ready").exists(), "tried again the next time"


def test_a_torch_that_is_too_old_is_said(setup):
    with pytest.raises(SystemExit, match="torch>=99"):
        setup.fill_deps(["torch>=99"])
    assert not setup.commands


def test_a_python_without_torch_gets_a_private_one_once(setup, capsys):
    for _ in range(2):
        setup.fill_venv(["torch>=2.11"])
    venv, pip = setup.commands
    assert venv == [sys.executable, "-m", "venv", "--clear", str(setup.VENV)]
    assert pip[-3:] == ["-c", str(ROOT / "constraints.txt"), "torch>=2.11"]
    setup.fill_venv(["torch>=2.11", "more"])
    assert len(setup.commands) == 4, "again when the requirements change"


def test_a_failed_install_is_not_taken_for_a_finished_one(setup):
    setup.fails = {"pip"}
    with pytest.raises(SystemExit, match="that failed"):
        setup.fill_venv(["torch>=2.11"])
    assert not (setup.VENV / "ready").exists()


@pytest.mark.parametrize(
    ("requirement", "answer"),
    [("pytest", True), ("torch>=2.11", True), ("torch>=99.1", False), ("no-such-thing", False), ("torch", True)],
)
def test_what_counts_as_there(setup, requirement, answer):
    assert setup.satisfied(requirement) is answer
    assert setup.satisfied("triton>=3.6; sys_platform == 'linux'")
