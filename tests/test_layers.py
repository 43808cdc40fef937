"""Who may import whom, and where things live: imports point down, one operation has one stem, every Op is tested."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tritonnet.kernels import OPS

ROOT = Path(__file__).parent.parent
KERNELS = sorted((ROOT / "kernels").rglob("*.py"))
LIBRARY = sorted(
    path for path in (ROOT / "tritonnet").rglob("*.py") if (ROOT / "tritonnet/kernels") not in path.parents
)

# Each part of tritonnet (a file or a folder) and the parts that it may import, itself aside.
STATE = {"parameter", "module", "hooks", "init", "graph", "profiling", "data"}
MAY_IMPORT = {
    "errors": {"kernels"},
    **{part: STATE | {"errors"} for part in STATE},
    "_names": set(),
    "functional": {"kernels", "errors", "_names"},
    "nn": {"parameter", "module", "hooks", "init", "functional", "errors", "_names"},
    "optim": {"kernels", "errors", "parameter", "module", "_names"},
    "amp": {"kernels", "errors"},
    "checkpoint": {"parameter", "module", "errors"},
    "convert": {"parameter", "module", "nn", "errors"},
    "distributed": {"parameter", "module", "errors"},
    "testing": {"kernels", "errors"},
}
ANYTHING = {"__init__", "__main__"}
PACKAGES = {"data": {"torch", "numpy"}, "checkpoint": {"torch", "numpy", "safetensors", "rich"}}
DRIVES_TRITON = {"kernels/_launch.py", "kernels/cpu/active.py", "kernels/cpu/compiler.py", "kernels/cpu/driver.py"}
PRIVATE_TRITON = ("triton._C", "triton.backends", "triton.compiler", "triton.runtime")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def package_of(path: Path) -> list[str]:
    parts = list(path.relative_to(ROOT).parent.parts)
    return ["tritonnet", *parts] if parts[0] == "kernels" else parts


def imports(path: Path) -> Iterator[str]:
    """The dotted name of everything that a file imports, at its top or inside a function."""
    package = package_of(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def attributes(path: Path) -> Iterator[str]:
    """Every dotted expression `a.b.c` of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)


def part_of(dotted: str) -> str:
    return dotted.split(".")[1] if "." in dotted else "__init__"


def within(dotted: str, *names: str) -> bool:
    return any(f"{dotted}.".startswith(f"{name}.") for name in names)


@pytest.mark.parametrize("path", KERNELS, ids=name_of)
def test_kernels_import_torch_triton_and_their_siblings(path):
    for dotted in imports(path):
        top = dotted.split(".")[0]
        assert within(dotted, "tritonnet.kernels") or top in {"torch", "triton", *sys.stdlib_module_names}, dotted
        assert name_of(path) in DRIVES_TRITON or not within(dotted, *PRIVATE_TRITON), f"{dotted}: private to Triton"
    written = ast.parse(path.read_text())
    absolute = [node for node in ast.walk(written) if isinstance(node, ast.ImportFrom) and node.level == 0]
    assert not any(within(node.module or "", "tritonnet", "kernels") for node in absolute), "import siblings relatively"
    if name_of(path) not in DRIVES_TRITON:
        assert not [one for one in attributes(path) if within(one, *PRIVATE_TRITON)]


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_the_library_imports_downwards(path):
    part = part_of(".".join([*package_of(path), path.stem]))
    for dotted in imports(path):
        top = dotted.split(".")[0]
        if part in ANYTHING:
            continue
        if top == "tritonnet":
            imported = part_of(dotted)
            assert imported in {part, "__version__"} | MAY_IMPORT.get(part, set()), f"{part} imports {imported}"
        else:
            assert top in PACKAGES.get(part, {"torch"}) or top in sys.stdlib_module_names, f"{part} imports {top}"


@pytest.mark.parametrize("path", KERNELS + LIBRARY, ids=name_of)
def test_nobody_reaches_for_torch_nn_or_for_tests(path):
    assert not [one for one in [*imports(path), *attributes(path)] if within(one, "torch.nn")]
    assert not [one for one in imports(path) if within(one, "tests", "perf", "examples")]


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_only_kernels_hold_triton_code(path):
    assert not [one for one in [*imports(path), *attributes(path)] if within(one, "triton.jit", "triton.language")]


@pytest.mark.parametrize("path", KERNELS, ids=name_of)
def test_kernels_are_not_tuned_while_they_run(path):
    assert not [
        one for one in [*imports(path), *attributes(path)] if within(one, "triton.autotune", "triton.heuristics")
    ]


@pytest.mark.parametrize("path", KERNELS + LIBRARY, ids=name_of)
def test_one_place_chooses_the_path(path):
    name = name_of(path)
    assert ("TRITONNET_BACKEND" in path.read_text()) == (name == "kernels/_op.py")
    chooses = {"kernels/_op.py", "kernels/_launch.py", "kernels/_tune.py"}
    if name.startswith("kernels/") and name not in chooses and not name.startswith("kernels/cpu/"):
        asked = [one for one in attributes(path) if one.endswith((".is_cpu", ".is_cuda", "device.type"))]
        assert not asked, "a kernel that asks for the device"


@pytest.mark.parametrize("part", ["functional", "nn", "optim"])
def test_one_stem_names_the_file_and_its_test(part):
    for path in (ROOT / "tritonnet" / part).glob("[!_]*"):
        assert (ROOT / f"tests/{part}/test_{path.stem}.py").exists(), f"{name_of(path)} has no test file of its stem"


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op_has_a_test_file_that_names_it(name):
    module = OPS[name].launcher.__module__.removeprefix("tritonnet.kernels.").split(".")[0]
    tests = [*(ROOT / "tests/kernels").glob(f"test_{module}*.py"), *(ROOT / "tests/kernels" / module).glob("test_*.py")]
    assert tests, f"{name}: no tests/kernels/test_{module}.py"
    assert any(name in path.read_text() for path in tests), f"{name} is named in no test of {module}"
