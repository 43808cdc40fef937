"""tritonnet: training whose every floating-point operation runs in a Triton kernel that its user can open."""

from typing import Any

from . import errors, functional, init, kernels, nn, optim
from .checkpoint import load, save
from .kernels import cpu
from .module import Module, strict
from .parameter import Buffer, Parameter

__version__ = "0.1.0"

__all__ = [
    "Buffer",
    "Module",
    "Parameter",
    "__version__",
    "cpu",
    "errors",
    "functional",
    "init",
    "kernels",
    "load",
    "nn",
    "optim",
    "save",
    "strict",
    "testing",
]


def __getattr__(name: str) -> Any:
    """`testing` is imported when it is first asked for."""
    if name == "testing":
        import importlib

        return importlib.import_module(".testing", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
