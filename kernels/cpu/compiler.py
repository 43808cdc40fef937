"""The compiler half of the backend: TTIR to C (lower.py), C to a shared library (the machine's C compiler)."""

import functools
import hashlib
import importlib.util
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

from triton import knobs
from triton._C.libtriton import ir, passes
from triton.backends.compiler import BaseBackend, GPUTarget
from triton.backends.nvidia.compiler import CUDAOptions
from triton.runtime.cache import get_cache_manager

from .._errors import CompilerError
from . import features

BACKEND = "tritonnet_cpu"
"""The backend's key and its target's name; never "cpu", a word that other projects look for."""

_HERE = pathlib.Path(__file__).parent
_REMEDY = "install gcc or clang (apt install gcc, or pip install ziglang), or name one in the environment variable CC"
_ERROR_LINES = 20
_LINKED = re.compile(r"\btn_(load_tile|dot|bits|pairs)_")


@dataclass(frozen=True)
class CCompiler:
    """A C compiler: how it is called, and what it says of its version."""

    command: tuple[str, ...]
    version: str


def c_compiler() -> CCompiler:
    """The C compiler that CC names, else the first of gcc, cc, clang on the path, else the one in the package ziglang.

    Raises: CompilerError where there is none, or where CC names a command that cannot be run.
    """
    return _c_compiler(os.environ.get("CC", ""), os.environ.get("PATH", ""))


@functools.cache
def _c_compiler(cc: str, path: str) -> CCompiler:
    commands: list[tuple[str, ...]] = [tuple(shlex.split(cc))] if cc.strip() else [("gcc",), ("cc",), ("clang",)]
    if not cc.strip() and importlib.util.find_spec("ziglang"):
        commands.append((sys.executable, "-m", "ziglang", "cc"))
    for command in commands:
        if shutil.which(command[0], path=path) is None:
            continue
        answer = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return CCompiler(command, answer.stdout.strip())
    tried = f"CC={cc} cannot be run" if cc.strip() else "none of gcc, cc, clang is on the path"
    raise CompilerError(f"no C compiler: {tried}; {_REMEDY}")


def flags(fp_fusion: bool) -> tuple[str, ...]:
    """What a kernel is compiled with.

    As plain as can be: no relative of -ffast-math, for NaN, infinities, signed zeros and the order of operations are
    the kernel's. -fno-trapping-math is left out too: with it gcc 12 miscompiles masked loops (README.md, traps).
    Of gcc's -O3 only the cost model of its vectorizer is worth its time: the rest takes 1.6 times as long to compile,
    for twice the code, none of it faster.
    """
    gcc = "Free Software Foundation" in c_compiler().version
    optimize = ("-O2", "-ftree-vectorize", "-fvect-cost-model=dynamic") if gcc else ("-O3",)
    native = "-mcpu=native" if features.machine() == "aarch64" else "-march=native"
    contract = "-ffp-contract=fast" if fp_fusion else "-ffp-contract=off"
    return ("-std=gnu11", *optimize, native, "-fno-math-errno", contract, "-w", "-fPIC", "-shared", f"-I{_HERE}")


