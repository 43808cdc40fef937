"""`activate`: Triton itself, and so other people's kernels, launches on CPU tensors through this backend."""

import re
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.compiler import CompiledKernel
from triton.runtime.autotuner import Autotuner
from triton.runtime.driver import DriverConfig
from triton.runtime.jit import JITFunction

from .._errors import DeviceError, UnsupportedKernelError
from . import compiler, driver

_DESCRIPTOR = re.compile(r"tensordesc(?:_im2col)?<[^\[>]*\[([^\]]*)\](?:.*?input_rank=(\d+))?")

_launch = threading.local()
"""`on_cpu`: whether the launch under way in this thread is one for the CPU."""


def activate() -> None:
    """From now on `kernel[grid](...)` on CPU tensors runs through this backend; CUDA tensors keep going to the GPU.

    The arguments of each launch decide. Where there is no GPU, `triton.runtime.driver.active` answers with the CPU.
    torch's has_triton() and torch.compile see no difference.
    """
    driver.target()
    if not _replaced:
        for owner, name, replace in _REPLACEMENTS:
            _replaced[owner, name] = vars(owner)[name]
            setattr(owner, name, replace(vars(owner)[name]))


def deactivate() -> None:
    """Undoes `activate`."""
    for (owner, name), original in _replaced.items():
        setattr(owner, name, original)
    _replaced.clear()


class _On:
    """Within the block, launches of this thread are for the CPU, or are not."""

    def __init__(self, cpu: bool) -> None:
        self._cpu = cpu

    def __enter__(self) -> None:
        self._before = getattr(_launch, "on_cpu", False)
        _launch.on_cpu = self._cpu

    def __exit__(self, *_: object) -> None:
        _launch.on_cpu = self._before


def _devices(values: Iterable[Any]) -> Iterator[str]:
    """The device types of tensors, also in tuples and behind descriptors."""
    for value in values:
        if isinstance(value, (tuple, list)):
            yield from _devices(value)
        elif not isinstance(value, (int, float, str)):
            device = getattr(getattr(value, "base", value), "device", None)
            if isinstance(device, torch.device):
                yield device.type


def _by_arguments(run: Callable[..., Any]) -> Callable[..., Any]:
    """Launches for the CPU where every tensor is there: a GPU's kernel may read pinned memory."""

    def chosen(self: Any, *args: Any, **kwargs: Any) -> Any:
        types = set(_devices((*args, *kwargs.values())))
        if not types:
            return run(self, *args, **kwargs)
        if "meta" in types:
            raise DeviceError("a launch on meta tensors: they have no memory to compute on")
        with _On(types == {"cpu"}):
            return run(self, *args, **kwargs)

    return chosen


def _by_target(init_handles: Callable[[Any], None]) -> Callable[[Any], None]:
    """A compiled kernel loads for the target that it was compiled for. Ours is loaded once it has a launcher."""

    def chosen(self: Any) -> None:
        on_cpu = self.metadata.target.backend == compiler.BACKEND
        if not on_cpu or self._run is None:
            with _On(on_cpu):
                init_handles(self)

    return chosen


def _by_thread(active: property) -> property:
    """Triton's active driver: the CPU's within a launch for the CPU, and where there is no other."""

    def chosen(self: DriverConfig) -> Any:
        if getattr(_launch, "on_cpu", False):
            return _driver
        try:
            return active.__get__(self)
        except RuntimeError:
            return _driver

    return property(chosen)


_REPLACEMENTS: tuple[tuple[type, str, Callable[[Any], Any]], ...] = (
    (DriverConfig, "active", _by_thread),
    (JITFunction, "run", _by_arguments),
    (Autotuner, "run", _by_arguments),
    (CompiledKernel, "_init_handles", _by_target),
)
_replaced: dict[tuple[type, str], Any] = {}


class _Utils:
    """What Triton and its tutorials ask of a device."""

    def get_device_properties(self, device: Any) -> dict[str, int]:
        return {
            "max_shared_mem": 1 << 40,
            "multiprocessor_count": torch.get_num_threads(),
            "max_num_regs": 1 << 16,
            "warpSize": 1,
        }

    def load_binary(self, name: str, kernel: bytes, shared: int, device: Any) -> tuple[None, None, int, int, int]:
        """Nothing: the launcher loads the library. No module, so that no other driver is asked to unload it."""
        return None, None, 1, 0, 1 << 30

    def unload_module(self, module: Any) -> None:
        pass


class _Event:
    def __init__(self, enable_timing: bool = True) -> None:
        self._at = 0.0

    def record(self) -> None:
        self._at = time.perf_counter()

    def elapsed_time(self, end: "_Event") -> float:
        return (end._at - self._at) * 1e3


class _Interface:
    """The part of a torch device module that `triton.testing` uses."""

    Event = _Event

    @staticmethod
    def synchronize() -> None:
        pass

    @staticmethod
    def current_device() -> str:
        return compiler.BACKEND


