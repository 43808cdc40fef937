"""The error classes: each derives from the built-in error that torch raises in the same place."""

from .kernels._errors import (
    BackwardError,
    CaptureError,
    CheckpointError,
    ClassIndexError,
    CompilerError,
    ConversionError,
    DeviceError,
    DtypeError,
    KernelAssertionError,
    LayoutError,
    ModuleError,
    NonFiniteError,
    RangeError,
    ShapeError,
    StateDictError,
    TransformError,
    TritonnetError,
    UnsupportedKernelError,
)
from .kernels._errors import dtype_name as dtype_name

__all__ = [
    "BackwardError",
    "CaptureError",
    "CheckpointError",
    "ClassIndexError",
    "CompilerError",
    "ConversionError",
    "DeviceError",
    "DtypeError",
    "KernelAssertionError",
    "LayoutError",
    "ModuleError",
    "NonFiniteError",
    "RangeError",
    "ShapeError",
    "StateDictError",
    "TransformError",
    "TritonnetError",
    "UnsupportedKernelError",
]
