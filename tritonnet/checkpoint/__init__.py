"""save and load: a module, its optimizer and the state of a run in one safetensors file, without pickle."""

import importlib.metadata
import os
import platform
from collections import OrderedDict
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..errors import CheckpointError, StateDictError
from ..module import Module
from ..module._load import prepare
from . import _file, _optimizer, _rng
from ._values import decode, encode

__all__ = ["load", "save"]


def save(path: str | os.PathLike[str], module: Module, optimizer: Optimizer | None = None, **state: Any) -> None:
    """Write a checkpoint: one safetensors file, which takes the place of an older one only when it is complete.

    Args:
        path: the file. Its folder must exist.
        module: its state dict's tensors are stored under their own names, a tied one once.
        optimizer: its state is stored by parameter name, beside "optimizer/" tensors.
        state: whatever else the run needs, e.g. step=, epoch=, scheduler=scheduler.state_dict(): numbers, strings,
            tensors, and lists, tuples and dicts of them.

    A module alone makes a file of plain weights. With an optimizer or any state, the random states of Python, numpy and
    torch (CPU and every CUDA device in use) are stored too.

    Raises: CheckpointError that names the file, if it cannot be written or something cannot be stored;
    an older file at that path is still there and whole.
    """
    path = os.fspath(path)
    if not isinstance(module, Module):
        raise TypeError(f"save: module is a {type(module).__module__}.{type(module).__name__}, not a tritonnet Module")
    tensors: dict[str, Tensor] = {}
    document: dict[str, Any] = {"versions": _versions(), "module": _module_document(module, tensors)}
    if optimizer is not None:
        document["optimizer"] = _optimizer.to_document(optimizer, module, tensors)
    if state:
        document["state"] = encode(state, "state", tensors)
    if optimizer is not None or state:
        document["rng"] = encode(_rng.collect(), "rng", tensors)
    _file.write(path, tensors, document)


def load(
    path: str | os.PathLike[str],
    module: Module | None = None,
    optimizer: Optimizer | None = None,
    *,
    strict: bool = True,
    rng: bool | None = None,
) -> dict[str, Any]:
    """Read a checkpoint into module and optimizer; all is verified first, and a load that fails changes nothing.

    Args:
        path: a file of `save`, or any safetensors file of weights by name.
        module: takes the weights, on the devices and in the dtypes that it has.
        optimizer: takes its state; its parameters must be the module's, in the same groups as when saved.
        strict: missing and unexpected weights are errors.
        rng: restore the random states, last of all. Default: if an optimizer is given, to go on with a run.

    Returns: the state that was saved by name. Where no module or optimizer is given to take what the file holds, that
    stands in the result under "module" (a state dict on the CPU) or "optimizer" (by parameter name).

    Raises: CheckpointError that names the file, if it is missing, truncated, altered, of another format version, or
    does not fit; ValueError for an optimizer without its module.
    """
    path = os.fspath(path)
    if optimizer is not None and module is None:
        raise ValueError("load: an optimizer's state is kept by parameter name; give the module too")
    tensors, document = _file.read(path)
    if document is None:
        document = {"module": {"keys": list(tensors), "tied": {}, "extra": {}, "versions": {}}}
    if (optimizer is not None and "optimizer" not in document) or (rng and "rng" not in document):
        what = "random states" if optimizer is None or "optimizer" in document else "optimizer state"
        raise CheckpointError(f"{path}: holds no {what}; it was saved without an optimizer")
    restored: dict[str, Any] = decode(document.get("state", {}), tensors)
    weights = _weights(document["module"], tensors)
    states = decode(document.get("rng"), tensors)
    optimizer_state = None
    if optimizer is not None and module is not None:
        optimizer_state = _optimizer.to_state_dict(document["optimizer"], tensors, optimizer, module, path)
    elif "optimizer" in document:
        restored["optimizer"] = _optimizer.by_name(document["optimizer"], tensors)
    if module is None:
        restored["module"] = weights
    else:
        plan = prepare(module, _with_ties(weights, module), strict)
        try:
            plan.raise_problems()
            if optimizer is not None:
                optimizer.load_state_dict(optimizer_state)
        except (StateDictError, ValueError) as error:
            raise CheckpointError(f"{path}: {error}") from error
        plan.commit()
    if rng or (rng is None and optimizer is not None):
        _rng.restore(states)
    return restored


def _module_document(module: Module, tensors: dict[str, Tensor]) -> dict[str, Any]:
    state_dict = module.state_dict()
    first: dict[tuple[Any, ...], str] = {}
    tied: dict[str, str] = {}
    others = {key: value for key, value in state_dict.items() if not isinstance(value, Tensor)}
    for key, value in state_dict.items():
        if key in others:
            continue
        same = first.setdefault(_memory(value), key)
        if same == key:
            tensors[key] = value
        else:
            tied[key] = same
    extra = {key: encode(value, f"extra/{key}", tensors) for key, value in others.items()}
    versions = {path: entry["version"] for path, entry in state_dict._metadata.items()}  # type: ignore[attr-defined]
    keys = list(state_dict)
    return {"class": type(module).__name__, "keys": keys, "tied": tied, "extra": extra, "versions": versions}


def _memory(tensor: Tensor) -> tuple[Any, ...]:
    """Equal for tensors that are the same elements in memory; an empty tensor equals only itself."""
    if tensor.numel() == 0:
        return (id(tensor),)
    return tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def _weights(document: dict[str, Any], tensors: dict[str, Tensor]) -> "OrderedDict[str, Any]":
    weights: OrderedDict[str, Any] = OrderedDict()
    for key in document["keys"]:
        extra = document["extra"]
        weights[key] = decode(extra[key], tensors) if key in extra else tensors[document["tied"].get(key, key)]
    weights._metadata = {path: {"version": version} for path, version in document["versions"].items()}  # type: ignore[attr-defined]
    return weights


def _with_ties(weights: "OrderedDict[str, Any]", module: Module) -> "OrderedDict[str, Any]":
    """The weights, and under each key that the module ties to one of them the same: other programs store a tie once."""
    first = {id(tensor): key for key, tensor in module.state_dict(keep_vars=True).items() if key in weights}
    for key, tensor in module.state_dict(keep_vars=True).items():
        if key not in weights and id(tensor) in first:
            weights[key] = weights[first[id(tensor)]]
    return weights


def _versions() -> dict[str, str]:
    from .. import __version__

    versions = {"tritonnet": __version__, "torch": torch.__version__, "python": platform.python_version()}
    with suppress(importlib.metadata.PackageNotFoundError):
        versions["triton"] = importlib.metadata.version("triton")
    return versions
