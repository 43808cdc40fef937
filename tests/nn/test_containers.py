"""Sequential and ModuleList beside torch.nn's: names and classes after each change, and the kinds of error."""

import operator
from collections import OrderedDict

import pytest
import torch

from tests.beside_torch import assert_behaves_as_torch
from tritonnet import nn
from tritonnet.errors import ModuleError


def sequential(nn):
    return nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Flatten())


def named(nn):
    return nn.Sequential(OrderedDict(first=nn.Linear(1, 2), second=nn.ReLU()))


def listed(nn):
    return nn.ModuleList([nn.Linear(1, 2), nn.ReLU(), nn.Flatten()])


def layout(value):
    """What a result looks like, whichever library it is from."""
    if hasattr(value, "named_children"):
        return type(value).__name__, [(name, layout(child)) for name, child in value.named_children()]
    return [layout(item) for item in value] if isinstance(value, list) else value


def changing(make, change):
    """The container after the change, with the change's result."""

    def behave(nn):
        container = make(nn)
        result = change(container, nn)
        return layout(container), layout(result)

    return behave


def deleting(container, index):
    del container[index]


def setting(container, index, module):
    container[index] = module


def added(container, other):
    container += other
    return container


CHANGES = {
    "len": lambda c, nn: len(c),
    "iter": lambda c, nn: list(c),
    "contains": lambda c, nn: c[1] in c,
    "reversed": lambda c, nn: list(reversed(c)),
    "index": lambda c, nn: c[1],
    "negative index": lambda c, nn: c[-1],
    "index out of range": lambda c, nn: c[7],
    "index of another type": lambda c, nn: c["0"],
    "slice": lambda c, nn: c[1:],
    "strided slice": lambda c, nn: c[::-1],
    "set": lambda c, nn: setting(c, 0, nn.Identity()),
    "set last": lambda c, nn: setting(c, -1, nn.Identity()),
    "set to a number": lambda c, nn: setting(c, 0, 3),
    "set out of range": lambda c, nn: setting(c, 9, nn.Identity()),
    "delete": lambda c, nn: deleting(c, 0),
    "delete slice": lambda c, nn: deleting(c, slice(0, 2)),
    "delete out of range": lambda c, nn: deleting(c, 9),
    "append": lambda c, nn: c.append(nn.Identity()),
    "append a number": lambda c, nn: c.append(3),
    "append itself": lambda c, nn: c.append(c[0]),
    "extend": lambda c, nn: c.extend([nn.Identity(), nn.Identity()]),
    "extend by a number": lambda c, nn: c.extend(3),
    "pop": lambda c, nn: c.pop(0),
    "insert": lambda c, nn: c.insert(1, nn.Identity()),
    "insert at the end": lambda c, nn: c.insert(len(c), nn.Identity()),
    "add": lambda c, nn: c + c,
    "add in place": lambda c, nn: added(c, c[:1]),
    "repr": lambda c, nn: repr(c),
    "state_dict": lambda c, nn: list(c.state_dict()),
}
SEQUENTIAL = {
    "add a list": lambda c, nn: operator.add(c, [nn.Identity()]),
    "add a list in place": lambda c, nn: added(c, [nn.Identity()]),
    "repeat": lambda c, nn: c * 2,
    "repeat from the left": lambda c, nn: 2 * c,
    "repeat in place": lambda c, nn: c.__imul__(2),
    "repeat no times": lambda c, nn: c * 0,
    "repeat by a float": lambda c, nn: c * 1.5,
    "negative insert": lambda c, nn: c.insert(-1, nn.Identity()),
    "insert out of range": lambda c, nn: c.insert(9, nn.Identity()),
}
BEHAVIOURS = {
    **{f"Sequential, {name}": changing(sequential, change) for name, change in (CHANGES | SEQUENTIAL).items()},
    **{f"ModuleList, {name}": changing(listed, change) for name, change in CHANGES.items()},
    **{
        f"named, {name}": changing(named, CHANGES[name])
        for name in ("index", "slice", "set", "delete", "append", "pop")
    },
    "named, attribute": lambda nn: layout(named(nn).first),
    "ModuleList, add a list": lambda nn: layout(operator.add(listed(nn), [nn.Identity()])),
    "ModuleList, add a generator": lambda nn: layout(added(listed(nn), (nn.Identity() for _ in range(2)))),
    "ModuleList, call": lambda nn: listed(nn)(1),
    "ModuleList, repr of runs": lambda nn: repr(nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Sequential(nn.ReLU())])),
    "ModuleList, empty": lambda nn: repr(nn.ModuleList()),
    "Sequential, empty": lambda nn: (repr(nn.Sequential()), nn.Sequential()(3)),
    "Sequential of numbers": lambda nn: nn.Sequential(3),
    "Sequential of a list": lambda nn: nn.Sequential([nn.ReLU()]),
}


@pytest.mark.parametrize("behave", BEHAVIOURS.values(), ids=BEHAVIOURS.keys())
def test_behaves_as_torch(behave):
    assert_behaves_as_torch(behave)


def test_sequential_calls_in_order_and_honours_replaced_modules():
    net = nn.Sequential(nn.Flatten(0), nn.Identity())
    assert net(torch.zeros(2, 3)).shape == (6,)
    net[0] = nn.Identity()
    assert net(torch.zeros(2, 3)).shape == (2, 3)


def test_module_list_inserts_as_a_list_does():
    modules = nn.ModuleList([nn.ReLU(), nn.Flatten()])
    modules.insert(-1, nn.Identity())
    assert [type(module).__name__ for module in modules] == ["ReLU", "Identity", "Flatten"]
    with pytest.raises(ModuleError, match="ModuleList.insert: a int is not a Module"):
        modules.insert(0, 3)


def test_a_slice_shares_its_modules():
    net = sequential(nn)
    assert net[:2][0] is net[0]
