"""One safetensors file: written whole or not at all, read whole and verified.

safetensors knows the layout; what is added here is that a file takes the place of an older one only when it is complete
and on disk, and that any altered byte is noticed: the header's metadata holds our document as JSON text with a SHA-256
of each tensor, and a SHA-256 of that text. Other readers of safetensors see plain tensors.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..errors import CheckpointError

FORMAT_VERSION = 1
_DOCUMENT, _DIGEST = "tritonnet", "tritonnet.sha256"


def write(path: str, tensors: Mapping[str, Tensor], document: dict[str, Any]) -> None:
    """Write tensors and document to `path`, atomically. Raises: CheckpointError; an older file is then still whole."""
    stored = {name: _storable(path, name, tensor) for name, tensor in tensors.items()}
    hashes = {name: _sha256(tensor) for name, tensor in stored.items()}
    text = json.dumps({"version": FORMAT_VERSION, **document, "sha256": hashes})
    try:
        data = safetensors.torch.save(stored, _metadata(text))
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be stored ({error}); nothing was written") from error
    try:
        with _replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise CheckpointError(f"{path}: could not be written ({error}); an older file is untouched") from error


def read(path: str) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """The tensors (on the CPU) and the document, None if another program wrote the file.

    Raises: CheckpointError for a file that is missing, not safetensors, truncated, altered, or of another version.
    """
    try:
        with open(path, "rb") as file:
            if file.read(4) == b"PK\x03\x04":
                raise CheckpointError(
                    f"{path}: written by torch.save; "
                    "read it with torch.load(path, weights_only=True) and load_state_dict"
                )
        with safetensors.safe_open(path, framework="pt") as opened:
            document = _document(path, opened.metadata() or {})
            # Cloned: what safetensors gives is the file's own memory, and changes with it.
            tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except OSError as error:
        raise CheckpointError(f"{path}: could not be read ({error})") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path}: truncated, damaged, or not a safetensors file ({error})") from error
    if document is not None:
        _verify(path, tensors, document["sha256"])
    return tensors, document


def _metadata(text: str) -> dict[str, str]:
    return {"format": "pt", _DOCUMENT: text, _DIGEST: hashlib.sha256(text.encode()).hexdigest()}


def _document(path: str, metadata: dict[str, str]) -> dict[str, Any] | None:
    if _DOCUMENT not in metadata and _DIGEST not in metadata:
        return None
    text = metadata.get(_DOCUMENT, "")
    if metadata != _metadata(text):
        raise CheckpointError(f"{path}: the header is damaged; its SHA-256 is not the one recorded")
    document: dict[str, Any] = json.loads(text)
    if document.get("version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format version {document.get('version')}; this tritonnet reads version {FORMAT_VERSION}"
        )
    return document


def _verify(path: str, tensors: dict[str, Tensor], hashes: dict[str, str]) -> None:
    if tensors.keys() != hashes.keys():
        differing = ", ".join(map(repr, sorted(tensors.keys() ^ hashes.keys())))
        raise CheckpointError(f"{path}: the header is damaged (tensors {differing} are missing or were not saved)")
    for name, tensor in tensors.items():
        if _sha256(tensor) != hashes[name]:
            raise CheckpointError(f"{path}: tensor {name!r} is damaged; its SHA-256 is not the one recorded")


def _sha256(tensor: Tensor) -> str:
    """Of dtype, shape and bytes."""
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def _storable(path: str, name: str, tensor: Tensor) -> Tensor:
    """A plain contiguous tensor on the CPU with memory of its own, as safetensors wants it."""
    if tensor.layout != torch.strided or tensor.is_meta:
        what = "on the meta device" if tensor.is_meta else str(tensor.layout)
        raise CheckpointError(f"{path}: tensor {name!r} is {what}, and cannot be stored")
    plain = tensor.detach().as_subclass(Tensor).resolve_conj().resolve_neg()
    return plain.cpu().clone(memory_format=torch.contiguous_format)


@contextmanager
def _replacing(path: str) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends, and leaves it untouched when the block raises."""
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex[:12]}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
