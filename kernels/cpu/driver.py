"""The running half of the backend: loading and launching kernels, for the project's own launches and for Triton's."""

import ctypes
import functools
import operator
import struct
from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton
from triton import knobs
from triton.backends import Backend, backends
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend
from triton.runtime.cache import get_cache_manager
from triton.runtime.jit import JITFunction, create_function_from_signature

from .._errors import CompilerError, KernelAssertionError, UnsupportedKernelError
from . import compiler, features

_Run = Callable[[int, int, int, Sequence[Any], Any], None]

_NO_MEMORY, _TOO_MANY = -1, -2


class _Kernel(ctypes.Structure):
    """The `kernel` of pool.c."""

    _fields_ = (("program", ctypes.c_void_p), ("arena_bytes", ctypes.c_size_t), ("program_ns", ctypes.c_int64))


@functools.cache
def target() -> GPUTarget:
    """The backend's target. Makes the backend known to Triton, which nothing needs before the first kernel."""
    from .active import CPUDriver

    backends[compiler.BACKEND] = Backend(compiler.CPUBackend, CPUDriver)
    return GPUTarget(compiler.BACKEND, features.instruction_set(), 1)


@functools.cache
def _pool() -> Callable[..., int]:
    """`tn_run` of pool.c, compiled once and kept in Triton's cache folder."""
    run = ctypes.CDLL(compiler.kept("pool", "so", "-std=gnu11", "-O2", "-fPIC", "-shared", "-pthread")).tn_run
    run.argtypes = (ctypes.c_void_p, ctypes.c_int, *[ctypes.c_int64] * 3, ctypes.c_char_p)
    run.restype = ctypes.c_int
    return run


def unavailable() -> str:
    """Why no kernel can be compiled here, with the remedy; "" where one can."""
    try:
        _pool()
    except CompilerError as error:
        return str(error)
    except OSError as error:
        return f"a library cannot be kept or loaded ({error}); set TRITON_CACHE_DIR to a folder that may hold programs"
    return ""


def bind(kernel: JITFunction, args: tuple[Any, ...], constexprs: dict[str, Any]) -> _Run:
    """Compiles `kernel` for these arguments, or finds it in Triton's cache, and returns what launches it again.

    Specialises as `JITFunction.run` does, for an explicit target: Triton's active driver is neither asked nor changed.

    Args:
        args: the kernel's first parameters in order: tensors, ints, floats, None.
        constexprs: its other parameters by name, and options (num_warps, debug, ...).

    Returns: `run(x, y, z, values, args)`, good for every launch that specialises alike. `values` has, in the order of
        args, ints, floats, None and data pointers; `args` is not looked at.

    Raises: CompilerError, UnsupportedKernelError; and `run` raises KernelAssertionError.
    """
    backend = make_backend(target())
    given = dict(constexprs)
    given["debug"] = given.get("debug", kernel.debug) or knobs.runtime.debug
    specialise = create_function_from_signature(kernel.signature, kernel.params, backend)
    bound, specialization, extra = specialise(*args, **given)
    options, signature, constants, attrs = kernel._pack_args(backend, given, bound, specialization, extra)
    source = ASTSource(kernel, signature, constants, attrs)
    compiled = triton.compile(source, target=target(), options=vars(options))
    types = list(signature.values())[: len(args)]
    kept = [i for i, kind in enumerate(types) if kind != "constexpr"]
    start = launcher(library(compiled.hash, source.name), compiled.metadata, [types[i] for i in kept])
    if len(kept) == len(types):
        return start
    pick = _picker(kept)

    def run(x: int, y: int, z: int, values: Sequence[Any], args: Any) -> None:
        start(x, y, z, pick(values), args)

    return run


def library(key: str, name: str) -> str:
    """The path of a compiled kernel in Triton's cache. Unique, as it must be: loading goes by path, not by content."""
    return get_cache_manager(key).get_file(f"{name[:150]}.so")


def launcher(path: str, metadata: Any, types: Sequence[str]) -> _Run:
    """Loads a kernel and returns `run(x, y, z, values, args)`, where `values` has one entry for each of `types`.

    types: Triton's ("*fp32", "i32", "fp64", ...), of the arguments that are not constants.

    Raises: UnsupportedKernelError where the compiled kernel takes another number of arguments.
    """
    if len(types) != len(metadata.args):
        raise UnsupportedKernelError(
            f"{metadata.name}: the compiled kernel takes {len(metadata.args)} arguments ({', '.join(metadata.args)}), "
            f"the launch passes {len(types)} ({', '.join(types)})"
        )
    tn_run, threads = _pool(), torch.get_num_threads
    program = ctypes.cast(ctypes.CDLL(path).tn_program, ctypes.c_void_p)
    kernel = _Kernel(program.value, metadata.arena, 0)
    address = ctypes.addressof(kernel)
    pack = struct.Struct("=" + "".join(map(_slot, types))).pack

    def run(x: int, y: int, z: int, values: Sequence[Any], args: Any = None) -> None:
        # The packed arguments belong to this call: several threads may launch one kernel at the same time.
        failed = tn_run(address, threads(), x, y, z, pack(*values))
        if failed:
            raise _failure(metadata, kernel.arena_bytes, (x, y, z), failed)

    return run


def _failure(metadata: Any, arena_bytes: int, grid: tuple[int, int, int], failed: int) -> Exception:
    if failed == _NO_MEMORY:
        return MemoryError(f"{metadata.name}: no memory for {arena_bytes} bytes of tiles in each thread")
    if failed == _TOO_MANY:
        return ValueError(f"{metadata.name}: a grid of {grid}; each size is at most 2147483647")
    return KernelAssertionError(f"{metadata.name}: {metadata.asserts[failed - 1]}")


def _slot(kind: str) -> str:
    """The struct code of one argument: pointers and integers in 64 bits, floats of any width as double."""
    if kind.startswith(("fp", "bf")):
        return "d"
    return "Q" if kind.startswith("*") or kind == "u64" else "q"


def _picker(kept: list[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    if len(kept) > 1:
        return operator.itemgetter(*kept)
    return lambda values: [values[i] for i in kept]
