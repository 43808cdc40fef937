"""What a checkpoint holds: from modules, optimizers and values to tensors with a JSON document, and back."""

import importlib.metadata
import os
import platform
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..errors import CheckpointError, StateDictError
from ..module import Module
from ..module._load import prepare
from . import _file, _objects, _optimizer, _rng
from ._values import decode, encode


def collect(
    module: Module, optimizer: Optimizer | None, state: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a checkpoint, and its document. Raises: CheckpointError for what cannot be stored."""
    if not isinstance(module, Module):
        raise TypeError(f"save: module is a {type(module).__module__}.{type(module).__name__}, not a tritonnet Module")
    tensors: dict[str, Tensor] = {}
    document: dict[str, Any] = {"versions": _versions(), "module": _module_document(module, tensors)}
    if optimizer is not None:
        document["optimizer"] = _optimizer.to_document(optimizer, module, tensors)
    if state:
        try:
            document["state"] = encode(_objects.states(state), "state", tensors)
        except RecursionError as error:
            raise CheckpointError(f"save: {', '.join(state)}: nested too deeply, or within itself") from error
    if optimizer is not None or state:
        document["rng"] = encode(_rng.collect(), "rng", tensors)
    return tensors, document


def load(
    path: str | os.PathLike[str],
    module: Module | None,
    optimizer: Optimizer | None,
    strict: bool,
    rng: bool | None,
    verify: _file.Verify,
    objects: dict[str, Any],
) -> dict[str, Any]:
    """tritonnet.load."""
    path = os.fspath(path)
    if optimizer is not None and module is None:
        raise ValueError("load: an optimizer's state is kept by parameter name; give the module too")
    for name, target in objects.items():
        _objects.check(name, target)
    tensors, document, _ = _file.read(path, verify)
    if document is None:
        document = {"module": {"keys": list(tensors), "tied": {}, "extra": {}, "versions": {}}}
    if (optimizer is not None and "optimizer" not in document) or (rng and "rng" not in document):
        what = "random states" if optimizer is None or "optimizer" in document else "optimizer state"
        raise CheckpointError(f"{path}: holds no {what}; it was saved without an optimizer")
    restored: dict[str, Any] = decode(document.get("state", {}), tensors)
    if absent := objects.keys() - restored.keys():
        there = ", ".join(restored) or "nothing"
        raise CheckpointError(f"{path}: holds no {', '.join(sorted(absent))}; beside the weights there is {there}")
    weights = module_weights(document, tensors)
    states = decode(document.get("rng"), tensors)
    optimizer_state = None
    if optimizer is not None and module is not None:
        optimizer_state = _optimizer.to_state_dict(document["optimizer"], tensors, optimizer, module, path)
    elif "optimizer" in document:
        restored["optimizer"] = _optimizer.by_name(document["optimizer"], tensors)
    plan = None
    if module is None:
        restored["module"] = weights
    else:
        plan = prepare(module, with_ties(weights, module), strict)
    undo: list[Callable[[], object]] = []
    try:
        if plan is not None:
            plan.raise_problems()
            # Loading runs the user's code, in objects, hooks and extra state, and any of it may refuse.
            undo.append(plan.abandon)
        for name, target in objects.items():
            _objects.restore(path, name, target, restored.pop(name), undo)
        if optimizer is not None and module is not None and optimizer_state is not None:
            if plan is not None and (plan.hooked or plan.extra_state):
                undo.append(_optimizer.remember(optimizer))
            _optimizer.load(optimizer, optimizer_state, weights, module)
        if plan is not None:
            plan.commit()
    except BaseException as error:
        for take_back in reversed(undo):
            take_back()
        if isinstance(error, StateDictError | ValueError):
            raise CheckpointError(f"{path}: {error}") from error
        raise
    if rng or (rng is None and optimizer is not None):
        _rng.restore(states)
    return restored


def module_weights(document: dict[str, Any], tensors: dict[str, Tensor]) -> "OrderedDict[str, Any]":
    """The module's state dict."""
    document = document["module"]
    weights: OrderedDict[str, Any] = OrderedDict()
    for key in document["keys"]:
        extra = document["extra"]
        weights[key] = decode(extra[key], tensors) if key in extra else tensors[document["tied"].get(key, key)]
    weights._metadata = {path: {"version": version} for path, version in document["versions"].items()}  # type: ignore[attr-defined]
    return weights


def with_ties(weights: "OrderedDict[str, Any]", module: Any) -> "OrderedDict[str, Any]":
    """The weights, and under each key that the module ties to one of them the same: other programs store a tie once."""
    state_dict = module.state_dict(keep_vars=True)
    first = {id(tensor): key for key, tensor in state_dict.items() if key in weights}
    for key, tensor in state_dict.items():
        if key not in weights and id(tensor) in first:
            weights[key] = weights[first[id(tensor)]]
    return weights


def same_memory(key: str, tensor: Tensor) -> tuple[Any, ...]:
    """Equal for tensors that are the same elements in memory; an empty tensor equals only itself.

    Raises: CheckpointError for a parameter that has no shape yet.
    """
    try:
        elements = tensor.numel()
    except ValueError as error:
        raise CheckpointError(f"save: {key}: {error}") from error
    if elements == 0 or tensor.layout != torch.strided or tensor.is_meta:
        return (id(tensor),)
    return tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def _module_document(module: Module, tensors: dict[str, Tensor]) -> dict[str, Any]:
    state_dict = module.state_dict()
    first: dict[tuple[Any, ...], str] = {}
    tied: dict[str, str] = {}
    others = {key: value for key, value in state_dict.items() if not isinstance(value, Tensor)}
    for key, value in state_dict.items():
        if key in others:
            continue
        same = first.setdefault(same_memory(key, value), key)
        if same == key:
            tensors[key] = value
        else:
            tied[key] = same
    extra = {key: encode(value, f"extra/{key}", tensors) for key, value in others.items()}
    versions = {path: entry["version"] for path, entry in state_dict._metadata.items()}  # type: ignore[attr-defined]
    keys = list(state_dict)
    return {"class": type(module).__name__, "keys": keys, "tied": tied, "extra": extra, "versions": versions}


def _versions() -> dict[str, str]:
    from .. import __version__

    versions = {"tritonnet": __version__, "torch": torch.__version__, "python": platform.python_version()}
    with suppress(importlib.metadata.PackageNotFoundError):
        versions["triton"] = importlib.metadata.version("triton")
    return versions
