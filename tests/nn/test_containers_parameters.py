"""ParameterList and ParameterDict beside torch.nn's: contents after each change, results, kinds of error, pickles."""

import copy
import operator
import pickle
from collections import OrderedDict
from contextlib import contextmanager

import pytest
import torch

from tests.beside_torch import assert_behaves_as_torch
from tritonnet import nn


def listed(nn):
    return nn.ParameterList([torch.ones(2, 3), nn.Parameter(torch.zeros(2), requires_grad=False), "name", None])


def keyed(nn):
    return nn.ParameterDict({"b": torch.ones(2, 3), "a": nn.Parameter(torch.zeros(2)), "c": 5})


def layout(value):
    """What a result looks like, whichever library it is from."""
    if hasattr(value, "named_children"):
        values = value.items() if hasattr(value, "items") else value if hasattr(value, "__len__") else ()
        names = list(value.state_dict()), [name for name, _ in value.named_children()]
        return type(value).__name__, layout(list(values)), *names
    if isinstance(value, torch.Tensor):
        return type(value).__name__, value.tolist(), value.requires_grad
    if hasattr(value, "__next__") or isinstance(value, list | tuple | type({}.keys())):
        return [layout(item) for item in value]
    return value


def changing(make, change):
    """The container after the change, with the change's result."""

    def behave(nn):
        container = make(nn)
        result = change(container, nn)
        return layout(container), layout(result)

    return behave


def deleting(container, key):
    del container[key]


def setting(container, key, value):
    container[key] = value


def named(container, key, value):
    """As an attribute, which is beside the list or dict."""
    setattr(container, key, value)
    return len(container), list(container.state_dict())


