"""Every way to install tritonnet gives `tritonnet.kernels`, and none a top-level package called `kernels`."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Prints the folder of tritonnet.kernels, and that of a top-level `kernels`; an argument is a site folder to look in.
PROBE = """
import importlib.util, pathlib, site, sys
if len(sys.argv) > 1:
    sys.path.insert(0, sys.argv[1])
    site.addsitedir(sys.argv[1])
import tritonnet.kernels
import tritonnet.nn
from tritonnet.kernels import cpu
print(pathlib.Path(tritonnet.kernels.__file__).resolve().parent)
bare = importlib.util.find_spec("kernels")
print(pathlib.Path(bare.origin).resolve().parent if bare else None)
"""


# What this Python was given beside its own packages, without the checkout.
GIVEN = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one and Path(one).resolve() != ROOT]


def run(*command: object, cwd: Path, path: tuple[Path, ...] = ()) -> str:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), *GIVEN])}
    done = subprocess.run([sys.executable, *map(str, command)], cwd=cwd, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def build(hook: str, source: Path, out: Path) -> Path:
    """Calls one of setuptools' build hooks as a front end does: in the source folder, with nothing fetched."""
    out.mkdir(exist_ok=True)
    code = f"import setuptools.build_meta as b; b.{hook}({str(out)!r})"
    run("-c", code, cwd=source)
    (made,) = out.iterdir()
    return made


def installed_from(*arguments: object, into: Path) -> Path:
    flags = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    run("-m", "pip", "install", *flags, "--target", into, *arguments, cwd=into.parent)
    ours, bare = run("-c", PROBE, into, cwd=into.parent).splitlines()
    assert bare != ours
    assert not bare.startswith(str(into))
    return Path(ours)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, so that building leaves nothing in it."""
    for tool, needed in {"pip": 22, "setuptools": 77}.items():
        if not any(int(one.version.split(".")[0]) >= needed for one in metadata.distributions(name=tool)):
            pytest.skip(f"building and installing needs {tool} {needed} or newer")
    made = tmp_path_factory.mktemp("source") / "tritonnet"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "runs")
    shutil.copytree(ROOT, made, symlinks=True, ignore=ignored)
    return made


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_wheel_and_sdist(source, tmp_path):
    wheel = build("build_wheel", source, tmp_path / "wheel")
    folder = installed_from(wheel, into=tmp_path / "site")
    assert folder == (tmp_path / "site" / "tritonnet" / "kernels").resolve()

    names = contents(wheel)
    assert {name.split("/")[0] for name in names} == {"tritonnet"}
    shipped = [*(source / "kernels").rglob("*"), *(source / "tritonnet").rglob("*")]
    wanted = {str(p.relative_to(source)) for p in shipped if p.suffix in (".py", ".typed", ".h", ".c", ".json")}
    wanted = {f"tritonnet/{name}" if name.startswith("kernels/") else name for name in wanted}
    assert names == wanted

    sdist = build("build_sdist", source, tmp_path / "sdist")
    shutil.unpack_archive(sdist, tmp_path / "unpacked")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert contents(build("build_wheel", unpacked, tmp_path / "again")) == names


def test_editable(source, tmp_path):
    wheel = build("build_editable", source, tmp_path / "wheel")
    assert installed_from(wheel, into=tmp_path / "site") == (source / "kernels").resolve()


def test_checkout_without_install(tmp_path):
    ours, _ = run("-c", PROBE, cwd=tmp_path, path=(ROOT,)).splitlines()
    assert Path(ours) == ROOT / "kernels"


def test_the_bare_name_is_refused():
    code = "import kernels"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "ImportError: import tritonnet.kernels, not kernels" in done.stderr


def test_the_link_is_a_link():
    link = ROOT / "tritonnet" / "kernels"
    assert link.is_symlink()
    assert os.readlink(link) == os.path.join("..", "kernels")


def test_the_package_list_is_the_tree():
    found = set()
    for init in [*ROOT.glob("tritonnet/**/__init__.py"), *ROOT.glob("kernels/**/__init__.py")]:
        parts = init.parent.relative_to(ROOT).parts
        found.add(".".join(parts if parts[0] == "tritonnet" else ("tritonnet", *parts)))
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(found)


def test_dependencies_are_floors():
    project = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    for one in [*project["dependencies"], *(one for extra in extras for one in extra)]:
        assert not re.search("[<=~!]", one.split(";")[0].replace(">=", "")), f"{one} is not a floor"
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    assert {"torch", "triton"} <= set(pinned)
