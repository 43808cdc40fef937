"""Checkpoints: a folder of numbered checkpoints, of which the newest few are kept."""

import os
import re
import warnings
import weakref
from collections.abc import Callable
from threading import Thread
from types import TracebackType
from typing import Any, Self

from torch.optim import Optimizer

from ..errors import CheckpointError
from ..module import Module
from . import _file, _state
from ._atomic import sync_folder
from ._file import Verify

_NAME = re.compile(r"step-(\d{8,})\.safetensors")


class Checkpoints:
    """The checkpoints of one run, `step-00000100.safetensors` and so on in a folder.

    Args:
        folder: is made by the first save.
        keep: how many of the newest stay; None: all. Older ones are removed when a newer one is safely on disk.
        background: `save` copies everything in memory and returns; a thread writes. One save is under way at a time,
            and the next waits for it. What goes wrong is raised by the next call, or at the end of a `with` block.
            Python waits for the thread before it exits.

    >>> checkpoints = Checkpoints("runs/one", keep=2)
    >>> state = checkpoints.load(net, optimizer, scheduler=scheduler)
    >>> for step in range(state["step"] if state else 0, 1000):
    ...     train()
    ...     checkpoints.save(step + 1, net, optimizer, scheduler=scheduler)

    One process saves to a folder; any number may load from it meanwhile.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int | None = 3, *, background: bool = False) -> None:
        if keep is not None and keep < 1:
            raise ValueError(f"Checkpoints: keep is {keep}; at least one is kept, and all with None")
        self.folder = os.fspath(folder)
        self.keep = keep
        self._background = _Background() if background else None
        self._last: int | None = None
        self._left_behind: set[int] = set()
        if self._background:
            # Of an object that nobody calls any more, Python prints what went wrong.
            weakref.finalize(self, self._background.wait)

    def steps(self) -> list[int]:
        """Numbers of the checkpoints that are there, in order."""
        # A listing may miss both the file that is being removed and the one that has just come: empty is asked thrice.
        return self._listed() or self._listed() or self._listed()

    def _listed(self) -> list[int]:
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CheckpointError(f"{self.folder}: the folder could not be read ({error})") from error
        return sorted(int(found[1]) for found in map(_NAME.fullmatch, names) if found)

    def path(self, step: int) -> str:
        """The file of a step."""
        return os.path.join(self.folder, f"step-{step:08}.safetensors")

    def save(self, step: int, module: Module, optimizer: Optimizer | None = None, **state: Any) -> None:
        """Write the checkpoint of a step as `tritonnet.save` does, step among the state; then remove the oldest.

        After `load` went back to an older step, the newer ones that it left behind are removed too.

        Raises: CheckpointError if it cannot be written, or if the folder holds this step or later ones and this run has
        not gone on from there. Nothing is lost then.
        """
        self.wait()
        path = self.path(step)
        if step < 0:
            raise ValueError(f"Checkpoints.save: step is {step}; it is not negative")
        allowed = self._left_behind | ({step} if step == self._last else set())
        if foreign := [there for there in self.steps() if there >= step and there not in allowed]:
            raise CheckpointError(
                f"{path}: {self.folder} already holds step {foreign[-1]}, from which this run did not go on; "
                "load() first, or use another folder. Nothing was written"
            )
        tensors, document = _state.collect(module, optimizer, {"step": step, **state})
        self._make_folder()

        def write(quiet: bool) -> None:
            _file.write(path, tensors, document, quiet=quiet)
            self._last = step
            self._prune()

        if self._background is None:
            write(quiet=False)
        else:
            tensors = _file.snapshot(path, tensors)
            self._background.start(lambda: write(quiet=True))

    def load(
        self,
        module: Module | None = None,
        optimizer: Optimizer | None = None,
        *,
        step: int | None = None,
        strict: bool = True,
        rng: bool | None = None,
        verify: Verify = "full",
        **objects: Any,
    ) -> dict[str, Any] | None:
        """Read the newest checkpoint that is whole, or that of a step, as `tritonnet.load` does.

        Returns: what that returns, with the number under "step"; None if the folder holds no checkpoint yet.
        Raises: CheckpointError if none is whole, or for the reasons of `tritonnet.load`.
        Warns: of each damaged file that is passed over.
        """
        self.wait()
        damaged: dict[int, CheckpointError] = {}
        while found := [step] if step is not None else [there for there in self.steps() if there not in damaged]:
            newest = found[-1]
            try:
                state = _state.load(self.path(newest), module, optimizer, strict, rng, verify, objects)
            except CheckpointError as error:
                if step is not None:
                    raise
                if isinstance(error, _file.DamagedError):
                    warnings.warn(f"{error}. THIS CHECKPOINT IS PASSED OVER for the one before it", stacklevel=2)
                    damaged[newest] = error
                    continue
                if newest not in self.steps():  # removed since they were listed, by a run that saved newer ones
                    continue
                raise
            self._last = newest
            self._left_behind = {there for there in self.steps() if there > newest}
            return state
        if damaged:
            raise CheckpointError("\n  ".join([f"{self.folder}: no checkpoint is whole", *map(str, damaged.values())]))
        return None

    def wait(self) -> None:
        """Wait for a save in the background. Raises: what went wrong with it."""
        if self._background is not None:
            self._background.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except CheckpointError as failed:
            if error is None:
                raise
            error.add_note(str(failed))

    def _make_folder(self) -> None:
        try:
            if not os.path.isdir(self.folder):
                os.makedirs(self.folder, exist_ok=True)
                sync_folder(os.path.dirname(os.path.abspath(self.folder)))
        except OSError as error:
            raise CheckpointError(f"{self.folder}: the folder could not be made ({error})") from error

    def _prune(self) -> None:
        steps = [step for step in self.steps() if step not in self._left_behind or step == self._last]
        old = steps[: -self.keep] if self.keep is not None else []
        kept = set()
        for step in [*old, *self._left_behind - {self._last}]:
            try:
                os.unlink(self.path(step))
            except FileNotFoundError:
                pass
            except OSError as error:
                kept.add(step)
                warnings.warn(f"{self.path(step)}: an old checkpoint could not be removed ({error})", stacklevel=2)
        self._left_behind &= kept


class _Background:
    """A thread for one task at a time; what a task raised is raised by the next `wait`."""

    def __init__(self) -> None:
        self._thread: Thread | None = None
        self._error: BaseException | None = None

    def start(self, task: Callable[[], object]) -> None:
        thread = Thread(target=self._run, args=(task,), name="tritonnet.Checkpoints")
        try:
            thread.start()
        except RuntimeError:  # Python is exiting
            self._run(task)
        else:
            self._thread = thread

    def wait(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, task: Callable[[], object]) -> None:
        try:
            task()
        except BaseException as error:
            self._error = error
