"""load_state_dict in two steps: a plan in which everything has been checked, and its commit.

Code of the user's runs in between: `_load_from_state_dict` of a class that overrides it, hooks, `set_extra_state`. It
sees what torch.nn.Module would show it, and what it did is taken back where the load fails.
"""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..errors import StateDictError, dtype_name
from ..parameter import Parameter, is_lazy
from ._strict import is_strict
from ._tree import members
from ._undo import Undo, bits
from .hooks import hooks_of

if TYPE_CHECKING:
    from . import Module

EXTRA_STATE = "_extra_state"


class _Keys(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]


class _IncompatibleKeys(_Keys):
    """What load_state_dict returns."""

    __slots__ = ()

    def __repr__(self) -> str:
        return super().__repr__() if any(self) else "<All keys matched successfully>"

    __str__ = __repr__


class Row(NamedTuple):
    """A line of the table: the key, what is wrong with it, and what stands on either side."""

    key: str
    problem: str
    ours: str = "-"
    theirs: str = "-"


@dataclass
class Plan:
    """What a load will do, and what stands against it."""

    name: str
    strict: bool
    keys: _IncompatibleKeys = field(default_factory=lambda: _IncompatibleKeys([], []))
    problems: list[Row] = field(default_factory=list)
    notes: list[Row] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    writes: list[Callable[[], object]] = field(default_factory=list)
    targets: dict[str, Tensor] = field(default_factory=dict)
    sources: dict[str, Any] = field(default_factory=dict)
    first_key: dict[int, str] = field(default_factory=dict)
    assigned: dict[int, Parameter | Tensor] = field(default_factory=dict)
    undo: Undo = field(default_factory=Undo)
    touched: "list[Module]" = field(default_factory=list)
    hooked: "list[Module]" = field(default_factory=list)
    """Modules with hooks to be called when all is written."""
    at_once: bool = False
    """Whether the module's class loads itself, and so finds in its tensors what its super() has loaded."""
    extra_state: bool = False

    def raise_problems(self) -> None:
        """Raise StateDictError if anything stands against the load; warn of what will be rounded or lost."""
        # Hooks that are called after the load may yet forgive missing and unexpected keys.
        rows = [] if self.hooked else self._rows_of_keys()
        rows += self.problems
        if rows or self.messages or (self.notes and is_strict()):
            self.abandon()
            raise self._error(rows)
        if self.notes:
            text = f"load_state_dict: values are rounded or lost on their way into {self.name}"
            try:
                warnings.warn("\n".join([text, *_table(self.notes)]), stacklevel=3)
            except UserWarning:
                self.abandon()
                raise

    def abandon(self) -> None:
        """Take back what the user's code did while the plan was made: the plan will not be committed."""
        self.undo.restore()

    def commit(self) -> _IncompatibleKeys:
        """Write, and call the hooks."""
        if self.hooked or self.extra_state:
            for module in [*self.touched, *self.hooked]:
                self.undo.remember(module)
        try:
            self.write()
            for module in self.hooked:
                for hook in list(hooks_of(module)._load_state_dict_post_hooks.values()):
                    if hook(module, self.keys) is not None:
                        raise AssertionError("load_state_dict: a post-hook edits the lists of keys and returns None")
            rows = self._rows_of_keys() if self.hooked else []
            if rows:
                raise self._error(rows)
        except BaseException:
            self.abandon()
            raise
        return self.keys

    def write(self, since: int = 0) -> None:
        writes, self.writes = self.writes[since:], self.writes[:since]
        with torch.no_grad():
            for write in writes:
                write()

    def _rows_of_keys(self) -> list[Row]:
        if not self.strict:
            return []
        missing = [Row(key, "missing key", describe(self.targets.get(key))) for key in self.keys.missing_keys]
        return missing + [
            Row(key, "unexpected key", theirs=describe(self.sources.get(key))) for key in self.keys.unexpected_keys
        ]

    def _error(self, rows: list[Row]) -> StateDictError:
        text = f"load_state_dict: the state dict does not fit {self.name}; nothing was loaded"
        return StateDictError("\n".join([text, *self.messages, *_table(rows + self.notes)]))


