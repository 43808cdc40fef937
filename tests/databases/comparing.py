"""Running a call of torch's and of tritonnet's on the same inputs, and what counts as the same."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing._internal.common_device_type import precisionOverride, toleranceOverride
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

from tritonnet.errors import TritonnetError

TOLERANCES = {torch.float64: (1e-10, 1e-10), torch.float32: (1.3e-6, 1e-5), torch.bfloat16: (1.6e-2, 1e-5)}


@dataclass(frozen=True)
class Case:
    """A call of one entry of a database; `constructor` has the arguments of a module."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    constructor: tuple[tuple[Any, ...], dict[str, Any]] = field(default_factory=lambda: ((), {}))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Case":
        """The case with every tensor of its call changed; a tensor that requires a gradient still does."""

        def changed(value: Any) -> Any:
            return change(value.detach()).requires_grad_(value.requires_grad) if isinstance(value, Tensor) else value

        return Case(self.name, tree_map(changed, self.args), tree_map(changed, self.kwargs), self.constructor)

    def tensors(self) -> list[Tensor]:
        return [value for value in tree_leaves((self.args, self.kwargs)) if isinstance(value, Tensor)]

    def __repr__(self) -> str:
        call = tree_map(lambda v: f"<{list(v.shape)} {v.dtype}>" if isinstance(v, Tensor) else v, self.args)
        named = tree_map(lambda v: f"<{list(v.shape)} {v.dtype}>" if isinstance(v, Tensor) else v, self.kwargs)
        return f"{self.name}{self.constructor} called with {call} {named}"


