"""What README.md tells a reader to type works, and the files that it names exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PERF = (ROOT / "perf" / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.M | re.S)


@pytest.mark.parametrize("code", blocks(README, "python"))
def test_the_python_runs(code, tmp_path):
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_commands_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    commands = [line.split() for block in blocks(README, "sh") for line in block.splitlines()]
    assert ["make", "train"] in commands
    assert ["make", "test"] in commands
    for words in commands:
        if words[0] == "make":
            assert words[1] in targets
        else:
            assert words == ["python", "-m", "tritonnet"], "a command that nothing here runs"


def test_the_files_exist():
    named = re.findall(r"`((?:tests|examples|kernels|perf|tritonnet)/[\w./]*)`", README + PERF)
    assert named
    for path in named:
        assert (ROOT / path).exists(), path


def test_every_layer_is_listed():
    import tritonnet.nn as nn

    listed = set(re.findall(r"\w+", README.partition("## What is here")[2].partition("Optimizers:")[0]))
    layers = {
        name for name in nn.__all__ if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Module)
    }
    assert layers - {"Module"} <= listed
    assert not {name for name in listed if hasattr(torch.nn, name) and name not in nn.__all__}


def test_make_says_what_it_does():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True)
    for name in ("train", "test", "targets", "lint", "clean"):
        assert f"make {name}" in done.stdout
