"""Launches: the first call of a key compiles and binds, a repeated one looks its plan up and calls the launcher.

This file alone knows how Triton is driven: which private names a compiled kernel is run through, and on which device.
"""

import os
from collections.abc import Callable
from typing import Any

import torch
from triton import knobs

from . import cpu
from ._errors import CaptureError, LayoutError

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
"""Whether Triton's interpreter runs the kernels: decided, as by Triton itself, when the process starts."""

Grid = tuple[int, ...]
Run = Callable[[int, int, int, list[Any], tuple[Any, ...]], None]

ASSERTED = {"debug": True, "sanitize_overflow": False}
"""Options of a launch whose kernel asserts: its `tl.device_assert` are compiled, no checks of integer arithmetic."""

_PLANS: dict[Any, Run] = {}
_MAX_PLANS = 4096


def launch(kernel: Any, grid: Grid, *args: Any, **constexprs: Any) -> Run | None:
    """Runs `kernel` over `grid` on the device of its first tensor.

    Args:
        kernel: a `@triton.jit` function whose parameters are `args` in order, then the constexprs.
        grid: up to three sizes; a launch of no programs does nothing.
        args: tensors, ints, floats or None. A float reaches the kernel as float32 unless its parameter says "fp64".
        constexprs: by name; also num_warps, num_stages, debug.

    Returns: the plan, for whoever keeps it by a key of their own: `plan(x, y, z, values, args)` launches again, as long
        as dtypes, integers, alignment of pointers to 16 bytes, constexprs and device are these. `values` are the args
        with pointers in the place of tensors.

    Raises: CompilerError and UnsupportedKernelError from the first call of a kernel on a CPU;
        KernelAssertionError where a `tl.device_assert` does not hold on a CPU (with `debug=True`); LayoutError for a
        tensor without memory.
    """
    x, y, z = (*grid, 1, 1)[:3]
    if x * y * z == 0:
        return None
    # The key holds all that Triton specialises on: integers by value, pointers by dtype and alignment, constexprs.
    values: list[Any] = []
    key: list[Any] = [kernel.fn]
    device = None
    for arg in args:
        kind = type(arg)
        if kind is int or arg is None:
            values.append(arg)
            key.append(arg)
        elif kind is float:
            values.append(arg)
            key.append(float)
        else:
            pointer = arg.data_ptr()
            if pointer == 0 and arg.numel():
                raise LayoutError(
                    f"{kernel.__name__}: a {type(arg).__name__} of shape {tuple(arg.shape)} without memory"
                )
            values.append(pointer)
            key.append((arg.dtype, pointer & 15 == 0))
            device = device or arg.device
    key.append(device)
    key.extend(constexprs.values())
    plan_key = tuple(key)
    run = _PLANS.get(plan_key)
    if run is None:
        run = _PLANS[plan_key] = _plan(kernel, device, args, constexprs)
        if len(_PLANS) > _MAX_PLANS:
            del _PLANS[next(iter(_PLANS))]
    run(x, y, z, values, args)
    return run


def plan_count() -> int:
    """How many launch plans this process holds (at most 4096; the oldest goes first)."""
    return len(_PLANS)


def _plan(kernel: Any, device: torch.device | None, args: tuple[Any, ...], constexprs: dict[str, Any]) -> Run:
    if device is None:
        raise TypeError(f"{kernel.__name__}: a launch needs a tensor among its arguments")
    if INTERPRETED:
        return _plan_interpreted(kernel, constexprs)
    if device.type == "cpu":
        return cpu.bind(kernel, args, constexprs)
    return _plan_cuda(kernel, device, args, constexprs)


def _plan_interpreted(kernel: Any, constexprs: dict[str, Any]) -> Run:
    """Triton's interpreter, for stepping through a kernel with pdb."""

    def run(x: int, y: int, z: int, values: list[Any], args: tuple[Any, ...]) -> None:
        kernel[(x, y, z)](*args, **constexprs)

    return run


def _plan_cuda(kernel: Any, device: torch.device, args: tuple[Any, ...], constexprs: dict[str, Any]) -> Run:
    """Triton's own launcher, called as `JITFunction.run` calls it but without its binding of arguments."""
    if torch.cuda.is_current_stream_capturing():
        raise CaptureError(
            f"{kernel.__name__}: first launch of this shape inside a CUDA graph capture, where nothing can be "
            "compiled; run the step once before capturing it"
        )
    index = device.index
    with torch.cuda.device(device):
        compiled = kernel.warmup(*args, grid=(1,), **constexprs)
        compiled._init_handles()
    constants = [constexprs[name] for name in kernel.arg_names[len(args) :]]
    function, metadata = compiled.function, compiled.packed_metadata

    def run(x: int, y: int, z: int, values: list[Any], args: tuple[Any, ...]) -> None:
        if index != torch.cuda.current_device():
            with torch.cuda.device(index):
                return run(x, y, z, values, args)
        stream = torch._C._cuda_getCurrentRawStream(index)
        bound = (*values, *constants)
        described = compiled.launch_metadata((x, y, z), stream, *bound)
        enter, leave = knobs.runtime.launch_enter_hook, knobs.runtime.launch_exit_hook
        compiled.run(x, y, z, stream, function, metadata, described, enter, leave, *bound)

    return run
