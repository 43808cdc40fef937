"""What is compiled: of all launches of the examples those that show every kernel, at its most demanding."""

import functools
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
import triton
from triton.compiler import ASTSource, make_backend
from triton.runtime.jit import create_function_from_signature

from tests.kernels.examples import examples
from tritonnet.kernels import _tune
from tritonnet.kernels._errors import dtype_name

from .devices import WHOLE, Device
from .recording import Launch, Pointer, recording

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
SIZES = (64, 8, 1)


@dataclass(frozen=True)
class Build:
    """A kernel specialised for a launch, and a device to compile it for."""

    device: Device
    launch: Launch
    source: ASTSource
    options: dict[str, Any]

    @functools.cached_property
    def key(self) -> str:
        """What its result depends on, known without compiling it."""
        parts = (triton.__version__, self.source.hash(), str(self.device), sorted(self.options.items()))
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    @property
    def name(self) -> str:
        """Its file and the kernel: "conv2d.correlate.correlate_direct"."""
        function = self.launch.kernel.fn
        file = function.__module__.removeprefix("tritonnet.kernels.")
        return f"{file}.{function.__name__.removeprefix('_').removesuffix('_kernel')}"

    def __str__(self) -> str:
        pointers = ", ".join(
            str(arg.dtype).removeprefix("torch.") for arg in self.launch.args if isinstance(arg, Pointer)
        )
        constexprs = ", ".join(f"{name}={value}" for name, value in self.launch.constexprs.items())
        return f"{self.name}({pointers}; {constexprs}) for {self.device.name}"


def build(device: Device, launch: Launch) -> Build:
    """Specialises as `JITFunction.run` does on that device."""
    kernel, given = launch.kernel, {"debug": False, **launch.constexprs}
    backend, specialise = _specialiser(device, kernel)
    bound, specialization, extra = specialise(*launch.args, **given)
    options, signature, constants, attrs = kernel._pack_args(backend, given, bound, specialization, extra)
    return Build(device, launch, ASTSource(kernel, signature, constants, attrs), vars(options))


@functools.cache
def _specialiser(device: Device, kernel: Any) -> tuple[Any, Any]:
    backend = make_backend(device.compiles_for)
    return backend, create_function_from_signature(kernel.signature, kernel.params, backend)


def builds(device: Device) -> list[Build]:
    """What is compiled for a device: of each kernel the most demanding launch in float32 and bfloat16, and as few
    others as show each value of each constexpr; on WHOLE every tile, the most demanding launch in every dtype, and each
    value in every dtype but float16, in which nothing but loads and stores differs from bfloat16."""
    whole = device.name == WHOLE
    shown: dict[str, dict[str, Shown]] = defaultdict(dict)
    for dtype in DTYPES if whole else DTYPES[:2]:
        for launch in launches(device, dtype):
            each = build(device, launch)
            of = shown[each.name].setdefault(each.key, Shown(each))
            of.dtypes.add(dtype)
            of.items |= {(item, dtype if whole and dtype != torch.float16 else None) for item in variant(launch)}
            if whole:
                of.items.add((tile(launch), None))
    chosen = [each for of_kernel in shown.values() for each in _cover(list(of_kernel.values()))]
    chosen += [build(device, launch) for launch in measured_launches(device)]
    return list({each.key: each for each in chosen}.values())


@dataclass
class Shown:
    """A build, in the examples of which dtypes it is launched, and what it shows of its kernel."""

    build: Build
    dtypes: set[torch.dtype] = field(default_factory=set)
    items: set[Any] = field(default_factory=set)


def _cover(candidates: list[Shown]) -> list[Build]:
    """The most demanding candidate in each dtype, and few others that show all that there is."""
    candidates.sort(key=lambda each: demand(each.build.launch), reverse=True)
    first = [next((each for each in candidates if dtype in each.dtypes), None) for dtype in DTYPES]
    chosen = [each for each in first if each is not None]
    left = set[Any]().union(*(each.items for each in candidates)).difference(*(each.items for each in chosen))
    while left:
        chosen.append(max(candidates, key=lambda each: len(each.items & left)))
        left -= chosen[-1].items
    return [each.build for each in chosen]


