"""Checkpoints of runs in safetensors files, without pickle, and weights in the formats that others use."""

import os
from typing import Any

from torch.optim import Optimizer

from ..module import Module
from . import _file, _state
from ._file import Verify
from .folder import Checkpoints
from .weights import load_weights, read_weights, save_weights

__all__ = ["Checkpoints", "load", "load_weights", "read_weights", "save", "save_weights"]


def save(path: str | os.PathLike[str], module: Module, optimizer: Optimizer | None = None, **state: Any) -> None:
    """Write a checkpoint: one safetensors file, which takes the place of an older one only when it is complete.

    Args:
        path: the file. Its folder must exist.
        module: its state dict's tensors are stored under their own names, a tied one once.
        optimizer: tritonnet's or torch's; its state is stored by parameter name, beside "optimizer/" tensors.
        state: whatever else the run needs, by name. Of objects with state_dict() and load_state_dict() (schedulers, a
            GradScaler, another optimizer) and of random generators (torch's, numpy's, Python's) their states; numbers,
            strings, bytes, tensors, numpy's numbers and arrays; lists, tuples and dicts of all these.

    A module alone makes a file of plain weights. With an optimizer or any state, the global random states of Python,
    numpy and torch (CPU and every CUDA device in use) are stored too, and so are the versions of the programs.

    Raises: CheckpointError that names the file, if it cannot be written or something cannot be stored;
    an older file at that path is still there and whole.
    """
    path = os.fspath(path)
    _file.write(path, *_state.collect(module, optimizer, state))


def load(
    path: str | os.PathLike[str],
    module: Module | None = None,
    optimizer: Optimizer | None = None,
    *,
    strict: bool = True,
    rng: bool | None = None,
    verify: Verify = "full",
    **objects: Any,
) -> dict[str, Any]:
    """Read a checkpoint into module and optimizer; all is verified first, and a load that fails changes nothing.

    Args:
        path: a file of `save`, or any safetensors file of weights by name.
        module: takes the weights, on the devices and in the dtypes that it has.
        optimizer: takes its state; its parameters must be the module's, in the same groups as when saved.
        strict: missing and unexpected weights are errors.
        rng: restore the global random states, last of all. Default: if an optimizer is given, to go on with a run.
        verify: "full" compares every tensor with its SHA-256; "header" only the header with its own, and the length of
            the file with what the header says.
        objects: take back what was saved of them under the same names: `scheduler=scheduler`, `shuffle=generator`.

    Returns: the state that was saved by name, without that of `objects`; states of objects that are not given as what
    their state_dict() returned. Where no module or optimizer is given to take what the file holds, that stands in the
    result under "module" (a state dict on the CPU) or "optimizer" (by parameter name).

    Raises: CheckpointError that names the file, if it is missing, truncated, altered, of another format version, or
    does not fit; ValueError for an optimizer without its module; TypeError for an object without a state.
    """
    return _state.load(path, module, optimizer, strict, rng, verify, objects)
