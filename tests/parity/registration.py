"""What assignments, register_* and del do, and what they refuse."""

from collections import OrderedDict
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from tests.beside_torch import Behaviour
from tests.parity.models import leaf, listed, where

VALUES: dict[str, Behaviour] = {
    "parameter": lambda nn: nn.Parameter(torch.ones(1)),
    "buffer": lambda nn: nn.Buffer(torch.ones(1)),
    "non-persistent buffer": lambda nn: nn.Buffer(torch.ones(1), persistent=False),
    "module": lambda nn: nn.Module(),
    "tensor": lambda nn: torch.ones(1),
    "None": lambda nn: None,
    "number": lambda nn: 5,
}
PLACES = {
    "new name": "x",
    "parameter": "weight",
    "None parameter": "bias",
    "buffer": "mean",
    "non-persistent buffer": "cache",
    "module": "child",
    "None module": "empty",
    "plain attribute": "plain",
    "method": "eval",
}


def setting(name: str, value: Behaviour) -> Behaviour:
    """Assign a value to a name of a leaf; the result says where it went, and in which order the names stand."""

    def behave(nn: ModuleType) -> Any:
        module = leaf(nn)
        module.child = nn.Module()
        module.add_module("empty", None)
        module.plain = 5
        setattr(module, name, value(nn))
        views = (module._parameters, module._buffers, module._modules)
        kept = sorted(module._non_persistent_buffers_set)
        return [list(view) for view in views], where(module, name), kept

    return behave


def registering(method: str, name: Any, value: Behaviour, **kwargs: Any) -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        module = leaf(nn)
        module.child = nn.Module()
        result = getattr(module, method)(name, value(nn), **kwargs)
        return result, where(module, name)

    return behave


def without_init(assign: Callable[[Any, ModuleType], object]) -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        class Net(nn.Module):  # type: ignore[name-defined,misc]
            def __init__(self) -> None:
                assign(self, nn)

        return vars(Net()).get("x")

    return behave


def deleted(name: str) -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        module = leaf(nn)
        module.child = nn.Module()
        module.plain = 5
        delattr(module, name)
        return hasattr(module, name), list(module._parameters), list(module._buffers), list(module._modules)

    return behave


def edited_views(nn: ModuleType) -> Any:
    """Code that reaches into _parameters, _buffers and _modules."""
    module = leaf(nn)
    module._parameters["extra"] = nn.Parameter(torch.ones(1))
    module._buffers["seen"] = torch.zeros(1)
    module._modules["child"] = nn.Module()
    popped = module._parameters.pop("weight")
    module._modules = OrderedDict(first=module._modules["child"])
    views = [list(view) for view in (module._parameters, module._buffers, module._modules)]
    return views, popped.tolist(), hasattr(module, "weight"), module.extra.tolist(), module.seen.tolist()


def edited_persistence(nn: ModuleType) -> Any:
    module = leaf(nn)
    module._non_persistent_buffers_set.add("mean")
    module._non_persistent_buffers_set.discard("cache")
    names = module._non_persistent_buffers_set
    return list(module.state_dict()), "mean" in names, "cache" in names, "weight" in names, len(names)


def fallback_attributes(nn: ModuleType) -> Any:
    """A wrapper whose __getattr__ first asks Module's, then the wrapped object: much code does this."""

    class Wrapper(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(super().__getattr__("inner") if name == "inner" else self.inner, name)

    wrapper = Wrapper(leaf(nn))
    return wrapper.weight.tolist(), wrapper.mean.tolist(), hasattr(wrapper, "nothing")


def own_register_buffer(persistent: bool) -> Behaviour:
    """A class from before `persistent` that overrides register_buffer."""

    def behave(nn: ModuleType) -> Any:
        class Net(nn.Module):  # type: ignore[name-defined,misc]
            def register_buffer(self, name: str, tensor: Any) -> None:
                super().register_buffer(name, tensor)
                self.last = name

        net = Net()
        net.x = nn.Buffer(torch.ones(1), persistent=persistent)
        net.x = torch.zeros(1)
        return net.last, list(net.state_dict()), net.x.tolist()

    return behave


def own_setattr(nn: ModuleType) -> Any:
    class Net(nn.Module):  # type: ignore[name-defined,misc]
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name + "_", value)

    net = Net()
    net.w = nn.Parameter(torch.ones(1))
    net.n = 3
    return list(net._parameters), net.n_


