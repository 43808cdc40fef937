"""load_state_dict in two steps: a plan in which everything has been checked, and its commit."""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..errors import StateDictError, dtype_name
from ..parameter import Parameter

if TYPE_CHECKING:
    from . import Module

EXTRA_STATE = "_extra_state"


class _Keys(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]


class IncompatibleKeys(_Keys):
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
    keys: IncompatibleKeys = field(default_factory=lambda: IncompatibleKeys([], []))
    problems: list[Row] = field(default_factory=list)
    notes: list[Row] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    writes: list[Callable[[], object]] = field(default_factory=list)
    targets: dict[str, Tensor] = field(default_factory=dict)
    sources: dict[str, Any] = field(default_factory=dict)
    first_key: dict[int, str] = field(default_factory=dict)
    assigned: dict[int, Parameter | Tensor] = field(default_factory=dict)

    def raise_problems(self) -> None:
        """Raise StateDictError if anything stands against the load."""
        rows = list(self.problems)
        if self.strict:
            rows = (
                [Row(key, "missing key", describe(self.targets.get(key))) for key in self.keys.missing_keys]
                + [
                    Row(key, "unexpected key", theirs=describe(self.sources.get(key)))
                    for key in self.keys.unexpected_keys
                ]
                + rows
            )
        if rows or self.messages:
            text = f"load_state_dict: the state dict does not fit {self.name}; nothing was loaded"
            raise StateDictError("\n".join([text, *self.messages, *_table(rows + self.notes)]))

    def commit(self) -> IncompatibleKeys:
        """Write; warn of what was rounded or lost."""
        with torch.no_grad():
            for write in self.writes:
                write()
        if self.notes:
            text = f"load_state_dict: values were rounded or lost on their way into {self.name}"
            warnings.warn("\n".join([text, *_table(self.notes)]), stacklevel=3)
        return self.keys


class _Incoming(OrderedDict[str, Any]):
    """The part of a state dict that is meant for one module and those below it, with the plan of the whole load."""

    plan: Plan


def prepare(module: "Module", state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Plan:
    """Check a state dict against the module and all below it; nothing is written before the plan's commit."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"load_state_dict: state_dict is a {type(state_dict).__name__}, and a mapping is expected")
    plan = Plan(type(module).__name__, strict, sources=dict(state_dict))
    metadata = getattr(state_dict, "_metadata", None) or {}
    _visit(module, _incoming(state_dict.items(), plan), "", metadata, assign, plan)
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
    module._load_from_state_dict(state_dict, prefix, local_metadata, True, *plan.keys, plan.messages)
    below: dict[str, list[tuple[str, Any]]] = {}
    for key, value in state_dict.items():
        below.setdefault(key[len(prefix) :].partition(".")[0], []).append((key, value))
    for name, child in module._members("module"):
        path = f"{prefix}{name}."
        items = [(key, value) for key, value in below.get(name, ()) if key.startswith(path)]
        _visit(child, _incoming(items, plan), path, metadata, assign, plan)


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
    plan: Plan | None = getattr(state_dict, "plan", None)
    if plan is None:
        plan = Plan(type(module).__name__, strict)
    own = dict(module._saved())
    for name, target in own.items():
        key = prefix + name
        plan.targets[key] = target
        if key in state_dict:
            assign = local_metadata.get("assign_to_params_buffers", False)
            _plan_tensor(plan, module, name, key, state_dict[key], assign)
        elif strict:
            missing_keys.append(key)
    extra_key = prefix + EXTRA_STATE
    if hasattr(type(module), "set_extra_state"):
        if extra_key in state_dict:
            plan.writes.append(lambda: module.set_extra_state(state_dict[extra_key]))
        elif strict:
            missing_keys.append(extra_key)
        own[EXTRA_STATE] = torch.empty(0)
    if strict:
        for key in state_dict:
            name, dot, _ = key[len(prefix) :].partition(".")
            if key.startswith(prefix) and name not in (module._registered["module"] if dot else own):
                unexpected_keys.append(key)
    if not hasattr(state_dict, "plan"):
        error_msgs.extend(_table(plan.problems))
        if not error_msgs:
            plan.commit()


def _plan_tensor(plan: Plan, module: "Module", name: str, key: str, source: Any, assign: bool) -> None:
    target: Tensor = module.__dict__[name]
    if not isinstance(source, Tensor):
        plan.problems.append(Row(key, "not a tensor", describe(target), type(source).__name__))
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
    return same_memory or torch.equal(_bits(a), _bits(b))


def _bits(tensor: Tensor) -> Tensor:
    return tensor.detach().resolve_conj().contiguous().reshape(-1).view(torch.uint8)


def describe(value: object) -> str:
    """A tensor as its shape and dtype; another object as its type."""
    if value is None:
        return "-"
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{tuple(value.shape)} {dtype_name(value.dtype)}"


def _table(rows: list[Row]) -> Iterator[str]:
    if rows:
        lines = [Row("key", "problem", "module", "state dict"), *rows]
        widths = [max(len(line[column]) for line in lines) for column in range(4)]
        for line in lines:
            yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
