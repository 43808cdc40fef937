"""State dicts: what stands in them, hooks around them, extra state."""

from collections import OrderedDict
from types import ModuleType
from typing import Any

import torch

from tests.beside_torch import Behaviour
from tests.parity.models import call, deep, leaf, tree


class Doubling(dict):  # type: ignore[type-arg]
    pass


def with_extra(nn: ModuleType, state: Any = 7) -> Any:
    class Net(nn.Module):  # type: ignore[name-defined,misc]
        _version = 3

        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(2))
            self.state = state

        def get_extra_state(self) -> Any:
            return self.state

        def set_extra_state(self, state: Any) -> None:
            self.state = state

    outer = nn.Module()
    outer.net = Net()
    return outer


def with_saving(nn: ModuleType) -> Any:
    """A class that saves itself in another form."""

    class Net(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(2))

        def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
            super()._save_to_state_dict(destination, prefix, keep_vars)
            destination[prefix + "half"] = destination.pop(prefix + "w") / 2

    outer = nn.Module()
    outer.net = Net()
    return outer


def own_state_dict(nn: ModuleType) -> Any:
    """A child that overrides state_dict is asked with keywords, as part of its parent too."""

    class Net(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(2))

        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            state = super().state_dict(*args, **kwargs)
            state[kwargs["prefix"] + "added"] = sorted(kwargs)
            return state

    outer = nn.Module()
    outer.net = Net()
    return list(outer.state_dict()), outer.state_dict()["net.added"]


def hooked(register: str, hook: Any, on: str = "") -> Behaviour:
    """The keys of a state dict with a hook on the root, or on the module of a name."""

    def behave(nn: ModuleType) -> Any:
        module, seen = tree(nn), []  # type: ignore[var-annotated]
        getattr(module.get_submodule(on), register)(lambda *args: hook(seen, *args))
        result = module.state_dict(prefix="p.")
        return type(result).__name__, list(result), seen

    return behave


def note(seen: list[Any], module: Any, *args: Any) -> None:
    seen.append([type(module).__name__, *(sorted(a) if isinstance(a, dict) else a for a in args)])


def add_key(seen: list[Any], module: Any, state: Any, prefix: str, metadata: Any) -> None:
    seen.append((prefix, dict(metadata)))
    state[prefix + "hooked"] = torch.ones(1)


def both_ways(nn: ModuleType) -> Any:
    module = leaf(nn)

    def hook(*args: Any) -> None:
        pass

    module.register_state_dict_post_hook(hook)
    module._register_state_dict_hook(hook)


def removed_hook(nn: ModuleType) -> Any:
    module, seen = leaf(nn), []  # type: ignore[var-annotated]
    with module.register_state_dict_pre_hook(lambda *args: seen.append(args[1:])):
        module.state_dict(prefix="x.", keep_vars=True)
    module.state_dict()
    return seen


def positional(*args: Any, **kwargs: Any) -> Behaviour:
    """The arguments after the destination by position."""

    def behave(nn: ModuleType) -> Any:
        destination: Any = OrderedDict()
        state = leaf(nn).state_dict(destination, *args, **kwargs)
        return list(state), state is destination

    return behave


def metadata_of(destination: Any) -> Any:
    return getattr(destination, "_metadata", "none")


def destination_with_metadata(nn: ModuleType) -> Any:
    destination: Any = OrderedDict(x=1)
    destination._metadata = OrderedDict()
    tree(nn).state_dict(destination=destination, prefix="q.")
    return list(destination), dict(destination._metadata)


BEHAVIOURS: dict[str, Behaviour] = {
    "state_dict": call("state_dict"),
    "state_dict, deep": call("state_dict", make=deep),
    "state_dict, type": lambda nn: type(tree(nn).state_dict()) is OrderedDict,
    "state_dict, prefix": call("state_dict", prefix="net."),
    "state_dict, destination": lambda nn: list(tree(nn).state_dict(destination=Doubling(x=1))),
    "state_dict, destination, metadata": lambda nn: metadata_of(tree(nn).state_dict(destination=Doubling())),
    "state_dict, destination that has metadata": destination_with_metadata,
    "state_dict, positional": positional(),
    "state_dict, positional with prefix": positional("p."),
    "state_dict, all positional": lambda nn: leaf(nn).state_dict(None, "p.", True)["p.weight"].requires_grad,
    "state_dict, too many": positional("p.", True, prefix="q."),
    "state_dict, unknown keyword": call("state_dict", strict=True),
    "state_dict, detached": lambda nn: [v.requires_grad for v in tree(nn).state_dict().values()],
    "state_dict, keep_vars": lambda nn: [v.requires_grad for v in tree(nn).state_dict(keep_vars=True).values()],
    "state_dict, same object": lambda nn: (lambda m: m.state_dict(keep_vars=True)["weight"] is m.weight)(leaf(nn)),
    "state_dict, same memory": lambda nn: (
        lambda m: m.state_dict()["weight"].data_ptr() == m.weight.data_ptr() and type(m.state_dict()["weight"]).__name__
    )(leaf(nn)),
    "state_dict, metadata": lambda nn: dict(tree(nn).state_dict()._metadata),
    "state_dict, metadata with prefix": lambda nn: dict(tree(nn).state_dict(prefix="p.")._metadata),
    "state_dict, own saving": lambda nn: {k: v.tolist() for k, v in with_saving(nn).state_dict().items()},
    "state_dict, own state_dict": own_state_dict,
    "extra state": lambda nn: (list(with_extra(nn).state_dict()), with_extra(nn).state_dict()["net._extra_state"]),
    "extra state, metadata": lambda nn: dict(with_extra(nn).state_dict()._metadata),
    "extra state, tensor": lambda nn: with_extra(nn, torch.ones(2)).state_dict()["net._extra_state"].tolist(),
    "extra state, not defined": lambda nn: nn.Module().get_extra_state(),
    "setting extra state, not defined": lambda nn: nn.Module().set_extra_state(3),
    "state-dict pre-hook": hooked("register_state_dict_pre_hook", note),
    "state-dict pre-hook on a child": hooked("register_state_dict_pre_hook", note, on="a"),
    "state-dict pre-hook, returning": hooked("register_state_dict_pre_hook", lambda seen, *a: {}),
    "state-dict post-hook": hooked("register_state_dict_post_hook", note),
    "state-dict post-hook that adds": hooked("register_state_dict_post_hook", add_key),
    "state-dict post-hook that adds, on a child": hooked("register_state_dict_post_hook", add_key, on="b"),
    "state-dict post-hook, returning": hooked("register_state_dict_post_hook", lambda seen, *a: {}),
    "state-dict hook, returning": hooked("_register_state_dict_hook", lambda seen, *a: {"only": 1}),
    "state-dict hook, returning, on a child": hooked("_register_state_dict_hook", lambda seen, *a: {"only": 1}, on="a"),
    "state-dict hook registered both ways": both_ways,
    "state-dict hook removed": removed_hook,
}
