"""The code in the checkpoints' README runs, twice where it resumes, and warns of nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
BLOCKS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "tritonnet/checkpoint/README.md").read_text(), re.M | re.S)


def test_the_code_runs(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    run, exchange = BLOCKS
    script = f"{exchange}\n{run.replace('20)', '2)')}\n{run.replace('20)', '3)')}\nprint(epoch, state['step'])"
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 2\n"
    assert sorted(os.listdir(tmp_path)) == ["linear", "linear.pt", "runs"]
