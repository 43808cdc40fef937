"""A Triton backend for CPUs: the same kernels, compiled to C and run on threads. README.md tells how."""

from typing import Any

from . import features

__all__ = ["activate", "bind", "deactivate", "features", "unavailable"]


def unavailable() -> str:
    """Why no kernel can be compiled here, with the remedy; "" where one can."""
    from . import driver

    return driver.unavailable()


def bind(kernel: Any, args: tuple[Any, ...], constexprs: dict[str, Any]) -> Any:
    """Compiles a kernel for these arguments and returns what launches it again: see `driver.bind`."""
    from . import driver

    return driver.bind(kernel, args, constexprs)


def activate() -> None:
    """From now on `kernel[grid](...)` on CPU tensors runs through this backend; CUDA tensors keep going to the GPU."""
    from . import active

    active.activate()


def deactivate() -> None:
    """Undoes `activate`."""
    from . import active

    active.deactivate()
