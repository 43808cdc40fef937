"""Weights in the formats that others use: Hugging Face's safetensors, whole or in shards, and torch's .pt."""

import json
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ..errors import CheckpointError, StateDictError
from . import _file, _state
from ._atomic import replacing

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_FOUND_AS = (_SINGLE, _INDEX, "pytorch_model.bin", "pytorch_model.bin.index.json")
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_TORCHS = (".pt", ".pth", ".bin")
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def save_weights(path: str | os.PathLike[str], module: Any, *, max_shard_size: int | str = "5GB") -> None:
    """Write weights for others to read.

    Args:
        path: what it ends with decides. `.safetensors`: one such file. `.pt`, `.pth` or `.bin`: a state dict written by
            torch.save. Anything else is a folder in which they lie as Hugging Face has them: `model.safetensors`, or
            `model-00001-of-00003.safetensors` and so on with `model.safetensors.index.json`.
        module: a module, tritonnet's or torch.nn's, or a state dict.
        max_shard_size: bytes ("5GB", "200MB") above which a folder's file is split; a larger tensor has its own.

    Of tied weights, safetensors files hold the first, and the metadata its other names, as huggingface_hub has it.

    Raises: CheckpointError that names the file, if it cannot be written; what was there before is then still there.
    """
    path = os.fspath(path)
    state_dict = module if isinstance(module, Mapping) else module.state_dict()
    if path.endswith(_TORCHS):
        with replacing(path) as file:
            try:
                torch.save(_for_torch(state_dict), file)
            except RuntimeError as error:  # torch's own, about what the failed write left
                raise error.__context__ if isinstance(error.__context__, OSError) else error from None
        return
    tensors, metadata = _without_ties(path, state_dict)
    if path.endswith(".safetensors"):
        with replacing(path) as file:
            _file.write_plain(file, path, tensors, metadata)
    else:
        _write_folder(path, tensors, metadata, _bytes(max_shard_size))


def load_weights(path: str | os.PathLike[str], module: Any, *, strict: bool = True) -> Any:
    """Read weights into a module, tritonnet's or torch.nn's; a load that fails changes nothing in tritonnet's.

    Args:
        path: as for `read_weights`.
        strict: missing and unexpected keys are errors.

    Returns: the missing and the unexpected keys, as `module.load_state_dict` does.
    Raises: CheckpointError that names the file, if it cannot be read or does not fit.
    """
    weights = _state.with_ties(read_weights(path), module)
    try:
        return module.load_state_dict(weights, strict=strict)
    except (StateDictError, RuntimeError) as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from error