EITHER = {
    "as it is": lambda c, nn: None,
    "len": lambda c, nn: len(c),
    "iter": lambda c, nn: list(c),
    "reversed": lambda c, nn: list(reversed(c)),
    "repr": lambda c, nn: repr(c),
    "call": lambda c, nn: c(1),
    "attribute": lambda c, nn: named(c, "extra", nn.Parameter(torch.ones(1))),
    "parameters": lambda c, nn: list(c.named_parameters()),
    "deepcopy": lambda c, nn: copy.deepcopy(c),
    "pickle": lambda c, nn: pickle.loads(pickle.dumps(c)),
    "load": lambda c, nn: c.load_state_dict({key: value + 1 for key, value in c.state_dict().items()}).missing_keys,
    "double": lambda c, nn: [value.dtype for value in c.double().parameters()],
    "eval": lambda c, nn: c.eval().training,
}
LIST = {
    "contains": lambda c, nn: "name" in c,
    "index": lambda c, nn: c[0],
    "negative index": lambda c, nn: c[-3],
    "index out of range": lambda c, nn: c[4],
    "index below range": lambda c, nn: c[-5],
    "index of another type": lambda c, nn: c["0"],
    "slice": lambda c, nn: c[:2],
    "strided slice": lambda c, nn: c[::-2],
    "set a tensor": lambda c, nn: setting(c, 0, torch.zeros(1)),
    "set a parameter": lambda c, nn: setting(c, -1, nn.Parameter(torch.zeros(1))),
    "set a parameter to a number": lambda c, nn: setting(c, 0, 3),
    "set a parameter to None": lambda c, nn: setting(c, 0, None),
    "set a string to a number": lambda c, nn: setting(c, 2, 3),
    "set a buffer": lambda c, nn: setting(c, 2, nn.Buffer(torch.zeros(1))),
    "set a module": lambda c, nn: setting(c, 2, nn.Identity()),
    "set integers": lambda c, nn: setting(c, 2, torch.arange(3)),
    "set out of range": lambda c, nn: setting(c, 4, 1),
    "append a tensor": lambda c, nn: c.append(torch.ones(1)),
    "append a number": lambda c, nn: c.append(7),
    "append a list": lambda c, nn: c.append([torch.ones(1)]),
    "extend": lambda c, nn: c.extend([torch.ones(1), 2]),
    "extend by a generator": lambda c, nn: c.extend(torch.ones(i) for i in range(2)),
    "extend by a tensor": lambda c, nn: c.extend(torch.ones(3)),
    "extend by a number": lambda c, nn: c.extend(3),
    "add in place": lambda c, nn: operator.iadd(c, [torch.ones(1)]),
    "add a list": lambda c, nn: operator.add(c, [1]),
    "delete": lambda c, nn: deleting(c, 0),
    "nested": lambda c, nn: c.append(nn.ParameterList([torch.ones(1)])),
}
DICT = {
    "contains": lambda c, nn: ("a" in c, "z" in c, 3 in c),
    "get an entry": lambda c, nn: c["a"],
    "get nothing": lambda c, nn: c["z"],
    "get by number": lambda c, nn: c[0],
    "set a tensor": lambda c, nn: setting(c, "z", torch.zeros(1)),
    "set again": lambda c, nn: setting(c, "b", nn.Parameter(torch.zeros(1))),
    "set a parameter to a number": lambda c, nn: setting(c, "b", 3),
    "set a module": lambda c, nn: setting(c, "c", nn.Identity()),
    "set with a dot": lambda c, nn: c.update({"x.y": torch.ones(1)}),
    "set a method's name": lambda c, nn: c.update({"keys": torch.ones(1)}),
    "delete": lambda c, nn: deleting(c, "b"),
    "delete a number": lambda c, nn: deleting(c, "c"),
    "delete nothing": lambda c, nn: deleting(c, "z"),
    "delete an attribute": lambda c, nn: deleting(c, "training"),
    "keys": lambda c, nn: c.keys(),
    "keys as a set": lambda c, nn: c.keys() & {"a", "z"},
    "values": lambda c, nn: c.values(),
    "items": lambda c, nn: c.items(),
    "get": lambda c, nn: [c.get("a"), c.get("z"), c.get("z", 4)],
    "setdefault": lambda c, nn: [c.setdefault("a", 1), c.setdefault("z", torch.ones(1)), c.setdefault("y")],
    "pop": lambda c, nn: c.pop("a"),
    "pop nothing": lambda c, nn: c.pop("z"),
    "pop with a default": lambda c, nn: c.pop("z", 3),
    "popitem": lambda c, nn: [c.popitem(), c.popitem()],
    "popitem of nothing": lambda c, nn: [c.popitem() for _ in range(4)],
    "clear": lambda c, nn: c.clear(),
    "update by a dict": lambda c, nn: c.update({"z": torch.ones(1), "d": torch.ones(1), "a": torch.ones(2)}),
    "update by an OrderedDict": lambda c, nn: c.update(OrderedDict(z=torch.ones(1), d=torch.ones(1))),
    "update by another": lambda c, nn: c.update(nn.ParameterDict([["z", torch.ones(1)], ["d", 3]])),
    "update by itself": lambda c, nn: c.update(c),
    "update by pairs": lambda c, nn: c.update([("z", torch.ones(1)), ["y", 2]]),
    "update by a number": lambda c, nn: c.update(3),
    "update by numbers": lambda c, nn: c.update([3]),
    "update by triples": lambda c, nn: c.update([(1, 2, 3)]),
    "copy": lambda c, nn: (c.copy(), c.copy()["a"] is c["a"]),
    "fromkeys": lambda c, nn: (c.fromkeys(["q", "p"], torch.ones(1)), c.fromkeys(["q"])),
    "or": lambda c, nn: c | nn.ParameterDict({"z": torch.ones(1), "a": torch.ones(2)}),
    "or a dict": lambda c, nn: c | {"z": torch.ones(1)},
    "or from the left": lambda c, nn: list({"z": torch.ones(1)} | c),
    "or in place": lambda c, nn: operator.ior(c, {"z": torch.ones(1)}),
}
MODULE_DICT = {
    "as it is": lambda c, nn: None,
    "len": lambda c, nn: len(c),
    "iter": lambda c, nn: list(c),
    "contains": lambda c, nn: ("fc" in c, "z" in c, 3 in c),
    "get an entry": lambda c, nn: c["fc"],
    "get nothing": lambda c, nn: c["z"],
    "set": lambda c, nn: setting(c, "z", nn.Identity()),
    "set again": lambda c, nn: setting(c, "fc", nn.Identity()),
    "set None": lambda c, nn: setting(c, "z", None),
    "set a number": lambda c, nn: setting(c, "z", 3),
    "set with a dot": lambda c, nn: setting(c, "x.y", nn.Identity()),
    "set under a number": lambda c, nn: setting(c, 3, nn.Identity()),
    "set a method's name": lambda c, nn: setting(c, "pop", nn.Identity()),
    "delete": lambda c, nn: deleting(c, "fc"),
    "delete nothing": lambda c, nn: deleting(c, "z"),
    "delete a parameter's name": lambda c, nn: deleting(c, "training"),
    "keys": lambda c, nn: list(c.keys()),
    "keys as a set": lambda c, nn: (c.keys() & {"fc", "z"}, str(c.keys())),
    "values": lambda c, nn: list(c.values()),
    "items": lambda c, nn: list(c.items()),
    "pop": lambda c, nn: c.pop("act"),
    "pop nothing": lambda c, nn: c.pop("z"),
    "clear": lambda c, nn: c.clear(),
    "update by a dict": lambda c, nn: c.update({"z": nn.Identity(), "d": nn.ReLU(), "act": nn.Flatten()}),
    "update by another": lambda c, nn: c.update(nn.ModuleDict({"z": nn.Identity()})),
    "update by itself": lambda c, nn: c.update(c),
    "update by pairs": lambda c, nn: c.update([["z", nn.Identity()]]),
    "update by a number": lambda c, nn: c.update(3),
    "update by numbers": lambda c, nn: c.update([3]),
    "update by triples": lambda c, nn: c.update([(1, 2, 3)]),
    "call": lambda c, nn: c(1),
    "repr": lambda c, nn: repr(c),
    "attribute": lambda c, nn: c.fc,
    "add as an attribute": lambda c, nn: named(c, "z", nn.Identity()),
    "state_dict": lambda c, nn: list(c.state_dict()),
    "deepcopy": lambda c, nn: copy.deepcopy(c),
    "pickle": lambda c, nn: pickle.loads(pickle.dumps(c)),
    "removing within a loop over a list": lambda c, nn: [c.pop(key) for key in list(c)],
}


