"""Runs Python with tritonnet and all that its commands need: `python3 .ci/with.py ARGUMENTS`.

A Python that has torch and triton is used and left as it is; light packages that it lacks go into .deps, a folder
beside the checkout. Any other Python gets a private .venv with what constraints.txt pins. Either is made once, and
again when pyproject.toml, constraints.txt or the Python change.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEPS, VENV, CONSTRAINTS = ROOT / ".deps", ROOT / ".venv", ROOT / "constraints.txt"
EXTRAS = ("test", "examples", "perf", "lint")


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036  what runs this file is what make found
        sys.exit(f"tritonnet needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}: make PYTHON=...")
    if util.find_spec("torch") and util.find_spec("triton"):
        python = sys.executable
        fill_deps(requirements())
    else:
        python = str(VENV / "bin" / "python")
        fill_venv(requirements())
    path = [str(ROOT), str(DEPS), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    os.execv(python, [python, *sys.argv[1:]])


def requirements() -> list[str]:
    import tomllib  # not in the Pythons that main() turns away

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(one for extra in EXTRAS for one in optional[extra])]


def fill_venv(wanted: list[str]) -> None:
    stamp, state = VENV / "ready", fingerprint([*wanted, CONSTRAINTS.read_text()])
    if read(stamp) == state:
        return
    say(f"{sys.executable} has no torch and triton: installing them and the rest into .venv (once)")
    commands = (
        [sys.executable, "-m", "venv", "--clear", str(VENV)],
        [str(VENV / "bin" / "python"), "-m", "pip", "install", "-c", str(CONSTRAINTS), *wanted],
    )
    for command in commands:
        if subprocess.run(command).returncode:
            sys.exit(f"tritonnet: that failed: {' '.join(command)}")
    stamp.write_text(state)


def fill_deps(wanted: list[str]) -> None:
    missing = [one for one in wanted if not satisfied(one)]
    if heavy := [one for one in missing if one.startswith(("torch", "triton"))]:
        sys.exit(f"tritonnet needs {' and '.join(heavy)}, and {sys.executable} has older ones: make PYTHON=...")
    stamp, state = DEPS / "ready", fingerprint(missing)
    if read(stamp) == state:
        return
    shutil.rmtree(DEPS, ignore_errors=True)
    if not missing:
        return
    say(f"installing {', '.join(missing)} into .deps (once)")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--retries", "1"]
    # The dry run says what this Python lacks; installing that without dependencies shadows nothing that it has.
    plan = subprocess.run([*pip, "--dry-run", "--report", "-", *missing], stdout=subprocess.PIPE)
    if plan.returncode == 0:
        found = [one["metadata"] for one in json.loads(plan.stdout)["install"]]
        names = [f"{one['name']}=={one['version']}" for one in found]
        if subprocess.run([*pip, "--no-deps", "--target", str(DEPS), *names]).returncode == 0:
            stamp.write_text(state)
            return
    say("that failed; going on without them")


def satisfied(requirement: str) -> bool:
    """Whether this Python itself (.deps left aside) has a requirement of the form `name` or `name>=version`."""
    name, floor = re.match(r"([\w-]+)(?:>=([\d.]+))?", requirement).groups()
    path = [entry for entry in sys.path if entry != str(DEPS)]
    return any(
        numbers(found.version) >= numbers(floor or "0") for found in metadata.distributions(name=name, path=path)
    )


def numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


def fingerprint(parts: list[str]) -> str:
    return hashlib.sha256("\n".join([sys.executable, sys.version, *parts]).encode()).hexdigest()


def read(stamp: Path) -> str:
    return stamp.read_text() if stamp.exists() else ""


def say(message: str) -> None:
    print(f"tritonnet: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