class CPUDriver(DriverBase):
    """Triton's driver interface."""

    def __init__(self) -> None:
        self.utils, self.launcher_cls = _Utils(), Launcher

    @classmethod
    def is_active(cls) -> bool:
        """Never by itself: Triton would take this driver for the machine's default, or for a second one."""
        return False

    def map_python_to_cpp_type(self, ty: str) -> str:
        return ty

    def get_current_target(self) -> GPUTarget:
        return driver.target()

    def get_current_device(self) -> str:
        """A key of our own: Triton's cache of compiled kernels is keyed by the device alone."""
        return compiler.BACKEND

    def set_current_device(self, device: Any) -> None:
        pass

    def get_current_stream(self, device: Any) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_device_interface(self) -> type[_Interface]:
        return _Interface

    def get_empty_cache_for_benchmark(self) -> None:
        return None

    def clear_cache(self, cache: Any) -> None:
        pass

    def get_benchmarker(self) -> Callable[..., list[float]]:
        return _benchmark


def _benchmark(call: Callable[[], Any], *, quantiles: Sequence[float] = (0.5, 0.2, 0.8), **_: Any) -> list[float]:
    """Milliseconds at the quantiles, of a few dozen calls or a tenth of a second."""
    call()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 5 or (len(times) < 50 and time.perf_counter() - start < 0.1):
        before = time.perf_counter()
        call()
        times.append((time.perf_counter() - before) * 1e3)
    percentiles = statistics.quantiles(times, n=100, method="inclusive")
    return [percentiles[min(98, max(0, round(q * 100) - 1))] for q in quantiles]


class Launcher:
    """What Triton calls to run a compiled kernel: flattens tuples and descriptors into the kernel's own arguments."""

    def __init__(self, src: Any, metadata: Any) -> None:
        self._signature = tuple(src.signature.values())
        plain, ranks = _count(self._signature)
        self._flags = 0
        if ranks:
            # How many flags a descriptor carries depends on Triton's version: what the kernel takes beyond the rest.
            beyond = len(metadata.args) - plain - sum(1 + 4 * rank for rank in ranks)
            self._flags, left = divmod(beyond, len(ranks))
            if left or not 0 <= self._flags <= len(_FLAGS):
                raise UnsupportedKernelError(f"{metadata.name}: cannot tell what a tensor descriptor stands for")
        types = list(_types(self._signature, self._flags))
        self._run = driver.launcher(driver.library(metadata.hash, src.name), metadata, types)

    def __call__(self, x: int, y: int, z: int, *given: Any) -> None:
        _stream, _function, _packed, described, enter, leave, *args = given
        if x * y * z == 0:
            return
        values = list(_values(self._signature, args, self._flags))
        if enter is not None:
            enter(described)
        self._run(x, y, z, values, args)
        if leave is not None:
            leave(described)


_FLAGS: tuple[Callable[[Any], bool], ...] = (
    lambda descriptor: descriptor.padding == "nan",
    lambda descriptor: getattr(descriptor, "round_f32_to_tf32", False),
)


def _rank(kind: str) -> int:
    """The rank of a descriptor type such as "tensordesc<fp32[64, 64]>"; 0 of another type."""
    match = _DESCRIPTOR.match(kind)
    return 0 if match is None else int(match[2] or match[1].count(",") + 1)


def _count(signature: Iterable[Any]) -> tuple[int, list[int]]:
    """How many arguments stand for themselves, and the ranks of the descriptors."""
    flat = [kind for kind in _leaves(signature) if kind != "constexpr"]
    ranks = [rank for rank in map(_rank, flat) if rank]
    return len(flat) - len(ranks), ranks


def _leaves(signature: Iterable[Any]) -> Iterator[str]:
    for kind in signature:
        if isinstance(kind, (tuple, list)):
            yield from _leaves(kind)
        else:
            yield kind


def _types(signature: Iterable[Any], flags: int) -> Iterator[str]:
    for kind in _leaves(signature):
        if rank := _rank(kind):
            yield from ("*", *["i64"] * (2 * rank), *["i1"] * flags, *["i32"] * rank, *["i64"] * rank)
        elif kind != "constexpr":
            yield kind


def _values(signature: Iterable[Any], args: Iterable[Any], flags: int) -> Iterator[Any]:
    for kind, arg in zip(signature, args, strict=True):
        if isinstance(kind, (tuple, list)):
            yield from _values(kind, arg, flags)
        elif kind == "constexpr":
            continue
        elif kind.startswith("*"):
            yield arg if isinstance(arg, int) else arg.data_ptr()
        elif kind.startswith("tensordesc"):
            marks = [mark(arg) for mark in _FLAGS[:flags]]
            yield from (arg.base.data_ptr(), *arg.shape, *arg.strides, *marks, *arg.shape, *arg.strides)
        else:
            yield arg


_driver = CPUDriver()