def build(name: str, source: str, *options: str) -> bytes:
    """Compiles C to a shared library and returns its bytes; `options` are the compiler's, libraries too.

    Raises: CompilerError with the name, the command and the first lines of the compiler's output.
    """
    compiler = c_compiler()
    with tempfile.TemporaryDirectory(prefix="tritonnet-") as folder:
        stem = os.path.join(folder, name[:100])
        pathlib.Path(f"{stem}.c").write_text(source)
        command = [*compiler.command, f"{stem}.c", "-o", f"{stem}.so", *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        library = pathlib.Path(f"{stem}.so")
        if done.returncode == 0 and library.exists():
            return library.read_bytes()
    lines = done.stdout.splitlines()
    output = "\n".join(lines[:_ERROR_LINES]) or "(it printed nothing)"
    raise CompilerError(
        f"{name}: the C compiler failed with exit status {done.returncode}\n{shlex.join(command)}\n{output}"
        + (f"\n... {len(lines) - _ERROR_LINES} more lines" if len(lines) > _ERROR_LINES else "")
    )


def linked(*options: str) -> str:
    """The path of linked.c compiled with `options`: what kernels that move or multiply whole tiles are linked with.

    It is the greater part of what such kernels would else compile each.
    """
    return kept("linked", "o", *options, "-c")


def kept(stem: str, suffix: str, *options: str) -> str:
    """The path of what one of this folder's C files is compiled to; made once, and kept in Triton's cache."""
    key = repr((stem, sources_hash(), c_compiler(), features.fingerprint(), options))
    cache = get_cache_manager(hashlib.sha256(key.encode()).hexdigest())
    name = f"tritonnet_{stem}.{suffix}"
    path = cache.get_file(name)
    if path is None:
        path = cache.put(build(stem, (_HERE / f"{stem}.c").read_text(), *options), name, binary=True)
    return path


@functools.cache
def sources_hash() -> str:
    """A digest of the backend's own files: what they generate changes with them."""
    digest = hashlib.sha256()
    for path in sorted(_HERE.iterdir()):
        if path.suffix in (".py", ".h", ".c"):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


class Options(SimpleNamespace):
    """What a launch may set: every option of Triton's CUDA backend, so that any kernel's launch is accepted.

    The ones that mean something here: enable_fp_fusion (a * b + c in one rounding), debug and sanitize_overflow
    (`tl.device_assert`, checked arithmetic); num_warps, num_stages and their like are taken and have no effect.
    """

    def hash(self) -> str:
        return hashlib.sha256(repr(sorted(vars(self).items())).encode()).hexdigest()


def _default_options() -> dict[str, Any]:
    cuda = {name: field.default for name, field in CUDAOptions.__dataclass_fields__.items()}
    return cuda | {
        "enable_fp_fusion": knobs.language.default_fp_fusion,
        "num_stages": 1,
        "warp_size": 1,
        "supported_fp8_dtypes": (),
        "deprecated_fp8_dot_operand_dtypes": (),
        "default_dot_input_precision": "ieee",
        "allowed_dot_input_precisions": ("ieee", "tf32", "tf32x3", "bf16x3", "bf16x6"),
        "max_num_imprecise_acc_default": 0,
        "extern_libs": (),
        "backend_name": BACKEND,
        "instrumentation_mode": "",
        "fpsan_homomorphic_casts": False,
    }


class CPUBackend(BaseBackend):
    """Triton's compiler interface. Stages: ttir (simplified), c, so."""

    binary_ext = "so"

    @staticmethod
    def supports_target(target: GPUTarget) -> bool:
        return target.backend == BACKEND

    def hash(self) -> str:
        """Part of the key of Triton's cache: what a compiled kernel depends on besides itself and its options."""
        parts = (sources_hash(), c_compiler(), features.fingerprint(), flags(True))
        return f"{BACKEND}-{hashlib.sha256(repr(parts).encode()).hexdigest()}"

    @staticmethod
    def parse_attr(desc: str) -> list[Any]:
        """No attributes: divisibility by 16 would change nothing here but the number of builds."""
        return []

    def parse_options(self, opts: dict[str, Any]) -> Options:
        defaults = _default_options()
        given = {name: value for name, value in opts.items() if name in defaults and value is not None}
        return Options(**(defaults | given))

    def pack_metadata(self, metadata: Any) -> tuple[()]:
        return ()

    def get_codegen_implementation(self, options: Options) -> dict[str, Any]:
        return {"min_dot_size": lambda lhs, rhs: (1, 1, 1), "convert_custom_types": None}

    def get_module_map(self) -> dict[str, ModuleType]:
        from triton.language.extra.cuda import libdevice

        return {"triton.language.extra.libdevice": libdevice}

    def load_dialects(self, context: Any) -> None:
        pass

    def add_stages(self, stages: dict[str, Any], options: Options, language: Any = None) -> None:
        stages["ttir"] = lambda module, metadata: _simplify(module)
        stages["c"] = _to_c
        stages["so"] = lambda source, metadata: _to_library(source, metadata, options)


def _simplify(module: Any) -> Any:
    """Inlines calls, turns block pointers and descriptors into plain pointers, and cleans up."""
    pm = ir.pass_manager(module.context)
    passes.common.add_inliner(pm)
    if hasattr(passes.ttir, "add_rewrite_tensor_pointer"):
        passes.ttir.add_rewrite_tensor_pointer(pm)
    passes.ttir.add_rewrite_tensor_descriptor_to_pointer(pm)
    passes.common.add_canonicalizer(pm)
    passes.ttir.add_combine(pm)
    passes.ttir.add_reorder_broadcast(pm)
    passes.common.add_cse(pm)
    passes.ttir.add_triton_licm(pm)
    passes.common.add_symbol_dce(pm)
    passes.ttir.add_loop_unroll(pm)
    passes.common.add_canonicalizer(pm)
    passes.common.add_cse(pm)
    pm.run(module, "simplify")
    return module


def _to_c(module: Any, metadata: dict[str, Any]) -> str:
    from .lower import lower

    lowered = lower(module.str_nodebug())
    metadata["name"] = lowered.name
    metadata["args"] = lowered.args
    metadata["arena"] = lowered.arena
    metadata["asserts"] = lowered.asserts
    # What a program keeps close to it. Schedulers of other people's kernels divide by it: never zero.
    metadata["shared"] = max(lowered.arena, 64)
    return lowered.source


def _to_library(source: str, metadata: dict[str, Any], options: Options) -> bytes:
    given = flags(options.enable_fp_fusion)
    return build(metadata["name"], source, *given, *([linked(*given)] if _LINKED.search(source) else []), "-lm")
