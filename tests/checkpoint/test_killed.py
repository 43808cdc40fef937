"""`kill -9` at random moments of a save loop: one whole state is there, not older than one reported saved."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("kind, times", [("path", 200), ("folder", 200), ("background", 50)])
def test_killed_at_random_moments(tmp_path: Path, kind: str, times: int) -> None:
    command = [sys.executable, "-m", "tests.checkpoint.killed", kind, str(tmp_path), str(times), "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    steps, hidden = map(int, done.stdout.split())
    assert steps > times / 5, "hardly a save came to its end"
    assert hidden > times / 50, "hardly a save was interrupted"
