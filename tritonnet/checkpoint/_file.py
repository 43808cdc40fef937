"""One safetensors file: written whole or not at all, read whole and verified.

The layout is safetensors': eight bytes that tell how long the header is, the header, the tensors' bytes. Other programs
see plain tensors. What is added makes any altered byte noticed: the header's metadata holds our document as JSON text
with a SHA-256 of each tensor, and a SHA-256 of that text. The library reads; it does not write, since the hashes would
have to be known before. Here one thread writes while others hash, and the header gets its hashes last.
"""

import errno
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, BinaryIO, Literal, get_args

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..errors import CheckpointError
from ._atomic import replacing
from ._progress import progress

FORMAT_VERSION = 2
_DOCUMENT, _DIGEST = "tritonnet", "tritonnet.sha256"
_LARGEST_HEADER = 100_000_000  # what safetensors reads

Verify = Literal["full", "header"]


class DamagedError(CheckpointError):
    """A file that is not what was written: truncated, altered, unreadable."""


def write(path: str, tensors: Mapping[str, Tensor], document: dict[str, Any], *, quiet: bool = False) -> None:
    """Write tensors and document to `path`, atomically; quiet: without a bar.

    Raises: CheckpointError; an older file is then still whole.
    """
    tensors = {name: _plain(path, name, tensor) for name, tensor in tensors.items()}
    order = _order(tensors)
    hashes = dict.fromkeys(tensors, "0" * 64)

    def header() -> bytes:
        text = json.dumps({"version": FORMAT_VERSION, **document, "sha256": hashes})
        return _header(path, tensors, order, _metadata(text))

    beginning = header()
    total = sum(map(_nbytes, tensors.values()))
    shown = progress(f"saving {os.path.basename(path)}", 0 if quiet else total)
    with shown as advance, replacing(path) as file, _threads() as start:
        file.write(beginning)
        end = len(beginning)
        digests: dict[str, Callable[[], str]] = {}
        for name in order:
            file.write(_bytes(tensors[name].cpu().contiguous()))
            file.flush()
            # Of what the file now holds, so that no other thread that writes to the tensor comes between.
            digests[name] = start(_sha256_in, file.fileno(), end, tensors[name])
            end += _nbytes(tensors[name])
            advance(_nbytes(tensors[name]))
        hashes |= {name: digest() for name, digest in digests.items()}
        file.seek(0)
        file.write(header())