def private_names(nn: ModuleType) -> Any:
    """Attributes that scripts like to have."""

    class Net(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            for name in PRIVATE:
                setattr(self, name, name)
            self.weight = nn.Parameter(torch.ones(1))
            self.child = nn.Identity()

    net = Net()
    net.double().train().zero_grad()
    net.load_state_dict(net.state_dict())
    return [getattr(net, name) for name in PRIVATE], listed(net.named_modules())


NAMES = """
_kind _store _members _hooks hooks _saved _cast _refusal _check_name _names _table _values _registry _tree _state _load
_strict _memory names kind device dtype name config _device _dtype _name _find _walk _plan _undo _meta _cache _own value
"""
PRIVATE = NAMES.split()


def shared_names(nn: ModuleType) -> Any:
    """A name moves from kind to kind, and stands in one view at a time."""
    module, seen = nn.Module(), []
    for value in (nn.Buffer(torch.ones(1)), nn.Parameter(torch.ones(1)), None, nn.Parameter(torch.ones(2))):
        module.x = value
        seen.append(where(module, "x"))
    del module.x
    module.x = nn.Module()
    seen.append(where(module, "x"))
    module.x = nn.Parameter(torch.ones(1))
    seen.append(where(module, "x"))
    return seen


def registered_by_hook(kind: str, replace: bool) -> Behaviour:
    """A hook of all modules sees what is registered, and may replace it."""

    def behave(nn: ModuleType) -> Any:
        seen: list[Any] = []
        new = {
            "parameter": lambda: nn.Parameter(torch.ones(7)),
            "buffer": lambda: torch.ones(7),
            "module": lambda: nn.Identity(),
        }[kind]()

        def hook(module: Any, name: str, value: Any) -> Any:
            seen.append((type(module).__name__, name, value is None))
            return new if replace else None

        with getattr(nn.modules.module, f"register_module_{kind}_registration_hook")(hook):
            module = leaf(nn)
            module.child = nn.Module()
            module.child = None
            module.mean = None
            module.weight = None
            module.add_module("other", nn.Module())
        module.later = nn.Parameter(torch.ones(1))
        names = {"parameter": "weight", "buffer": "cache", "module": "other"}
        return seen, getattr(module, names[kind]) is new

    return behave


ONE = VALUES["parameter"]
BEHAVIOURS: dict[str, Behaviour] = {
    **{
        f"{value} to {place}": setting(name, make)
        for place, name in PLACES.items()
        for value, make in VALUES.items()
        if (place, value) != ("method", "number")
    },
    "parameter before init": without_init(lambda self, nn: setattr(self, "x", nn.Parameter(torch.ones(1)))),
    "buffer before init": without_init(lambda self, nn: self.register_buffer("x", torch.ones(1))),
    "assigned buffer before init": without_init(lambda self, nn: setattr(self, "x", nn.Buffer(torch.ones(1)))),
    "registered parameter before init": without_init(lambda self, nn: self.register_parameter("x", ONE(nn))),
    "registered module before init": without_init(lambda self, nn: self.add_module("x", nn.Identity())),
    "module before init": without_init(lambda self, nn: setattr(self, "x", nn.Identity())),
    "number before init": without_init(lambda self, nn: setattr(self, "x", 5)),
    "call before init": without_init(lambda self, nn: self.parameters().__next__()),
    "register parameter": registering("register_parameter", "x", ONE),
    "register None parameter": registering("register_parameter", "x", lambda nn: None),
    "register parameter over None": registering("register_parameter", "bias", ONE),
    "register plain tensor as parameter": registering("register_parameter", "x", lambda nn: torch.ones(1)),
    "register buffer as parameter": registering("register_parameter", "x", VALUES["buffer"]),
    "register number as parameter": registering("register_parameter", "x", lambda nn: 5),
    "register computed parameter": registering("register_parameter", "x", lambda nn: computed()),
    "register parameter with dot": registering("register_parameter", "a.b", ONE),
    "register parameter without name": registering("register_parameter", "", ONE),
    "register parameter with number": registering("register_parameter", 3, ONE),
    "register parameter over buffer": registering("register_parameter", "mean", ONE),
    "register parameter over module": registering("register_parameter", "child", ONE),
    "register parameter over attribute": registering("register_parameter", "training", ONE),
    "register parameter over method": registering("register_parameter", "forward", ONE),
    "register parameter again": registering("register_parameter", "weight", lambda nn: None),
    "register buffer": registering("register_buffer", "x", VALUES["tensor"]),
    "register non-persistent buffer": registering("register_buffer", "x", VALUES["tensor"], persistent=False),
    "register parameter as buffer": registering("register_buffer", "x", ONE),
    "register None buffer": registering("register_buffer", "x", lambda nn: None),
    "register buffer with dot": registering("register_buffer", "a.b", VALUES["tensor"]),
    "register buffer without name": registering("register_buffer", "", VALUES["tensor"]),
    "register buffer with number": registering("register_buffer", 3, VALUES["tensor"]),
    "register buffer over parameter": registering("register_buffer", "weight", VALUES["tensor"]),
    "register buffer over module": registering("register_buffer", "child", VALUES["tensor"]),
    "register number as buffer": registering("register_buffer", "x", lambda nn: 5),
    "register buffer again": registering("register_buffer", "cache", VALUES["tensor"]),
    "add module with dot": registering("add_module", "a.b", VALUES["module"]),
    "add module without name": registering("add_module", "", VALUES["module"]),
    "add module with number": registering("add_module", 0, VALUES["module"]),
    "add number as module": registering("add_module", "x", lambda nn: 5),
    "add class as module": registering("add_module", "x", lambda nn: nn.Identity),
    "add module over parameter": registering("add_module", "weight", VALUES["module"]),
    "add module again": registering("add_module", "child", VALUES["module"]),
    "add None module": registering("add_module", "x", lambda nn: None),
    "register module": registering("register_module", "x", VALUES["module"]),
    "delete parameter": deleted("weight"),
    "delete None parameter": deleted("bias"),
    "delete buffer": deleted("mean"),
    "delete non-persistent buffer": deleted("cache"),
    "delete module": deleted("child"),
    "delete attribute": deleted("plain"),
    "delete method": deleted("eval"),
    "delete nothing": deleted("nothing"),
    "missing attribute": lambda nn: leaf(nn).nothing,
    "getattr default": lambda nn: getattr(leaf(nn), "nothing", 3),
    "edited views": edited_views,
    "edited persistence": edited_persistence,
    "wrapper's __getattr__": fallback_attributes,
    "class with an older register_buffer": own_register_buffer(True),
    "class with its own __setattr__": own_setattr,
    "attributes of many names": private_names,
    "a name through all kinds": shared_names,
    **{
        f"hook on a registered {kind}{', which replaces it' if replace else ''}": registered_by_hook(kind, replace)
        for kind in ("parameter", "buffer", "module")
        for replace in (False, True)
    },
}


def computed() -> Any:
    """A tensor that passes for a parameter and is not a leaf."""
    tensor = torch.ones(1, requires_grad=True) * 2
    tensor._is_param = True  # type: ignore[attr-defined]
    return tensor