def launches(device: Device, dtype: torch.dtype) -> Iterator[Launch]:
    """Every launch of every example: at all sizes, with offsets beyond 32 bits, and in TF32 where that is a choice."""
    with mock.patch.object(torch.version, "hip", "6.0" if device.amd else None), recording(device.target) as record:
        for example in examples():
            for n in SIZES:
                yield from record(example, dtype, n)
            yield from record(example, dtype, SIZES[0], far)
            if dtype == torch.float32:
                with other_precision():
                    yield from record(example, dtype, SIZES[0])


def measured_launches(device: Device) -> Iterator[Launch]:
    """What is launched with the tiles that were measured on a model of the device (kernels/configs/)."""
    for path in sorted(_tune._CONFIGS.glob("*.json")):
        if not device.is_model(path.stem):
            continue
        for op, entries in _tune.table(path.stem).items():
            for entry in entries:
                yield from with_tile(device, op, entry)


def with_tile(device: Device, op: str, entry: dict[str, Any]) -> Iterator[Launch]:
    """The launches of all examples that take the tile of `entry`, where `op` asks for one of its dtype and layout."""

    def measured(name: str, _: _tune.Target, dtype: torch.dtype, sizes: Any, layout: str = "") -> Any:
        alike = (name, dtype_name(dtype), layout) == (op, entry["dtype"], entry.get("layout", ""))
        return entry["tile"] if alike else None

    with recording(device.target, measured) as record:
        for example in examples():
            for launch in record(example, getattr(torch, entry["dtype"]), 8):
                if entry["tile"].items() <= launch.constexprs.items():
                    yield launch


@contextmanager
def other_precision() -> Iterator[None]:
    """TF32 where float32 is multiplied as such, and the other way round."""
    switches = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [switch.fp32_precision for switch in switches]
    for switch, precision in zip(switches, before, strict=True):
        switch.fp32_precision = "ieee" if precision == "tf32" else "tf32"
    try:
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision


def far(_: str, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor whose outermost dimension reaches past 2^31 elements."""
    if tensor.numel() <= 1:
        return tensor
    strides = list(tensor.stride())
    outermost = max(range(tensor.dim()), key=lambda dim: (tensor.shape[dim] > 1, strides[dim]))
    strides[outermost] = (1 << 31) + 16
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device)


def demand(launch: Launch) -> tuple[float, int, int]:
    """How much a launch asks of a thread, then of a program; then how many of its numbers are multiples of 16."""
    elements = math.prod(value for name, value in launch.constexprs.items() if name.startswith("BLOCK"))
    divisible = sum(isinstance(arg, int) and arg % 16 == 0 for arg in launch.args)
    return elements / launch.constexprs.get("num_warps", 4), elements, divisible


def variant(launch: Launch) -> list[tuple[str, str]]:
    """What makes another kernel of it, sizes aside: constexprs, missing tensors, the tensors' dtypes, wide strides."""
    items = [(name, str(value)) for name, value in launch.constexprs.items() if not _is_size(name, value)]
    wide = any(type(arg) is int and abs(arg) >= 1 << 31 for arg in launch.args)
    dtypes = [arg.dtype for arg in launch.args if isinstance(arg, Pointer)]
    return [*items, ("missing", str([arg is None for arg in launch.args])), ("wide", str(wide)), ("of", str(dtypes))]


def tile(launch: Launch) -> tuple[tuple[str, Any], ...]:
    return tuple((name, value) for name, value in launch.constexprs.items() if _is_size(name, value))


def _is_size(name: str, value: Any) -> bool:
    return name.startswith(("BLOCK", "GROUP", "SPLIT", "num_")) or (type(value) is int and value > 8)