def write_plain(file: BinaryIO, path: str, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and metadata as other programs do, without a document of ours. Raises: CheckpointError, OSError."""
    tensors = {name: _plain(path, name, tensor) for name, tensor in tensors.items()}
    order = _order(tensors)
    file.write(_header(path, tensors, order, metadata))
    with progress(f"saving {os.path.basename(path)}", sum(map(_nbytes, tensors.values()))) as advance:
        for name in order:
            file.write(_bytes(tensors[name].contiguous().cpu()))
            advance(_nbytes(tensors[name]))


def snapshot(path: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, for a `write` later on."""
    return {name: own(_plain(path, name, tensor)) for name, tensor in tensors.items()}


def own(tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU."""
    copied = tensor.cpu().contiguous()
    return copied.clone() if copied.data_ptr() == tensor.data_ptr() else copied


def read(path: str, verify: Verify = "full") -> tuple[dict[str, Tensor], dict[str, Any] | None, dict[str, str]]:
    """The tensors (on the CPU), the document (None if another program wrote the file), and the plain metadata.

    Raises: CheckpointError for a file that is missing, not safetensors, truncated, altered, or of another version;
    ValueError for a `verify` that there is not.
    """
    if verify not in get_args(Verify):
        raise ValueError(f"verify is {verify!r}; it is one of {', '.join(map(repr, get_args(Verify)))}")
    try:
        with open(path, "rb") as file:
            if is_torchs(file.read(4)):
                raise CheckpointError(f"{path}: written by torch.save; read it with tritonnet.load_weights")
            total = os.fstat(file.fileno()).st_size
        # Not the default, mmap: reading fails where memory would be killed by a bus error, if the file is cut short.
        with safetensors.safe_open(path, framework="pt", backend="pread") as opened:
            metadata = opened.metadata() or {}
            names = list(opened.keys())
            document = _document(path, metadata)
            hashes = document["sha256"] if document else {}
            if document and set(names) != hashes.keys():
                differing = ", ".join(map(repr, sorted(set(names) ^ hashes.keys())))
                raise DamagedError(f"{path}: the header is damaged (tensors {differing} are missing or were not saved)")

            def get(name: str) -> Tensor:
                tensor: Tensor = opened.get_tensor(name)
                if document and verify == "full" and _sha256(tensor) != hashes[name]:
                    raise DamagedError(f"{path}: tensor {name!r} is damaged; its SHA-256 is not the one recorded")
                advance(_nbytes(tensor))
                return tensor

            with progress(f"loading {os.path.basename(path)}", total) as advance, _threads() as start:
                tensors = {name: got() for name, got in [(name, start(get, name)) for name in names]}
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except IsADirectoryError as error:
        raise CheckpointError(
            f"{path}: could not be read, it is a folder; tritonnet.Checkpoints and load_weights read folders"
        ) from error
    except OSError as error:
        kind = DamagedError if error.errno == errno.EIO else CheckpointError
        raise kind(f"{path}: could not be read ({error})") from error
    except safetensors.SafetensorError as error:
        raise DamagedError(f"{path}: truncated, damaged, or not a safetensors file ({error})") from error
    return tensors, document, metadata


def is_torchs(beginning: bytes) -> bool:
    """Whether a file that begins with these four bytes was written by torch.save."""
    return beginning == b"PK\x03\x04" or beginning[:2] == b"\x80\x02"


def _header(path: str, tensors: Mapping[str, Tensor], order: list[str], metadata: dict[str, str]) -> bytes:
    """The header of a safetensors file, its length before it, in which the tensors lie in this order."""
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in order:
        begin, end = end, end + _nbytes(tensors[name])
        kind = _kind(tensors[name].dtype)
        if kind is None:
            raise CheckpointError(f"{path}: tensor {name!r} is {tensors[name].dtype}, which safetensors does not hold")
        header[name] = {"dtype": kind, "shape": list(tensors[name].shape), "data_offsets": [begin, end]}
    try:
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise CheckpointError(f"{path}: a name is not text ({error}); nothing was written") from error
    text = text.ljust(-(-len(text) // 8) * 8)
    if len(text) > _LARGEST_HEADER:
        raise CheckpointError(
            f"{path}: names, numbers and strings make {len(text)} bytes of text, and a safetensors file holds "
            f"{_LARGEST_HEADER}; store long lists of numbers as tensors. Nothing was written"
        )
    return len(text).to_bytes(8, "little") + text


def _order(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names as the tensors lie in the file: wide elements first, so that each begins at a multiple of its elements'."""
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def _metadata(text: str) -> dict[str, str]:
    return {"format": "pt", _DOCUMENT: text, _DIGEST: hashlib.sha256(text.encode()).hexdigest()}


def _document(path: str, metadata: dict[str, str]) -> dict[str, Any] | None:
    if _DOCUMENT not in metadata and _DIGEST not in metadata:
        return None
    text = metadata.get(_DOCUMENT, "")
    if metadata != _metadata(text):
        raise DamagedError(f"{path}: the header is damaged; its SHA-256 is not the one recorded")
    document: dict[str, Any] = json.loads(text)
    if document.get("version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format version {document.get('version')}; this tritonnet reads version {FORMAT_VERSION}"
        )
    return document


@functools.cache
def _kind(dtype: torch.dtype) -> str | None:
    """What safetensors calls a dtype; None for one that it does not hold."""
    try:
        sample = safetensors.torch.save({"x": torch.empty(0, dtype=dtype, device="cpu")})
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError):
        return None
    kind: str = json.loads(sample[8:])["x"]["dtype"]
    return None if kind.startswith("F4") else kind  # two in a byte: its shapes are other than torch's


def _plain(path: str, name: str, tensor: Tensor) -> Tensor:
    """The tensor without autograd, subclass and pending conjugation. Raises: CheckpointError if it has no memory."""
    if tensor.layout != torch.strided or tensor.is_meta:
        what = "on the meta device" if tensor.is_meta else str(tensor.layout)
        raise CheckpointError(f"{path}: tensor {name!r} is {what}, and cannot be stored")
    return tensor.detach().as_subclass(Tensor).resolve_conj().resolve_neg()


def _nbytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _bytes(tensor: Tensor) -> Any:
    """The memory of a contiguous tensor as an array of bytes."""
    return tensor.reshape(-1).view(torch.uint8).numpy()


def _sha256(tensor: Tensor) -> str:
    """Of dtype, shape and bytes."""
    digest = _begun_sha256(tensor)
    digest.update(_bytes(tensor))
    return digest.hexdigest()


def _sha256_in(descriptor: int, begin: int, tensor: Tensor) -> str:
    """The same of a tensor that was written to a file."""
    digest = _begun_sha256(tensor)
    end = begin + _nbytes(tensor)
    buffer = memoryview(bytearray(min(end - begin, 1 << 20)))
    while begin < end:
        got = os.preadv(descriptor, [buffer[: end - begin]], begin)
        if not got:
            raise OSError(errno.EIO, "the file is shorter than what was written to it")
        digest.update(buffer[:got])
        begin += got
    return digest.hexdigest()


def _begun_sha256(tensor: Tensor) -> "hashlib._Hash":
    return hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())


@contextmanager
def _threads() -> Iterator[Callable[..., Callable[[], Any]]]:
    """Gives a function that starts a call in another thread and returns what waits for its result."""
    with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as pool:

        def start(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
            try:
                return pool.submit(function, *arguments).result
            except RuntimeError:  # Python is exiting, which a save in the background outlives, and starts no thread
                result = function(*arguments)
                return lambda: result

        try:
            yield start
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
