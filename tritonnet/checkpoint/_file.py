"""One safetensors file: written whole or not at all, read whole and verified.

Layout: 8 bytes of header length, little-endian; the header, JSON; the tensors' bytes without gaps.
The header's `__metadata__` holds our document as JSON text, a SHA-256 of each tensor within it, and a SHA-256 of the
header itself, so that any altered byte is noticed. Other readers of safetensors see plain tensors.
"""

import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ..errors import CheckpointError

FORMAT_VERSION = 1
_DOCUMENT, _DIGEST = "tritonnet", "tritonnet.sha256"
_MAX_HEADER = 100_000_000  # what other readers of safetensors accept
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def write(path: str, tensors: Mapping[str, Tensor], document: dict[str, Any]) -> None:
    """Write tensors and document to `path`, atomically. Raises: CheckpointError; an older file is then still whole."""
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    entries: dict[str, Any] = {}
    end = 0
    for name in order:
        _check_storable(path, name, tensors[name])
        begin, end = end, end + tensors[name].numel() * tensors[name].element_size()
        shape = list(tensors[name].shape)
        entries[name] = {"dtype": _NAMES[tensors[name].dtype], "shape": shape, "data_offsets": [begin, end]}
    hashes = dict.fromkeys(order, "0" * 64)
    try:
        with _replacing(path) as file:
            file.write(_header(path, entries, document, hashes))
            for name in order:
                data = memoryview(_bytes_of(tensors[name].detach().cpu()).numpy())
                file.write(data)
                hashes[name] = hashlib.sha256(data).hexdigest()
            file.seek(0)
            file.write(_header(path, entries, document, hashes))
    except OSError as error:
        raise CheckpointError(f"{path}: could not be written ({error}); an older file is untouched") from error


def read(path: str) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """The tensors (on the CPU) and the document, None if another program wrote the file.

    Raises: CheckpointError for a file that is missing, not safetensors, truncated, altered, or of another version.
    """
    try:
        with open(path, "rb") as file:
            return _read(path, file)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except OSError as error:
        raise CheckpointError(f"{path}: could not be read ({error})") from error


def _read(path: str, file: BinaryIO) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    header, begin = _read_header(path, file)
    metadata = header.pop("__metadata__", {})
    document = _document(path, header, metadata)
    size = os.fstat(file.fileno()).st_size
    entries = _checked_entries(path, header, size - begin)
    tensors: dict[str, Tensor] = {}
    for name, dtype, shape in entries:
        tensor = torch.empty(shape, dtype=dtype)
        data = memoryview(_bytes_of(tensor).numpy())
        if file.readinto(data) != len(data):  # type: ignore[attr-defined]
            raise CheckpointError(f"{path}: truncated within tensor {name!r}")
        if document is not None and hashlib.sha256(data).hexdigest() != document["sha256"].get(name):
            raise CheckpointError(f"{path}: tensor {name!r} is damaged; its SHA-256 is not the one recorded")
        tensors[name] = tensor
    return tensors, document


def _read_header(path: str, file: BinaryIO) -> tuple[dict[str, Any], int]:
    start = file.read(8)
    if start[:4] == b"PK\x03\x04":
        raise CheckpointError(
            f"{path}: written by torch.save; read it with torch.load(path, weights_only=True) and load_state_dict"
        )
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > _MAX_HEADER:
        raise CheckpointError(f"{path}: not a safetensors file, or truncated within its first 8 bytes")
    text = file.read(length)
    if len(text) < length:
        raise CheckpointError(f"{path}: truncated; the header should have {length} bytes and {len(text)} are there")
    try:
        header = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{path}: the header is damaged ({error})") from error
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__", {}), dict):
        raise CheckpointError(f"{path}: the header is damaged (not a JSON object)")
    return header, 8 + length


def _document(path: str, entries: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any] | None:
    if _DOCUMENT not in metadata and _DIGEST not in metadata:
        return None
    try:
        document = json.loads(metadata[_DOCUMENT])
        version = document["version"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the header is damaged ({error!r})") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{path}: format version {version}; this tritonnet reads version {FORMAT_VERSION}")
    if metadata.get(_DIGEST) != _digest(entries, metadata):
        raise CheckpointError(f"{path}: the header is damaged; its SHA-256 is not the one recorded")
    return document  # type: ignore[no-any-return]


def _checked_entries(path: str, header: dict[str, Any], data_bytes: int) -> list[tuple[str, torch.dtype, list[int]]]:
    """Names, dtypes and shapes in the order of their bytes, which fill the rest of the file."""
    entries, end = [], 0
    try:
        for name, entry in sorted(header.items(), key=lambda item: (item[1]["data_offsets"], item[0])):
            if entry["dtype"] not in _DTYPES:
                raise CheckpointError(f"{path}: tensor {name!r} has dtype {entry['dtype']}, which is not read here")
            dtype, shape = _DTYPES[entry["dtype"]], entry["shape"]
            begin, end_before = entry["data_offsets"][0], end
            end = entry["data_offsets"][1]
            if begin != end_before or end - begin != math.prod(shape) * dtype.itemsize:
                raise CheckpointError(f"{path}: the header is damaged (sizes of tensor {name!r} do not fit)")
            entries.append((name, dtype, shape))
    except (KeyError, TypeError, IndexError) as error:
        raise CheckpointError(f"{path}: the header is damaged ({error!r})") from error
    if data_bytes != end:
        what = "truncated" if data_bytes < end else "has bytes too many"
        raise CheckpointError(f"{path}: {what}; {end} bytes of tensors are expected and {data_bytes} are there")
    return entries


def _header(path: str, entries: dict[str, Any], document: dict[str, Any], hashes: dict[str, str]) -> bytes:
    text = json.dumps({"version": FORMAT_VERSION, **document, "sha256": hashes})
    metadata = {"format": "pt", _DOCUMENT: text}
    metadata[_DIGEST] = _digest(entries, metadata)
    header = json.dumps({"__metadata__": metadata, **entries}).encode()
    header += b" " * (-len(header) % 8)
    if len(header) > _MAX_HEADER:
        raise CheckpointError(f"{path}: the header would have {len(header)} bytes; put large data into tensors")
    return len(header).to_bytes(8, "little") + header


def _digest(entries: dict[str, Any], metadata: dict[str, Any]) -> str:
    covered = [entries, {key: value for key, value in metadata.items() if key != _DIGEST}]
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()


def _bytes_of(tensor: Tensor) -> Tensor:
    return tensor.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)


def _check_storable(path: str, name: str, tensor: Tensor) -> None:
    if tensor.dtype not in _NAMES or tensor.layout != torch.strided or tensor.is_meta:
        what = "on the meta device" if tensor.is_meta else f"{tensor.dtype}, {tensor.layout}"
        raise CheckpointError(f"{path}: tensor {name!r} is {what}, and cannot be stored")


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
