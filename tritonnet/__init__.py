"""tritonnet: training whose every floating-point operation runs in a Triton kernel that its user can open."""

from typing import Any

from . import errors, functional, init, kernels, nn, optim
from .checkpoint import Checkpoints, load, load_weights, read_weights, save, save_weights
from .convert import from_torch, from_torch_state_dict, to_torch_state_dict
from .kernels import cpu
from .module import Module, functional_call, strict
from .parameter import Buffer, Parameter

__version__ = "0.1.0"

__all__ = [
    "Buffer",
    "Checkpoints",
    "Module",
    "Parameter",
    "__version__",
    "cpu",
    "errors",
    "from_torch",
    "from_torch_state_dict",
    "functional",
    "functional_call",
    "init",
    "kernels",
    "load",
    "load_weights",
    "nn",
    "optim",
    "read_weights",
    "save",
    "save_weights",
    "strict",
    "testing",
    "to_torch_state_dict",
]


def __getattr__(name: str) -> Any:
    """`testing` is imported when it is first asked for."""
    if name == "testing":
        import importlib

        return importlib.import_module(".testing", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
