"""Where Module differs from torch.nn.Module on purpose: what either does, and that README says so."""

import copy
import re
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch

from tests.beside_torch import Behaviour, outcome
from tests.parity.models import apart, leaf, scaling, tree
from tritonnet import nn

README = (Path(__file__).parents[2] / "tritonnet/module/README.md").read_text()


class Difference(NamedTuple):
    behave: Behaviour
    torchs: Any
    ours: Any


def failed_load(nn: ModuleType) -> Any:
    module = leaf(nn)
    with pytest.raises(RuntimeError):
        module.load_state_dict({"weight": torch.full((3,), 7.0), "mean": torch.ones(5)})
    return module.weight.tolist()


def ties_after_assign(nn: ModuleType) -> Any:
    module = tree(nn)
    module.load_state_dict({key: value.clone() for key, value in module.state_dict().items()}, assign=True)
    return module.a.weight is module.b.weight


def said(act: Behaviour) -> Behaviour:
    """How many warnings there are."""

    def behave(nn: ModuleType) -> Any:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            act(nn)
        return len(caught)

    return behave


def narrowing_load(nn: ModuleType) -> Any:
    leaf(nn).half().load_state_dict({"weight": torch.full((3,), 1e6), "mean": torch.ones(3)})


def unregistered(nn: ModuleType) -> Any:
    class Net(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.blocks = [nn.Identity()]
            self.w = nn.Parameter(torch.ones(1)).double()

    list(Net().parameters())


def other_library(nn: ModuleType) -> Any:
    other = torch.nn if nn is not torch.nn else __import__("tritonnet").nn
    module = nn.Module()
    module.child = other.Identity()


def identity_through_moves(nn: ModuleType) -> Any:
    module = tree(nn)
    weight = module.a.weight
    module.to("meta")
    return module.a.weight is weight, module.b.weight is module.a.weight


def shallow_copy(nn: ModuleType) -> Any:
    module = leaf(nn)
    copy.copy(module).extra = nn.Parameter(torch.ones(1))
    return "extra" in dict(module.named_parameters())


def order_of_post_hooks(nn: ModuleType) -> Any:
    """What a module that comes first sees of one that comes later, in its post-hook."""
    module, seen = nn.Sequential(leaf(nn), leaf(nn)), []  # type: ignore[var-annotated]
    module[0].register_load_state_dict_post_hook(lambda *given: seen.append(module[1].mean[0].item()))
    module.load_state_dict({key: value + 1 for key, value in module.state_dict().items()})
    return seen


class Own:
    def hook(self, *given: Any) -> None:
        pass


def method_as_post_hook(nn: ModuleType) -> Any:
    leaf(nn).register_state_dict_post_hook(Own().hook)


def kwargs_after_an_error(nn: ModuleType) -> Any:
    seen: list[Any] = []

    def hook(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        seen.append(kwargs)

    register = nn.modules.module.register_module_forward_hook
    with register(hook, with_kwargs=True, always_call=True), pytest.raises(ValueError):
        scaling(nn)("text", shift=1)
    return seen


def in_the_instance(nn: ModuleType) -> Any:
    module = leaf(nn)
    return "weight" in vars(module), isinstance(module._parameters, dict)


DIFFERENCES: dict[str, list[Difference]] = {
    "A load that fails": [Difference(failed_load, [7.0] * 3, [0.0, 1.0, 2.0])],
    "assign=True": [Difference(ties_after_assign, False, True)],
    "A load that loses": [Difference(said(narrowing_load), 0, 1)],
    "What is not registered": [Difference(said(unregistered), 0, 1)],
    "torch.nn's modules": [Difference(other_library, None, TypeError)],
    "Moves": [Difference(identity_through_moves, (False, False), (True, True))],
    "copy.copy": [Difference(shallow_copy, True, False)],
    "Load post-hooks": [Difference(order_of_post_hooks, [1.0], [2.0])],
    "Hooks": [
        Difference(method_as_post_hook, AttributeError, None),
        Difference(kwargs_after_an_error, [], [{"shift": 1}]),
    ],
    "_parameters": [Difference(in_the_instance, (False, True), (True, False))],
    "Complex": [Difference(said(lambda nn: leaf(nn).to(torch.complex64)), 1, 0)],
}
ALL = [(name, difference) for name, several in DIFFERENCES.items() for difference in several]


@pytest.mark.parametrize("name, difference", ALL, ids=[f"{name}: {one.behave.__name__}" for name, one in ALL])
def test_difference(name: str, difference: Difference) -> None:
    for library, expected in ((torch.nn, difference.torchs), (nn, difference.ours)):
        result, error = outcome(difference.behave, library, apart)
        if isinstance(expected, type):
            assert isinstance(error, expected), repr(error)
        else:
            assert error is None, repr(error)
            assert result == expected


def test_each_is_told() -> None:
    section = README.partition("## Where it differs from torch.nn.Module")[2].partition("\n## ")[0]
    told = re.findall(r"^\d+\. \*\*(.+?)\*\*", section, flags=re.M)
    assert [name for name, start in zip(told, DIFFERENCES, strict=True) if not name.startswith(start)] == []
    assert len(DIFFERENCES) <= 12
