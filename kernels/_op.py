"""Op: a launcher with its reference and what it declares; the one place that chooses the path of an operation."""

import functools
import inspect
import os
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch._C._dynamo.eval_frame import _FrameAction, _FrameExecStrategy, set_code_exec_strategy
from torch._subclasses.fake_tensor import FakeTensor

from . import cpu
from ._errors import DeviceError, DtypeError, LayoutError, TransformError, dtype_name
from ._launch import INTERPRETED

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

OPS: "dict[str, Op]" = {}
"""Every operation by name: tests, checker, bench and docs walk it."""

_BACKENDS = ("triton", "reference")


class use:
    """`use("reference")` makes operations run their references, `use("triton")` their kernels.

    Takes effect at once and lasts; as a context manager it lasts until the block ends.
    The environment variable TRITONNET_BACKEND names what a process starts with.

    Raises: ValueError for another name.
    """

    backend = "triton"

    def __init__(self, backend: str) -> None:
        if backend not in _BACKENDS:
            raise ValueError(f"use, or TRITONNET_BACKEND: got {backend!r}; the backends are {', '.join(_BACKENDS)}")
        self._before = use.backend
        use.backend = backend

    def __enter__(self) -> "use":
        return self

    def __exit__(self, *_: object) -> None:
        use.backend = self._before


use(os.environ.get("TRITONNET_BACKEND", "triton"))


def never_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps torch.compile out of a function and of all that it calls: one graph break, and no look at the launches.

    As torch.compiler.disable does, but that imports the whole compiler.
    """
    function._torchdynamo_disable = True  # type: ignore[attr-defined]
    function._torchdynamo_disable_msg = "tritonnet compiles its kernels itself"  # type: ignore[attr-defined]
    set_code_exec_strategy(function.__code__, _FrameExecStrategy(_FrameAction.SKIP, _FrameAction.SKIP))
    return function


class Op:
    """A launcher that can be called, and what everything else needs to know of it.

    reference: the same signature in plain torch, right in float64; it is what the kernel means.
    dtypes: of the first floating-point tensor among the arguments.
    inplace: names of parameters (tensors or lists of tensors) that the launcher writes; their version counters are
        bumped.
    tables: names of parameters, lists all, whose elements stand in a table of pointers, out of sight of the launch's
        arguments.
    kept: name of the keyword that hands in such a table, kept from an earlier call. All elements were looked at when it
        was made; the first of each list answers for its device and dtype.
    flops: floating-point operations of a call, from the same arguments.
    """

    def __init__(
        self,
        launcher: Callable[..., Any],
        reference: Callable[..., Any],
        dtypes: tuple[torch.dtype, ...],
        inplace: tuple[str, ...],
        tables: tuple[str, ...],
        flops: Callable[..., int] | None,
        kept: str | None = None,
    ) -> None:
        functools.update_wrapper(self, launcher)
        self.name = launcher.__name__
        self.launcher, self.reference = launcher, reference
        self.dtypes, self.inplace, self.tables, self.kept, self.flops = dtypes, inplace, tables, kept, flops
        self.signature = inspect.signature(launcher)
        parameters = list(self.signature.parameters)
        self._inplace_at = [(parameters.index(name), name) for name in inplace]

    @never_compiled
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._runs_here(args, kwargs):
            return self.reference(*args, **kwargs)
        try:
            result = self.launcher(*args, **kwargs)
        except RuntimeError:
            if torch._C._are_functorch_transforms_active():
                raise TransformError(self.name) from None
            raise
        for at, name in self._inplace_at:
            written = args[at] if at < len(args) else kwargs.get(name)
            if written is not None:
                torch.autograd.graph.increment_version(written)
        return result

    def _runs_here(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether the kernel takes this call; checks what holds for every operation on either path."""
        device, dtype = None, None
        values: Iterable[Any] = (*args, *kwargs.values()) if kwargs else args
        if self.kept is not None and kwargs.get(self.kept) is not None:
            named = (*zip(self.signature.parameters, args, strict=False), *kwargs.items())
            values = [value[0] if name in self.tables and value else value for name, value in named]
        for value in values:
            if isinstance(value, Tensor):
                tensors: Iterable[Tensor] = (value,)
            elif isinstance(value, (list, tuple)):
                tensors = (each for each in value if isinstance(each, Tensor))
            else:
                continue
            for tensor in tensors:
                if tensor.layout is not torch.strided or tensor.is_neg():
                    raise self._unreadable(tensor)
                if INTERPRETED and tensor.dtype == torch.bfloat16:
                    raise DtypeError(
                        f"{self.name}: Triton's interpreter computes wrong results in bfloat16; "
                        "use another dtype, or unset TRITON_INTERPRET"
                    )
                if device is None:
                    device = tensor.device
                    fake = device.type == "meta" or isinstance(tensor, FakeTensor)
                elif tensor.device != device:
                    raise DeviceError(
                        f"{self.name}: tensors on {device} and {tensor.device}; move them to one device first"
                    )
                if dtype is None and tensor.dtype.is_floating_point:
                    dtype = tensor.dtype
        if dtype is not None and dtype not in self.dtypes:
            takes = ", ".join(map(dtype_name, self.dtypes))
            raise DtypeError(f"{self.name}: got {dtype_name(dtype)}; it takes {takes}")
        if device is None or fake or use.backend == "reference":
            return False
        if device.type == "cpu":
            if not _cpu_runs_kernels():
                return False
        elif device.type != "cuda":
            raise DeviceError(f"{self.name}: a tensor on {device}; there are kernels for cuda and cpu")
        return True

    def _unreadable(self, tensor: Tensor) -> LayoutError:
        if tensor.layout is torch.strided:
            return LayoutError(f"{self.name}: a tensor with a pending sign (is_neg()); pass its resolve_neg()")
        return LayoutError(f"{self.name}: a tensor of layout {tensor.layout}; kernels read strided memory (to_dense())")

    def __repr__(self) -> str:
        return f"<tritonnet op {self.name}>"


def op(
    *,
    reference: Callable[..., Any],
    dtypes: tuple[torch.dtype, ...] = FLOATS,
    inplace: tuple[str, ...] = (),
    tables: tuple[str, ...] = (),
    kept: str | None = None,
    flops: Callable[..., int] | None = None,
) -> Callable[[Callable[..., Any]], Op]:
    """Declares a launcher as an operation (see Op) and enters it in OPS."""

    def declare(launcher: Callable[..., Any]) -> Op:
        OPS[launcher.__name__] = Op(launcher, reference, dtypes, inplace, tables, flops, kept)
        return OPS[launcher.__name__]

    return declare


def path(device: torch.device) -> tuple[str, str]:
    """What computes on a device ("Triton on the CPU", "the references", ...), and why."""
    if use.backend == "reference":
        return "the references", 'use("reference") or TRITONNET_BACKEND=reference asks for them'
    where = "the CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)
    if INTERPRETED:
        return f"Triton's interpreter on {where}", "TRITON_INTERPRET=1 asks for it"
    if device.type != "cpu":
        return f"Triton on {where}", "Triton compiles the kernels for this GPU"
    reason = cpu.unavailable()
    return ("the references", reason) if reason else (f"Triton on {where}", "a C compiler builds the kernels")


@functools.cache
def _cpu_runs_kernels() -> bool:
    if INTERPRETED:
        return True
    reason = cpu.unavailable()
    if reason:
        warnings.warn(f"tritonnet computes on the CPU with the plain torch references: {reason}", stacklevel=4)
    return not reason
