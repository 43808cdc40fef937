"""The error classes of tritonnet: each derives from the built-in error that torch raises in the same place."""

import torch


class TritonnetError(Exception):
    """Base of every error that tritonnet raises on purpose."""


class ShapeError(TritonnetError, ValueError, RuntimeError):
    """Sizes, ranks or hyper-parameters that do not fit together."""


class DtypeError(TritonnetError, TypeError, RuntimeError):
    """A dtype that an operation does not take, or dtypes that do not go together."""


class DeviceError(TritonnetError, ValueError, RuntimeError):
    """Tensors on different devices, or on a device that tritonnet has no kernels for."""


class LayoutError(TritonnetError, TypeError, RuntimeError):
    """A tensor whose memory a kernel cannot read through strides: sparse, without memory, with a pending sign."""


class NonFiniteError(TritonnetError, RuntimeError):
    """A number that is infinite or NaN where the caller asked for a finite one."""


class ClassIndexError(TritonnetError, IndexError, RuntimeError):
    """A class index outside of the classes."""


class RangeError(TritonnetError, ValueError, RuntimeError):
    """A tensor's value outside of those that an operation is defined for."""


class CompilerError(TritonnetError, RuntimeError):
    """No usable C compiler, or one that failed on a generated kernel."""


class UnsupportedKernelError(TritonnetError, NotImplementedError):
    """A Triton construct that the CPU backend does not compile."""


class KernelAssertionError(TritonnetError, RuntimeError):
    """A `tl.device_assert` of a kernel that did not hold; the message is the assertion's own."""


class CaptureError(TritonnetError, RuntimeError):
    """A kernel met for the first time while a CUDA graph is being captured."""


class BackwardError(TritonnetError, RuntimeError):
    """A gradient that was asked for and that tritonnet does not compute."""


class TransformError(TritonnetError, RuntimeError):
    """An operation under one of torch.func's transforms (grad, vmap, jvp, ...), which kernels do not run under."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name}: tritonnet's operations do not run under the transforms of torch.func (grad, vmap, jvp, ...). "
            "Call tritonnet.functional_call(model, parameters, inputs) and differentiate with torch.autograd.grad; "
            "in the place of vmap give the inputs a batch dimension"
        )


class StateDictError(TritonnetError, RuntimeError, KeyError):
    """A state dict that does not fit the module or optimizer; nothing was loaded."""

    __str__ = Exception.__str__


class CheckpointError(TritonnetError, RuntimeError):
    """A checkpoint file that is missing, damaged, or does not fit; nothing was loaded."""


class ConversionError(TritonnetError, TypeError):
    """A torch.nn model with parts that tritonnet has no counterpart for; nothing was converted."""


class ModuleError(TritonnetError, AttributeError, TypeError, KeyError, ValueError):
    """A Module used before its `__init__`, or a name or value that cannot be registered."""

    __str__ = Exception.__str__


def dtype_name(dtype: torch.dtype) -> str:
    """A dtype as messages name it: "float32"."""
    return str(dtype).removeprefix("torch.")