def wide(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def copied(tensor: Tensor) -> Tensor:
    """The same values in the same places of memory of its own."""
    memory = torch.empty(0, dtype=tensor.dtype)
    return memory.set_(tensor.untyped_storage().clone(), tensor.storage_offset(), tensor.size(), tensor.stride())


@dataclass(frozen=True)
class Exclusion:
    """Cases that tritonnet leaves out, why, and what happens in them instead."""

    reason: str
    when: Callable[[Case], object] = lambda case: True
    raises: type[Exception] = TritonnetError


def check(case: Case, exclusions: Iterable[Exclusion], test: Callable[[], object]) -> None:
    """Runs the test of a case; one that is excluded must fail in the way that its exclusion says."""
    for exclusion in exclusions:
        if exclusion.when(case):
            with pytest.raises(exclusion.raises):
                test()
                pytest.fail(f"{case} is excluded ({exclusion.reason}) and needs no exclusion")
            return
    test()


Results = dict[str, list[Tensor | None]]


def run(
    call: Callable[..., Any],
    case: Case,
    *,
    twice: bool = False,
    layout: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> Results:
    """Outputs, gradients of inputs and of a module's parameters, and (twice) their gradients; inputs are copied first.

    layout: gives inputs and the gradients that backward starts from another layout.
    """
    case = case.mapped(lambda tensor: layout(copied(tensor)))
    torch.manual_seed(5)
    outputs = [value for value in tree_leaves(call(*case.args, **case.kwargs)) if isinstance(value, Tensor)]
    results: Results = {"outputs": [output.detach() for output in outputs]}
    parameters = call.parameters() if hasattr(call, "parameters") else ()
    leaves = [leaf for leaf in (*case.tensors(), *parameters) if leaf.requires_grad]
    ends = [output for output in outputs if output.requires_grad]
    results["which outputs require gradients"] = [torch.tensor(output.requires_grad) for output in outputs]
    if leaves and ends:
        starts = [layout(drawn(end)).requires_grad_(twice) for end in ends]
        found = torch.autograd.grad(ends, leaves, starts, create_graph=twice, allow_unused=True)
        results["gradients"] = [None if one is None else one.detach() for one in found]
        ends = [one for one in found if one is not None and one.requires_grad]
        if twice and ends:
            second = torch.autograd.grad(ends, leaves + starts, list(map(drawn, ends)), allow_unused=True)
            # An absent gradient and a gradient of zeros are the same here.
            pairs = zip(second, leaves + starts, strict=True)
            results["gradients of gradients"] = [torch.zeros_like(x) if g is None else g for g, x in pairs]
    return results


def drawn(like: Tensor) -> Tensor:
    """Numbers that depend on the shape alone."""
    generator = torch.Generator().manual_seed(like.numel())
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.dtype)


def compare(case: Case, ours: Results, theirs: Results, exact: Callable[[], Results], tolerance: Any) -> None:
    """Raises AssertionError where results differ.

    They are the same within the tolerance; or where ours are not much further from what torch computes in float64 than
    torch's are, as sums of other orders cannot be held to more.
    """
    for kind, expected in theirs.items():
        found = ours.get(kind, [])
        assert len(found) == len(expected), f"{case}: {len(found)} {kind}, and torch has {len(expected)}"
        for at, (a, b) in enumerate(zip(found, expected, strict=True)):
            where = f"{case}: {kind}[{at}]"
            assert (a is None) == (b is None), f"{where} is {'missing' if a is None else 'there'}, unlike torch's"
            if a is None or b is None:
                continue
            assert a.shape == b.shape and a.dtype == b.dtype, (
                f"{where}: {a.shape} {a.dtype}, torch: {b.shape} {b.dtype}"
            )
            rtol, atol = tolerance(a.dtype) if a.is_floating_point() else (0, 0)
            if torch.allclose(a.double(), b.double(), rtol, atol, equal_nan=True):
                continue
            best = exact()[kind][at]
            assert best is not None
            distance, theirs_distance = ((one.double() - best.double()).abs().max().item() for one in (a, b))
            assert distance <= 2 * theirs_distance, (
                f"{where} is {distance:.3g} from float64, torch's is {theirs_distance:.3g}\n{a}\n{b}"
            )


def tolerance_of(entry: Any) -> Callable[[torch.dtype], tuple[float, float]]:
    """(rtol, atol) for a dtype: the widest that the entry's own tests ask for, else torch's default for the dtype."""

    def tolerance(dtype: torch.dtype) -> tuple[float, float]:
        rtol, atol = TOLERANCES.get(dtype, (1e-3, 1e-3))
        for info in entry.decorators:
            if getattr(info, "device_type", None) not in (None, "cpu"):
                continue
            for override in getattr(info, "decorators", [info]):
                if isinstance(override, toleranceOverride) and dtype in override.d:
                    atol, rtol = max(atol, override.d[dtype].atol), max(rtol, override.d[dtype].rtol)
                elif isinstance(override, precisionOverride) and dtype in override.d:
                    atol = max(atol, override.d[dtype])
        return rtol, atol

    return tolerance


def chosen(cases: Iterable[Case], most: int | None = None) -> list[Case]:
    """Those that add a setting that no case before them had, `most` at the most; all if TRITONNET_SAMPLES=all says so.

    Each case has kernels of its own to compile: all of them take a quarter of an hour, and are for now and then.
    """
    if os.environ.get("TRITONNET_SAMPLES") == "all":
        return list(cases)
    seen: set[Any] = set()
    found = []
    for case in cases:
        settings = set(_settings(case))
        if not settings <= seen:
            seen |= settings
            found.append(case)
        if len(found) == most:
            break
    return found


def _settings(case: Case) -> list[tuple[str, str]]:
    """What a case sets: each argument that is no tensor by its value, each tensor by its rank and dtype."""
    args, kwargs = case.constructor
    given = {f"constructor {name}": value for name, value in {**dict(enumerate(args)), **kwargs}.items()}
    given |= {f"{name}": value for name, value in {**dict(enumerate(case.args)), **case.kwargs}.items()}
    return sorted((name, _setting(value)) for name, value in given.items())


def _setting(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.ndim}-d {value.dtype} {value.requires_grad} {value.numel() == 0}"
    leaves, shape = tree_flatten(value)
    return f"{shape} {[_setting(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]}"