class _Incoming(OrderedDict[str, Any]):
    """The part of a state dict that is meant for one module and those below it, with the plan of the whole load."""

    plan: Plan


def prepare(module: "Module", state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Plan:
    """Check a state dict against the module and all below it; nothing is written before the plan's commit."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"load_state_dict: state_dict is a {type(state_dict).__name__}, and a mapping is expected")
    plan = Plan(type(module).__name__, strict, sources=dict(state_dict))
    metadata = getattr(state_dict, "_metadata", None) or {}
    try:
        _visit(module, _incoming(state_dict.items(), plan), "", metadata, assign, plan)
    except BaseException:
        plan.abandon()
        raise
    return plan


def _incoming(items: Any, plan: Plan) -> _Incoming:
    incoming = _Incoming(items)
    incoming.plan = plan
    return incoming


def _visit(
    module: "Module", state_dict: _Incoming, prefix: str, metadata: Mapping[str, Any], assign: bool, plan: Plan
) -> None:
    local_metadata = dict(metadata.get(prefix[:-1], {}))
    if assign:
        local_metadata["assign_to_params_buffers"] = True
    plan.at_once = _loads_itself(module)
    if plan.at_once or hooks_of(module)._load_state_dict_pre_hooks:
        plan.undo.remember(module)
    module._load_from_state_dict(state_dict, prefix, local_metadata, True, *plan.keys, plan.messages)
    plan.at_once = False
    below: dict[str, list[tuple[str, Any]]] = {}
    for key, value in state_dict.items():
        below.setdefault(key[len(prefix) :].partition(".")[0], []).append((key, value))
    for name, child in members(module, "module"):
        path = f"{prefix}{name}."
        items = [(key, value) for key, value in below.get(name, ()) if key.startswith(path)]
        _visit(child, _incoming(items, plan), path, metadata, assign, plan)
    if hooks_of(module)._load_state_dict_post_hooks:
        plan.hooked.append(module)


def _loads_itself(module: "Module") -> bool:
    from . import Module

    name = "_load_from_state_dict"
    return getattr(type(module), name) is not getattr(Module, name) or name in module.__dict__


def saved(module: "Module") -> list[tuple[str, Tensor]]:
    """The tensors that the state dict holds of the module itself."""
    tensors, persistent = members(module, "parameter"), module._registered["buffer"]
    return tensors + [pair for pair in members(module, "buffer") if persistent[pair[0]]] if persistent else tensors


def load_own(
    module: "Module",
    state_dict: Mapping[str, Any],
    prefix: str,
    local_metadata: Mapping[str, Any],
    strict: bool,
    missing_keys: list[str],
    unexpected_keys: list[str],
    error_msgs: list[str],
) -> None:
    """Plan the loading of the module's own tensors; written at once if the call is not part of a load_state_dict."""
    from . import Module

    for hook in hooks_of(module)._load_state_dict_pre_hooks.values():
        hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
    outer: Plan | None = getattr(state_dict, "plan", None)
    plan = outer or Plan(type(module).__name__, strict)
    plan.touched.append(module)
    planned = len(plan.writes)
    own = dict(saved(module))
    for name, target in own.items():
        key = prefix + name
        plan.targets[key] = target
        if key in state_dict:
            assign = local_metadata.get("assign_to_params_buffers", False)
            _plan_tensor(plan, module, name, key, state_dict[key], assign)
        elif strict:
            missing_keys.append(key)
    extra_key = prefix + EXTRA_STATE
    if type(module).set_extra_state is not Module.set_extra_state:
        if extra_key in state_dict:
            plan.extra_state = True
            state = state_dict[extra_key]
            plan.writes.append(lambda: module.set_extra_state(state))
        elif strict:
            missing_keys.append(extra_key)
        own[EXTRA_STATE] = torch.empty(0)
    if strict:
        for key in state_dict:
            name, dot, _ = key[len(prefix) :].partition(".")
            if key.startswith(prefix) and name not in (module._registered["module"] if dot else own):
                unexpected_keys.append(key)
    if outer is None:
        error_msgs.extend(_table(plan.problems))
    if outer is None and not error_msgs:
        plan.commit()
    elif plan.at_once:
        plan.write(since=planned)


def _plan_tensor(plan: Plan, module: "Module", name: str, key: str, source: Any, assign: bool) -> None:
    target: Tensor = module.__dict__[name]
    if not isinstance(source, Tensor):
        plan.problems.append(Row(key, "not a tensor", describe(target), type(source).__name__))
        return
    if is_lazy(target) or is_lazy(source):
        _plan_lazy(plan, module, name, key, source, assign)
        return
    if target.dim() == 0 and source.shape == (1,):
        source = source[0]
    problem = _misfit(target, source, assign)
    if problem:
        plan.problems.append(Row(key, problem, describe(target), describe(source)))
        return
    first = plan.first_key.setdefault(id(target), key)
    if first != key and not _same_bits(plan.sources.get(first), source):
        plan.notes.append(Row(key, f"tied to {first}, whose value differs", describe(target), describe(source)))
    if assign:
        plan.writes.append(lambda: _assign(plan, module, name, target, source))
    elif target.is_meta and not source.is_meta:
        plan.notes.append(Row(key, "nothing copied to meta: use assign=True", describe(target), describe(source)))
    else:
        if _narrows(source.dtype, target.dtype):
            plan.notes.append(Row(key, "narrower dtype", describe(target), describe(source)))
        plan.writes.append(lambda: target.copy_(source))


def _plan_lazy(plan: Plan, module: "Module", name: str, key: str, source: Any, assign: bool) -> None:
    target: Any = module.__dict__[name]
    if not is_lazy(target):
        plan.problems.append(Row(key, "no shape yet: call its model first", describe(target), describe(source)))
    elif assign:
        plan.writes.append(lambda: _assign(plan, module, name, target, source))
    elif not is_lazy(source):

        def write() -> None:
            if is_lazy(target):  # and not tied to one that was written before
                target.materialize(source.shape)
            target.copy_(source)

        plan.writes.append(write)


def _narrows(source: torch.dtype, target: torch.dtype) -> bool:
    if source == target:
        return False
    try:
        return torch.promote_types(source, target) != target
    except RuntimeError:  # float8 and wide unsigned integers promote to nothing
        return True


def _misfit(target: Tensor, source: Tensor, assign: bool) -> str:
    if source.shape != target.shape:
        return "size mismatch"
    if assign:
        integer = not (source.is_floating_point() or source.is_complex())
        return "integers for a trained parameter" if target.requires_grad and integer else ""
    if source.is_meta and not target.is_meta:
        return "no data (meta device)"
    if target.is_inference() and not torch.is_inference_mode_enabled():
        return "made under inference_mode: not writable"
    if target.numel() > 1 and 0 in target.stride() and torch._debug_has_internal_overlap(target) == 1:
        return "expanded: its elements share memory"
    return ""


def _assign(plan: Plan, module: "Module", name: str, target: Tensor, source: Tensor) -> None:
    """Put the source in the target's place; all places of a tied parameter get one and the same."""
    if id(target) not in plan.assigned:
        if isinstance(target, Parameter):
            ready = isinstance(source, Parameter)
            source = source.requires_grad_(target.requires_grad) if ready else Parameter(source, target.requires_grad)
        plan.assigned[id(target)] = source
    module.__dict__[name] = plan.assigned[id(target)]


def _same_bits(a: Any, b: Tensor) -> bool:
    if not isinstance(a, Tensor) or a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
        return False
    same_memory = a.is_meta or (a.data_ptr() == b.data_ptr() and a.stride() == b.stride())
    return same_memory or torch.equal(bits(a), bits(b))


def describe(value: object) -> str:
    """A tensor as its shape and dtype; another object as its type."""
    if value is None:
        return "-"
    if not isinstance(value, Tensor):
        return type(value).__name__
    if is_lazy(value):
        return "uninitialized"
    return f"{tuple(value.shape)} {dtype_name(value.dtype)}"


def _table(rows: list[Row]) -> Iterator[str]:
    if rows:
        lines = [Row("key", "problem", "module", "state dict"), *rows]
        widths = [max(len(line[column]) for line in lines) for column in range(4)]
        for line in lines:
            yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
