"""functional_call: a module's forward as a function of its parameters and buffers."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import ModuleError, StateDictError
from ._registry import Registry
from ._tree import named_tensors

if TYPE_CHECKING:
    from . import Module

Tensors = dict[str, Tensor]


def functional_call(
    module: "Module",
    parameter_and_buffer_dicts: Tensors | Sequence[Tensors],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call the module with other tensors in the place of its parameters and buffers; it is as before afterwards.

    Gradients flow to the tensors given: `torch.autograd.grad(loss(functional_call(net, params, x)), params.values())`.

    Args:
        parameter_and_buffer_dicts: tensors by dotted name, or several such dicts without a name in common. What is not
            named stays as it is. A buffer that forward replaces is found in the dict afterwards.
        args: the positional arguments, a tuple; anything else is the only one. kwargs: those by keyword.
        tie_weights: a tensor given for one name of a shared parameter stands for all its names.
        strict: the names must be all that the module has.

    Returns: what the module returns.
    Raises: ValueError for a name in two dicts, or two tensors for the names of one shared parameter; StateDictError
        (a RuntimeError) where strict is not met; ModuleError for a path that leads nowhere and for a parametrized name;
        TypeError for a module that is not tritonnet's, and for a value that is no tensor.
    """
    if not isinstance(module, Registry):
        theirs = f"{type(module).__module__}.{type(module).__name__}"
        raise TypeError(f"functional_call: module is a {theirs}; for torch.nn's there is torch.func.functional_call")
    given = _merged(parameter_and_buffer_dicts)
    arguments = () if args is None else args if isinstance(args, tuple) else (args,)
    with _swapped(module, given, tie_weights, strict):
        return module(*arguments, **(kwargs or {}))


def _merged(dicts: Tensors | Sequence[Tensors]) -> Tensors:
    if isinstance(dicts, dict):
        return dicts
    if not isinstance(dicts, Sequence) or not all(isinstance(one, Mapping) for one in dicts):
        raise ValueError(
            f"functional_call: parameters and buffers come in a dict, or in a list of dicts, not as {type(dicts)}"
        )
    merged: Tensors = {}
    for one in dicts:
        twice = merged.keys() & one.keys()
        if twice:
            raise ValueError(f"functional_call: {sorted(twice)} stand in more than one of the dicts")
        merged.update(one)
    return merged


@contextlib.contextmanager
def _swapped(module: "Module", given: Tensors, tie_weights: bool, strict: bool) -> Iterator[None]:
    own = {
        name: tensor
        for kind in ("parameter", "buffer")
        for name, tensor in named_tensors(module, kind, remove_duplicate=False)
    }
    wanted = _with_ties(own, given) if tie_weights else dict(given)
    if strict:
        _check_names(module, own, wanted)
    places = {name: _Place(module, name, tensor) for name, tensor in wanted.items()}
    before: dict[str, Any] = {}
    try:
        for name, place in places.items():
            before[name] = place.swap(wanted[name])
        yield
    finally:
        after = {name: places[name].swap(tensor) for name, tensor in reversed(before.items())}
        given.update({name: after[name] for name in given if name in after})


def _with_ties(own: Tensors, given: Tensors) -> Tensors:
    names_of: dict[int, list[str]] = {}
    for name, tensor in own.items():
        names_of.setdefault(id(tensor), []).append(name)
    wanted = dict(given)
    for name, value in given.items():
        tied = names_of[id(own[name])] if name in own else ()
        if any(given.get(other, value) is not value for other in tied):
            raise ValueError(
                f"functional_call: {sorted(tied)} are tied in the module and are given different tensors; give one, or "
                "the same for each, or say tie_weights=False"
            )
        wanted.update(dict.fromkeys(tied, value))
    return wanted


def _check_names(module: "Module", own: Tensors, wanted: Tensors) -> None:
    unfit = {"unexpected": wanted.keys() - own.keys(), "missing": own.keys() - wanted.keys()}
    if any(unfit.values()):
        listed = "; ".join(f"{what} {', '.join(sorted(names))}" for what, names in unfit.items() if names)
        raise StateDictError(f"functional_call of {type(module).__name__}, strict: {listed}")


_ABSENT = object()


class _Place:
    """The attribute that a dotted name means."""

    def __init__(self, root: "Module", path: str, value: Any) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"functional_call: {path!r} is given as {type(value).__name__}, and a tensor is expected")
        above, _, self.name = path.rpartition(".")
        self.module = root.get_submodule(above)
        if isinstance(getattr(type(self.module), self.name, None), property):
            raise ModuleError(
                f"functional_call: {path!r} is computed by a parametrization; give what it is computed from, "
                f"{f'{above}.' if above else ''}parametrizations.{self.name}.original (or original0, original1, ...)"
            )

    def swap(self, value: Any) -> Any:
        """Put a tensor there; returns what was there."""
        values = self.module.__dict__
        before = values.pop(self.name, _ABSENT) if value is _ABSENT else values.get(self.name, _ABSENT)
        if value is not _ABSENT:
            values[self.name] = value
        return before