def modules(nn):
    return nn.ModuleDict({"fc": nn.Linear(1, 2), "act": nn.ReLU()})


BEHAVIOURS = {
    **{f"ParameterList, {name}": changing(listed, change) for name, change in (EITHER | LIST).items()},
    **{f"ParameterDict, {name}": changing(keyed, change) for name, change in (EITHER | DICT).items()},
    **{f"ModuleDict, {name}": changing(modules, change) for name, change in MODULE_DICT.items()},
    "empty": lambda nn: [repr(make()) for make in (nn.ParameterList, nn.ParameterDict, nn.ModuleDict)],
    "one entry": lambda nn: (repr(nn.ParameterList([torch.ones(2)])), repr(nn.ParameterDict({"a": torch.ones(2)}))),
    "dir": lambda nn: "0" in dir(listed(nn)),
}


@contextmanager
def seeded():
    torch.manual_seed(3)
    yield


@pytest.mark.parametrize("behave", BEHAVIOURS.values(), ids=BEHAVIOURS.keys())
def test_behaves_as_torch(behave):
    assert_behaves_as_torch(behave, seeded)


def test_a_parameter_keeps_its_identity_and_a_tensor_its_memory():
    parameter, tensor = nn.Parameter(torch.ones(2)), torch.ones(2)
    for container in (nn.ParameterList([parameter, tensor]), nn.ParameterDict([("0", parameter), ("1", tensor)])):
        first, second = container.parameters()
        assert first is parameter and second.data_ptr() == tensor.data_ptr()


def test_a_refused_value_leaves_no_trace():
    keyed_values, numbered = nn.ParameterDict({"a": torch.ones(1)}), nn.ParameterList([torch.ones(1)])
    for change in (lambda: keyed_values.update({"x.y": torch.ones(1)}), lambda: numbered.append(torch.arange(2))):
        with pytest.raises((KeyError, RuntimeError)):
            change()
    assert list(keyed_values) == ["a"] and len(numbered) == 1


def test_a_shallow_copy_has_entries_of_its_own():
    for container in (keyed(nn), modules(nn)):
        other = copy.copy(container)
        del other[next(iter(other))]
        assert len(other) == len(container) - 1
        assert layout(container)