def read_weights(path: str | os.PathLike[str]) -> "OrderedDict[str, Any]":
    """Read weights as a state dict on the CPU.

    Args:
        path: a safetensors file, one of `tritonnet.save` too; a state dict written by torch.save (read with
            weights_only=True), or a dict that holds one under "state_dict", "model_state_dict" or "model"; an index
            (`.index.json`); a folder that holds `model.safetensors`, `pytorch_model.bin` or the index of either.

    Raises: CheckpointError that names the file, if it is missing or damaged, or holds no state dict.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        found = [name for name in _FOUND_AS if os.path.exists(os.path.join(path, name))]
        if not found:
            raise CheckpointError(f"{path}: the folder holds none of {', '.join(_FOUND_AS)}")
        path = os.path.join(path, found[0])
    if path.endswith(".index.json"):
        return _read_shards(path)
    try:
        with open(path, "rb") as file:
            torchs = _file.is_torchs(file.read(4))
    except OSError as error:
        what = "there is no such file" if isinstance(error, FileNotFoundError) else f"could not be read ({error})"
        raise CheckpointError(f"{path}: {what}") from error
    if torchs:
        return _read_torchs(path)
    tensors, document, metadata = _file.read(path)
    if document is not None:
        return _state.module_weights(document, tensors)
    return _with_named_ties(OrderedDict(tensors), metadata)


def _read_shards(path: str) -> "OrderedDict[str, Any]":
    """All weights that an index names, in its order."""
    try:
        with open(path, encoding="utf-8") as file:
            index = json.load(file)
            places, metadata = index["weight_map"], dict(index.get("metadata", {}))
        if not all(isinstance(name, str) and os.path.basename(name) == name for name in places.values()):
            raise ValueError("a shard lies in another folder")
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not an index of weights ({type(error).__name__}: {error})") from error
    folder = os.path.dirname(path)
    shards = {name: read_weights(os.path.join(folder, name)) for name in dict.fromkeys(places.values())}
    if absent := [key for key, name in places.items() if key not in shards[name]]:
        raise CheckpointError(f"{path}: {places[absent[0]]} lacks {', '.join(absent)}, which it should hold")
    weights = OrderedDict((key, shards[name][key]) for key, name in places.items())
    return _with_named_ties(weights, metadata)


def _with_named_ties(weights: "OrderedDict[str, Any]", metadata: Mapping[str, Any]) -> "OrderedDict[str, Any]":
    """The weights, and those that the metadata says are the same as one of them."""
    stored = set(weights)
    for key, kept in metadata.items():
        if key != "format" and key not in stored and isinstance(kept, str) and kept in stored:
            weights[key] = weights[kept]
    return weights


def _read_torchs(path: str) -> "OrderedDict[str, Any]":
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: holds more than tensors and plain values; {error}") from error
    except Exception as error:
        raise CheckpointError(f"{path}: truncated, damaged, or not a file of torch.save ({error})") from error
    inner = [key for key in _WRAPPERS if isinstance(loaded, Mapping) and _is_state_dict(loaded.get(key))]
    if len(inner) == 1:
        loaded = loaded[inner[0]]
    elif inner or not _is_state_dict(loaded):
        what = f"a dict of {', '.join(map(str, loaded))}" if isinstance(loaded, Mapping) else type(loaded).__name__
        raise CheckpointError(
            f"{path}: no state dict but {what}; torch.load(path, weights_only=True) reads it, and load_state_dict "
            "takes the part that is meant"
        )
    return loaded if isinstance(loaded, OrderedDict) else OrderedDict(loaded)


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and all(isinstance(key, str) for key in value)
        and any(isinstance(item, Tensor) for item in value.values())
    )


def _for_torch(state_dict: Mapping[str, Any]) -> "OrderedDict[str, Any]":
    """Plain tensors on the CPU, no larger in memory than they look; ties stay ties."""
    copies: dict[tuple[Any, ...], Tensor] = {}
    weights: OrderedDict[str, Any] = OrderedDict()
    for key, value in state_dict.items():
        if isinstance(value, Tensor):
            same = _state.same_memory(key, value)
            if same not in copies:
                copies[same] = _file.own(value.detach().as_subclass(Tensor))
            value = copies[same]
        weights[key] = value
    if hasattr(state_dict, "_metadata"):
        weights._metadata = state_dict._metadata  # type: ignore[attr-defined]
    return weights


def _write_folder(folder: str, tensors: dict[str, Tensor], metadata: dict[str, str], limit: int) -> None:
    """One file, or shards with an index; what an older save left beside them goes last.

    Shards take their places one by one. So that no crash leaves an index with shards of two saves, the old index goes
    before the first of them, when all are on disk under hidden names, and the new one comes after the last.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder}: the folder could not be made ({error})") from error
    shards = _split(tensors, limit)
    count = len(shards)
    names = [f"model-{at:05}-of-{count:05}.safetensors" for at in range(1, count + 1)] if count > 1 else [_SINGLE]
    index = os.path.join(folder, _INDEX)
    with ExitStack() as files:  # which take their places in the opposite order
        if count > 1:
            places = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
            total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
            about = {"total_size": total} | {key: kept for key, kept in metadata.items() if key != "format"}
            text = json.dumps({"metadata": about, "weight_map": places}, indent=2)
            _onto_disk(files.enter_context(replacing(index)), text.encode())
        for name, shard in zip(names, shards, strict=True):
            path = os.path.join(folder, name)
            file = files.enter_context(replacing(path))
            _file.write_plain(file, path, shard, metadata if count == 1 else {"format": "pt"})
            _onto_disk(file)
        if count > 1:
            with suppress(FileNotFoundError):
                os.unlink(index)
    for name in {*os.listdir(folder)} - {*names, *([_INDEX] if count > 1 else [])}:
        if name in (_SINGLE, _INDEX) or _SHARD.fullmatch(name):
            os.unlink(os.path.join(folder, name))


def _onto_disk(file: BinaryIO, data: bytes = b"") -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def _split(tensors: dict[str, Tensor], limit: int) -> list[dict[str, Tensor]]:
    """In order, as many as fit in each; at least one."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for key, tensor in tensors.items():
        nbytes = tensor.numel() * tensor.element_size()
        if shards[-1] and size + nbytes > limit:
            shards.append({})
            size = 0
        shards[-1][key] = tensor
        size += nbytes
    return shards


def _bytes(size: int | str) -> int:
    if isinstance(size, int):
        return size
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]I?B)", size.strip().upper())
    if not found:
        raise ValueError(f"save_weights: max_shard_size is {size!r}; a number of bytes, or text like '5GB' or '200MiB'")
    return int(float(found[1]) * _UNITS[found[2]])


def _without_ties(path: str, state_dict: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    first: dict[tuple[Any, ...], str] = {}
    tensors: dict[str, Tensor] = {}
    metadata = {"format": "pt"}
    for key, value in state_dict.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: {key} is a {type(value).__name__}, and a file of weights holds tensors; use tritonnet.save"
            )
        same = first.setdefault(_state.same_memory(key, value), key)
        if same == key:
            tensors[key] = value
        else:
            metadata.setdefault(key, same)
    return tensors, metadata
