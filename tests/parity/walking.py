"""What walks over modules give, and what is found under dotted names."""

from types import ModuleType
from typing import Any

import torch

from tests.beside_torch import Behaviour
from tests.parity.models import call, deep, leaf, listed, names, tree


def applied(nn: ModuleType) -> Any:
    seen: list[str] = []
    result = tree(nn).apply(lambda module: seen.append(type(module).__name__))
    return len(seen), seen[-1], type(result).__name__


def trained(nn: ModuleType) -> Any:
    module = tree(nn)
    return [module.training, module.eval().a.training, module.train().b.training, module.train(False).training]


def own_train(nn: ModuleType) -> Any:
    """A class that keeps a part in evaluation mode, as fine-tuning scripts do."""

    class Frozen(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Identity()

        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            self.part.eval()
            return self

    outer = nn.Sequential(Frozen())
    return [m.training for m in outer.train().modules()], [m.training for m in outer.eval().modules()]


def set_submodule(target: Any, strict: bool = False, module: Behaviour | None = None) -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        root = deep(nn)
        new = nn.Identity() if module is None else module(nn)
        root.set_submodule(target, new, strict=strict)
        return names(root.named_modules()), root.get_submodule(target) is new

    return behave


def shared(nn: ModuleType) -> Any:
    """One module in three places, one parameter in two, a module that holds itself twice removed."""
    root = nn.Module()
    root.first = leaf(nn)
    root.box = nn.Module()
    root.box.second = root.first
    root.third = root.first
    root.weight = root.first.weight
    return root


def found_members(nn: ModuleType) -> Any:
    root = tree(nn)
    return [
        names(root._named_members(lambda m: m._parameters.items())),
        names(root._named_members(lambda m: m._buffers.items(), prefix="net", recurse=False)),
        names(root._named_members(lambda m: m._parameters.items(), remove_duplicate=False)),
        names(root._named_members(lambda m: [("n", 3), ("none", None)], prefix="p")),
    ]


def own_named_parameters(nn: ModuleType) -> Any:
    class Part(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(2))

        def named_parameters(self, prefix: str = "", recurse: bool = True) -> Any:
            return [("a", self.a)]

    part = Part()
    part.requires_grad_(False)
    part.zero_grad()
    return listed(iter(part.parameters())), part.b.requires_grad, part.a.requires_grad


def changed_while_walking(nn: ModuleType) -> Any:
    root = deep(nn)
    for _, module in list(root.named_modules()):
        module.extra = nn.Parameter(torch.ones(1))
    for name, _ in list(root.named_children()):
        setattr(root, name, nn.Identity())
    return names(root.named_parameters()), names(root.named_modules())


BEHAVIOURS: dict[str, Behaviour] = {
    "parameters": call("parameters"),
    "parameters, own": call("parameters", recurse=False),
    "named_parameters": call("named_parameters"),
    "named_parameters, prefix": call("named_parameters", prefix="net"),
    "named_parameters, positional": call("named_parameters", "net", True, False),
    "named_parameters, own": call("named_parameters", recurse=False),
    "named_parameters, own of leaf": call("named_parameters", recurse=False, make=leaf),
    "named_parameters, duplicates": call("named_parameters", remove_duplicate=False),
    "named_parameters, deep": call("named_parameters", make=deep),
    "named_parameters, shared": call("named_parameters", make=shared),
    "named_parameters, shared, duplicates": call("named_parameters", make=shared, remove_duplicate=False),
    "named_parameters, unknown argument": call("named_parameters", sorted=True),
    "buffers": call("buffers"),
    "buffers, own": call("buffers", recurse=False),
    "named_buffers": call("named_buffers"),
    "named_buffers, prefix": call("named_buffers", prefix="net"),
    "named_buffers, own": call("named_buffers", recurse=False, make=leaf),
    "named_buffers, duplicates": call("named_buffers", remove_duplicate=False),
    "named_modules": call("named_modules"),
    "named_modules, prefix": call("named_modules", prefix="net"),
    "named_modules, duplicates": call("named_modules", remove_duplicate=False),
    "named_modules, shared": call("named_modules", make=shared),
    "named_modules, memo": lambda nn: (lambda m: names(m.named_modules({m.a})))(tree(nn)),
    "modules": call("modules"),
    "modules, duplicates": call("modules", remove_duplicate=False),
    "named_children": call("named_children"),
    "named_children, shared": call("named_children", make=shared),
    "children": call("children"),
    "_named_members": found_members,
    "get_submodule": call("get_submodule", "a"),
    "get_submodule, self": call("get_submodule", ""),
    "get_submodule, deep": lambda nn: (lambda m: m.get_submodule("x.y.z") is m.x.y.z)(deep(nn)),
    "get_submodule, none": call("get_submodule", "a.nothing"),
    "get_submodule, None": call("get_submodule", "gone"),
    "get_submodule, parameter": call("get_submodule", "a.weight"),
    "get_submodule, double dot": call("get_submodule", "a..b"),
    "get_parameter": lambda nn: tree(nn).get_parameter("a.weight").tolist(),
    "get_parameter, buffer": lambda nn: tree(nn).get_parameter("a.mean"),
    "get_parameter, None": lambda nn: tree(nn).get_parameter("a.bias"),
    "get_parameter, none": lambda nn: tree(nn).get_parameter("a.nothing"),
    "get_parameter, missing module": lambda nn: tree(nn).get_parameter("nothing.weight"),
    "get_buffer": lambda nn: tree(nn).get_buffer("b.cache").tolist(),
    "get_buffer, parameter": lambda nn: tree(nn).get_buffer("a.weight"),
    "get_buffer, none": lambda nn: tree(nn).get_buffer("a.nothing"),
    "set_submodule": set_submodule("x.y"),
    "set_submodule, child": set_submodule("x"),
    "set_submodule, new": set_submodule("x.new"),
    "set_submodule, new, strict": set_submodule("x.new", strict=True),
    "set_submodule, there, strict": set_submodule("x.y.z", strict=True),
    "set_submodule, no parent": set_submodule("q.r"),
    "set_submodule, empty": set_submodule(""),
    "set_submodule, parameter": set_submodule("x.y.z.weight"),
    "set_submodule, not a module": set_submodule("x", module=lambda nn: 5),
    "apply": applied,
    "train and eval": trained,
    "train, own": own_train,
    "train, not a bool": call("train", 1),
    "train, not a bool, text": call("train", "yes"),
    "own named_parameters": own_named_parameters,
    "changed while walking": changed_while_walking,
}
