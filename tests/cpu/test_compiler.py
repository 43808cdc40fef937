"""The C compiler: found late, called plainly, blamed clearly; and what the keys of the cache hold."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import triton
import triton.language as tl
from triton.backends.nvidia.compiler import CUDAOptions

from tritonnet.kernels import cpu
from tritonnet.kernels._errors import CompilerError
from tritonnet.kernels._launch import launch
from tritonnet.kernels.cpu import compiler, driver, features

PATHS = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])


@triton.jit
def _double_kernel(x_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x_ptr + i, tl.load(x_ptr + i, mask=i < n) * 2, mask=i < n)


@triton.jit
def _fused_kernel(x_ptr, out_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i)
    tl.store(out_ptr + i, x * x - 1.0)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder of Triton's."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def backend():
    return compiler.CPUBackend(driver.target())


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_nothing_is_compiled_or_looked_for_at_import():
    program = """
import subprocess
def refuse(*args, **kwargs): raise AssertionError(f"ran {args}")
subprocess.Popen.__init__ = refuse
import tritonnet, tritonnet.kernels.cpu.compiler, tritonnet.kernels.cpu.driver, tritonnet.kernels.cpu.active
"""
    environment = os.environ | {"PYTHONPATH": PATHS, "PATH": "", "CC": "no-such-compiler"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=300)


def test_no_compiler_on_the_path(monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CompilerError, match=r"none of gcc, cc, clang is on the path; install gcc"):
        compiler.c_compiler()


def test_cc_names_no_compiler(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler -m64")
    with pytest.raises(CompilerError, match=r"CC=no-such-compiler -m64 cannot be run"):
        compiler.c_compiler()
    driver._pool.cache_clear()
    assert "no-such-compiler" in cpu.unavailable()
    monkeypatch.delenv("CC")
    assert cpu.unavailable() == ""


def test_cc_may_have_arguments(tmp_path, monkeypatch):
    plain = compiler.c_compiler()
    wrapper = script(tmp_path / "wrapper", f'shift; exec {" ".join(plain.command)} "$@"')
    monkeypatch.setenv("CC", f"{wrapper} --cached")
    assert compiler.c_compiler().command == (wrapper, "--cached")
    assert compiler.c_compiler().version == plain.version
    assert compiler.build("one", "int one(void) { return 1; }", "-shared", "-fPIC")[:4] == b"\x7fELF"


def test_a_failing_compiler_leaves_nothing_behind(cache, tmp_path, monkeypatch):
    """The error names kernel, command and cause; the next compiler starts from a clean cache."""
    cpu.unavailable()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(compiler.tempfile, "tempdir", str(temporary))
    lines = 'echo "kernel.c:1:1: error: no luck" >&2; for i in $(seq 50); do echo "line $i"; done; exit 7'
    failing = script(tmp_path / "failing", f'case "$1" in --version) echo failing 1.0;; *) {lines};; esac')
    monkeypatch.setenv("CC", failing)
    x = torch.ones(8)
    with pytest.raises(CompilerError) as raised:
        launch(_double_kernel, (1,), x, 8, BLOCK=8)
    message = str(raised.value)
    assert message.startswith("_double_kernel: the C compiler failed with exit status 7\n")
    assert failing in message and "-march=native" in message
    assert "error: no luck" in message and "line 5" in message
    assert "line 45" not in message and "more lines" in message
    left = [name for name in files(cache) if name.startswith("_double_kernel")]
    assert not [name for name in left if name.endswith((".so", ".json"))]
    assert not list(temporary.iterdir())
    assert (x == 1).all()
    monkeypatch.delenv("CC")
    launch(_double_kernel, (1,), x, 8, BLOCK=8)
    assert (x == 2).all()
    assert "_double_kernel.so" in files(cache)
    assert not list(temporary.iterdir())


def test_a_compiler_that_writes_nothing_has_failed(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", script(tmp_path / "silent", "exit 0"))
    with pytest.raises(
        CompilerError, match=r"quiet: the C compiler failed with exit status 0(.|\n)*it printed nothing"
    ):
        compiler.build("quiet", "int x;")


def test_the_key_holds_processor_compiler_and_sources(backend, monkeypatch):
    keys = {backend.hash()}
    assert backend.hash() in keys
    with monkeypatch.context() as patch:
        patch.setattr(features, "fingerprint", lambda: ("x86_64", "another processor", "avx2"))
        keys.add(backend.hash())
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "c_compiler", lambda: compiler.CCompiler(("gcc",), "gcc 99"))
        keys.add(backend.hash())
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "flags", lambda fp_fusion: ("-O0",))
        keys.add(backend.hash())
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "sources_hash", lambda: "other sources")
        keys.add(backend.hash())
    assert len(keys) == 5


def test_the_key_holds_the_options(backend):
    given = [{}, {"enable_fp_fusion": False}, {"enable_fp_fusion": True, "debug": True}, {"num_warps": 8}]
    assert len({backend.parse_options(options).hash() for options in given}) == len(given)
    assert backend.parse_options({}).hash() == backend.parse_options({}).hash()


def test_features_tell_processors_apart(monkeypatch):
    assert features.fingerprint()[0] == features.machine()
    assert len(features.flags()) > 3 and list(features.flags()) == sorted(features.flags())
    assert features.name() == f"cpu_{features.instruction_set()}_{features.cores()}c"
    assert features.l2_bytes() >= 128 << 10


def test_what_kernels_share_is_compiled_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    fused, apart = (compiler.linked(*compiler.flags(fusion)) for fusion in (True, False))
    assert fused != apart and Path(fused).read_bytes() != Path(apart).read_bytes()
    monkeypatch.setattr(compiler, "build", None)
    assert compiler.linked(*compiler.flags(True)) == fused


def test_flags_are_plain():
    """Nothing that lets the compiler assume away NaN, infinities, signed zeros, traps or an order of operations."""
    for fusion in (True, False):
        given = compiler.flags(fusion)
        assert not [f for f in given if any(word in f for word in ("fast-math", "unsafe", "finite", "signed-zeros"))]
        assert not [f for f in given if any(word in f for word in ("trapping", "associative", "reciprocal", "openmp"))]
        assert f"-ffp-contract={'fast' if fusion else 'off'}" in given


def test_every_option_of_tritons_own_backends_is_accepted(backend):
    options = backend.parse_options(
        dict.fromkeys(CUDAOptions.__dataclass_fields__, None) | {"num_warps": 8, "unknown": 1}
    )
    assert set(CUDAOptions.__dataclass_fields__) <= set(vars(options))
    assert options.num_warps == 8 and options.default_dot_input_precision == "ieee"
    assert {"instrumentation_mode", "fpsan_homomorphic_casts"} <= set(vars(options))
    assert "unknown" not in vars(options)


def test_fp_fusion_reaches_the_kernel():
    x, out = torch.full((64,), 1 + 2.0**-12), torch.empty(64)
    launch(_fused_kernel, (1,), x, out, BLOCK=64, enable_fp_fusion=True)
    assert (out.double() == 2.0**-11 + 2.0**-24).all()
    launch(_fused_kernel, (1,), x, out, BLOCK=64, enable_fp_fusion=False)
    assert (out == 2.0**-11).all()


def test_a_second_process_compiles_nothing(cache, tmp_path):
    """The libraries are in Triton's cache: a fresh process launches with no compiler that works."""
    program = tmp_path / "program.py"
    program.write_text(
        "import torch, triton, triton.language as tl\n"
        "from tritonnet.kernels._launch import launch\n"
        "@triton.jit\n"
        "def _triple_kernel(x_ptr, BLOCK: tl.constexpr):\n"
        "    i = tl.arange(0, BLOCK)\n"
        "    tl.store(x_ptr + i, tl.load(x_ptr + i) * 3)\n"
        "x = torch.ones(8)\n"
        "launch(_triple_kernel, (1,), x, BLOCK=8)\n"
        "assert (x == 3).all()\n"
    )
    real = compiler.c_compiler()
    log = tmp_path / "log"
    counting = script(
        tmp_path / "counting", f'[ "$1" = --version ] || echo built >> {log}; exec {" ".join(real.command)} "$@"'
    )
    environment = os.environ | {"PYTHONPATH": PATHS, "CC": counting}
    for builds in (2, 2):
        subprocess.run([sys.executable, str(program)], env=environment, check=True, timeout=300)
        assert log.read_text().count("built") == builds, "the pool and the kernel, once"
