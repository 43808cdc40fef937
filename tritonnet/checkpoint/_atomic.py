"""Files that appear whole or not at all, also where the writer is killed or the machine loses power."""

import errno
import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from ..errors import CheckpointError

_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{32}\.tritonnet", re.DOTALL)


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends, and leaves it untouched when the block raises.

    It is written under a hidden name beside `path`, synced, renamed over it, and the folder synced. A writer that is
    killed leaves the hidden file; the next one to write in the folder removes it.

    Raises: CheckpointError that names the file, for every OSError.
    """
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise CheckpointError(f"{path}: is a folder; nothing was written")
    folder = os.path.dirname(target)
    try:
        remove_leftovers(folder)
        descriptor, temporary = _create(folder, os.path.basename(target))
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                # Renamed while it is open, and so locked: nobody takes it for a dead writer's.
                os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise CheckpointError(f"{path}: could not be written ({error}); an older file is untouched") from error
    try:
        sync_folder(folder)
    except OSError as error:
        raise CheckpointError(f"{path}: is written, but the disk may not know its name yet ({error})") from error


def remove_leftovers(folder: str) -> None:
    """Remove the hidden files of writers that are dead: a living one holds a lock on its file."""
    for name in os.listdir(folder):
        if _TEMPORARY.fullmatch(name):
            path = os.path.join(folder, name)
            # Gone meanwhile, not ours to remove, or locked: left alone.
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)
                finally:
                    os.close(descriptor)


def sync_folder(folder: str) -> None:
    """Make renames and removals in the folder outlast a power failure, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _create(folder: str, name: str) -> tuple[int, str]:
    while True:
        temporary = os.path.join(folder, f".{name[:60]}.{uuid.uuid4().hex}.tritonnet")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        # A file system without locks: then leftovers stay, since theirs fail too.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Another writer may have taken it for a leftover before it was locked.
        if os.fstat(descriptor).st_nlink:
            return descriptor, temporary
        os.close(descriptor)
