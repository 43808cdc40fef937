"""load_state_dict: what is loaded, what is refused, and the code of users that takes part in it."""

from collections import OrderedDict
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from tests.beside_torch import Behaviour
from tests.parity.models import leaf, tree, values
from tests.parity.saving import with_extra, with_saving


def loading(change: Callable[[dict[str, Any]], Any], strict: bool = True, assign: bool = False) -> Behaviour:
    """Load a changed state dict into a tree."""

    def behave(nn: ModuleType) -> Any:
        module, state = tree(nn), OrderedDict((k, v.clone() + 1) for k, v in tree(nn).state_dict().items())
        change(state)
        keys = module.load_state_dict(state, strict=strict, assign=assign)
        return keys.missing_keys, keys.unexpected_keys, repr(keys), values(module), module.a.weight.requires_grad

    return behave


def dtypes(module_dtype: torch.dtype, state_dtype: torch.dtype, assign: bool = False) -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        module = leaf(nn).to(module_dtype)
        state = {k: v.to(state_dtype) for k, v in leaf(nn).state_dict().items()}
        module.load_state_dict(state, assign=assign)
        return module.weight.dtype, module.mean.dtype, module.weight.tolist(), type(module.weight).__name__

    return behave


def renamed(through: str) -> Behaviour:
    """An older state dict, whose key the class or a hook renames while it is loaded."""

    def behave(nn: ModuleType) -> Any:
        def rename(module: Any, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
            if local_metadata.get("version", 1) < 2:
                state_dict[prefix + "scale"] = state_dict.pop(prefix + "gamma")

        class Net(nn.Module):  # type: ignore[name-defined,misc]
            _version = 2

            def __init__(self) -> None:
                super().__init__()
                self.scale = nn.Parameter(torch.zeros(2))
                if through == "hook":
                    self.register_load_state_dict_pre_hook(rename)
                elif through == "hook without module":
                    self._register_load_state_dict_pre_hook(lambda *args: rename(None, *args))
                elif through == "method as hook":
                    self._register_load_state_dict_pre_hook(self.older)
                elif through == "hook with module":
                    self._register_load_state_dict_pre_hook(rename, with_module=True)

            def older(self, *args: Any) -> None:
                rename(self, *args)

            def _load_from_state_dict(self, state_dict: Any, *args: Any) -> None:
                if through == "override":
                    rename(self, state_dict, *args)
                super()._load_from_state_dict(state_dict, *args)

        outer = nn.Module()
        outer.net = Net()
        state = {"net.gamma": torch.ones(2)}
        outer.load_state_dict(state)
        return outer.net.scale.tolist(), outer.state_dict()._metadata["net"], list(state)

    return behave


def overriding(load: Any, state: dict[str, Any] | None = None, strict: bool = True) -> Behaviour:
    """A child whose class overrides _load_from_state_dict with a function of (super's, self, *args)."""

    def behave(nn: ModuleType) -> Any:
        class Net(nn.Module):  # type: ignore[name-defined,misc]
            def __init__(self) -> None:
                super().__init__()
                self.w = nn.Parameter(torch.zeros(2))
                self.register_buffer("total", torch.zeros(()))

            def _load_from_state_dict(self, *args: Any) -> None:
                load(super()._load_from_state_dict, self, *args)

        outer = nn.Module()
        outer.net, outer.other = Net(), leaf(nn)
        given = {"net.w": torch.ones(2), "net.total": torch.tensor(1.0)} if state is None else state
        given |= {f"other.{key}": value for key, value in leaf(nn).state_dict().items()}
        keys = outer.load_state_dict(given, strict=strict)
        return list(keys.missing_keys), list(keys.unexpected_keys), values(outer)

    return behave


def compute_afterwards(load: Any, self: Any, *args: Any) -> None:
    load(*args)
    self.total = self.w.detach().sum() * 10


def by_hand(load: Any, self: Any, state_dict: Any, prefix: str, *args: Any) -> None:
    self.w.data.copy_(state_dict.pop(prefix + "w") * 3)
    self.total = state_dict[prefix + "total"]


def resized(load: Any, self: Any, state_dict: Any, prefix: str, *args: Any) -> None:
    self.w.data = torch.empty_like(state_dict[prefix + "w"])
    load(state_dict, prefix, *args)


def filled_in(load: Any, self: Any, state_dict: Any, prefix: str, *args: Any) -> None:
    state_dict.setdefault(prefix + "total", torch.tensor(7.0))
    load(state_dict, prefix, *args)


def with_message(load: Any, self: Any, *args: Any) -> None:
    load(*args)
    args[-1].append("wrong in its own way")


def forgiving(load: Any, self: Any, state_dict: Any, prefix: str, metadata: Any, strict: bool, *lists: Any) -> None:
    load(state_dict, prefix, metadata, False, *lists)


def seen_arguments(
    load: Any, self: Any, state_dict: Any, prefix: str, metadata: Any, strict: bool, *lists: Any
) -> None:
    self.w.data.fill_(len(state_dict) * 100 + len(prefix) * 10 + strict)
    assert (
        dict(metadata) == {}
        and [list(one) for one in lists] == [[], [], []]
        and set(state_dict)
        == {
            "net.w",
            "net.total",
        }
    )


def post_hook(hook: Any, change: Callable[[dict[str, Any]], Any] = lambda state: None, on: str = "") -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        module, state = tree(nn), OrderedDict((k, v.clone() + 1) for k, v in tree(nn).state_dict().items())
        change(state)
        seen: list[Any] = []
        module.get_submodule(on).register_load_state_dict_post_hook(lambda *args: hook(seen, *args))
        keys = module.load_state_dict(state)
        return keys.missing_keys, keys.unexpected_keys, seen, values(module)

    return behave


def note_loaded(seen: list[Any], module: Any, keys: Any) -> None:
    seen.append((list(module.state_dict()), values(module), list(keys.missing_keys), list(keys.unexpected_keys)))


def forgive(seen: list[Any], module: Any, keys: Any) -> None:
    keys.missing_keys.clear()
    keys.unexpected_keys.clear()


def forbid(seen: list[Any], module: Any, keys: Any) -> None:
    keys.missing_keys.append("what never was")


def change_values(seen: list[Any], module: Any, keys: Any) -> None:
    with torch.no_grad():
        for param in module.parameters():
            param.mul_(2)


def extra(change: Callable[[dict[str, Any]], Any] = lambda state: None, strict: bool = True) -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        module, state = with_extra(nn, "old"), OrderedDict(with_extra(nn, "new").state_dict())
        change(state)
        keys = module.load_state_dict(state, strict=strict)
        return module.net.state, list(keys.missing_keys), list(keys.unexpected_keys)

    return behave


def prefixed(nn: ModuleType) -> Any:
    """A part of a larger state dict, and a prefix taken off."""
    state = {f"module.{key}": value + 1 for key, value in leaf(nn).state_dict().items()}
    other = leaf(nn)
    other.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    module = tree(nn)
    module.a.load_state_dict(state)
    return values(other), values(module)


def saved_in_another_form(nn: ModuleType) -> Any:
    module = with_saving(nn)
    keys = module.load_state_dict(module.state_dict(), strict=False)
    return list(keys.missing_keys), list(keys.unexpected_keys)


def keeps_identity(assign: bool) -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        module = leaf(nn)
        weight, mean = module.weight, module.mean
        module.load_state_dict({k: v + 1 for k, v in module.state_dict().items()}, assign=assign)
        return module.weight is weight, module.mean is mean, type(module.weight).__name__, module.weight.requires_grad

    return behave


def assigned_frozen(nn: ModuleType) -> Any:
    module = leaf(nn)
    module.weight.requires_grad_(False)
    given = {"weight": nn.Parameter(torch.ones(3)), "mean": torch.zeros(3)}
    module.load_state_dict(given, assign=True)
    return module.weight is given["weight"], module.mean is given["mean"], module.weight.requires_grad


def meta(assign: bool) -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        module = nn.Linear(2, 2, device="meta")
        module.load_state_dict({"weight": torch.ones(2, 2), "bias": torch.ones(2)}, assign=assign)
        return module.weight.device.type, module.weight.requires_grad

    return behave


def scalar(source: Any) -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        module = nn.Module()
        module.x = nn.Parameter(torch.tensor(0.0))
        module.load_state_dict({"x": source})
        return module.x.tolist()

    return behave


def loaded_from(make: Callable[[Any], Any]) -> Behaviour:
    return lambda nn: (lambda m: (repr(m.load_state_dict(make(m))), values(m)))(leaf(nn))


class Holder:
    """Not a mapping, and not for want of methods."""

    def items(self) -> Any:
        return [].__iter__()


def itself(state: dict[str, Any]) -> None:
    pass


def old_version(nn: ModuleType) -> Any:
    seen = []

    class Net(nn.Module):  # type: ignore[name-defined,misc]
        _version = 5

        def _load_from_state_dict(self, state_dict: Any, prefix: str, metadata: Any, *rest: Any) -> None:
            seen.append((prefix, dict(metadata)))

    outer = nn.Module()
    outer.net = Net()
    state = outer.state_dict()
    outer.load_state_dict(state)
    outer.load_state_dict(OrderedDict(state))
    outer.load_state_dict(state, assign=True)
    return seen


BEHAVIOURS: dict[str, Behaviour] = {
    "load": loading(itself),
    "load, keys in another order": loading(lambda state: state.update(reversed(list(state.items())))),
    "load, missing": loading(lambda state: state.pop("a.weight")),
    "load, missing, not strict": loading(lambda state: state.pop("a.weight"), strict=False),
    "load, nothing, not strict": loading(lambda state: state.clear(), strict=False),
    "load, nothing": loading(lambda state: state.clear()),
    "load, unexpected": loading(lambda state: state.update({"x.y": torch.ones(1)})),
    "load, unexpected, not strict": loading(lambda state: state.update({"a.y": torch.ones(1)}), strict=False),
    "load, unexpected below a leaf": loading(lambda state: state.update({"a.weight.v": torch.ones(1)}), strict=False),
    "load, key with a number": loading(lambda state: state.update({"0": torch.ones(1)}), strict=False),
    "load, non-persistent": loading(lambda state: state.update({"a.cache": torch.ones(2)})),
    "load, non-persistent, not strict": loading(lambda state: state.update({"a.cache": torch.ones(2)}), strict=False),
    "load, None parameter": loading(lambda state: state.update({"a.bias": torch.ones(2)})),
    "load, None module": loading(lambda state: state.update({"gone.weight": torch.ones(2)}), strict=False),
    "load, extra state for none": loading(lambda state: state.update({"a._extra_state": 3})),
    "load, extra state for none, not strict": loading(lambda state: state.update({"_extra_state": 3}), strict=False),
    "load, shape": loading(lambda state: state.update({"a.mean": torch.ones(2)})),
    "load, shape, not strict": loading(lambda state: state.update({"a.mean": torch.ones(2)}), strict=False),
    "load, shape of as many elements": loading(lambda state: state.update({"a.mean": torch.ones(3, 1)})),
    "load, empty tensor": loading(lambda state: state.update({"a.mean": torch.ones(0)})),
    "load, not a tensor": loading(lambda state: state.update({"a.mean": [1, 1, 1]})),
    "load, None": loading(lambda state: state.update({"a.mean": None})),
    "load, assign": loading(itself, assign=True),
    "load, assign, missing": loading(lambda state: state.pop("a.weight"), assign=True),
    "load, assign, shape": loading(lambda state: state.update({"a.mean": torch.ones(2)}), assign=True),
    "load, assign, not a tensor": loading(lambda state: state.update({"a.mean": 3}), assign=True),
    "load, assign keeps no identity": keeps_identity(True),
    "load keeps identity": keeps_identity(False),
    "load, assign to a frozen parameter": assigned_frozen,
    "load, not a mapping": lambda nn: tree(nn).load_state_dict([1]),
    "load, like a mapping": lambda nn: tree(nn).load_state_dict(Holder()),
    "load, from its own": loaded_from(lambda module: module.state_dict()),
    "load, from keep_vars": loaded_from(lambda module: module.state_dict(keep_vars=True)),
    "load, from a plain dict": loaded_from(lambda module: dict(module.state_dict())),
    "load, expanded": loaded_from(lambda module: {"weight": torch.ones(1).expand(3), "mean": torch.ones(6)[::2]}),
    "load, of parameters": loaded_from(
        lambda module: {"weight": torch.nn.Parameter(torch.ones(3)), "mean": module.mean}
    ),
    "load, one-element vector into scalar": scalar(torch.ones(1)),
    "load, two-element vector into scalar": scalar(torch.ones(2)),
    "load, matrix into scalar": scalar(torch.ones(1, 1)),
    "load, wider dtype": dtypes(torch.float64, torch.float32),
    "load, narrower dtype": dtypes(torch.float16, torch.float32),
    "load, integers": dtypes(torch.float32, torch.int64),
    "load, wider dtype, assign": dtypes(torch.float64, torch.float32, assign=True),
    "load, narrower dtype, assign": dtypes(torch.float16, torch.float32, assign=True),
    "load onto meta": meta(False),
    "load onto meta, assign": meta(True),
    "load with a prefix": prefixed,
    "load, renamed by an override": renamed("override"),
    "load, renamed by a hook": renamed("hook"),
    "load, renamed by a hook without module": renamed("hook without module"),
    "load, renamed by a private hook with module": renamed("hook with module"),
    "load, renamed by a method as hook": renamed("method as hook"),
    "load, versions": old_version,
    "override that computes from what was loaded": overriding(compute_afterwards),
    "override that loads by hand": overriding(by_hand),
    "override that loads by hand and fails": overriding(by_hand, {"net.w": torch.ones(2)}),
    "override that resizes": overriding(resized, {"net.w": torch.ones(5), "net.total": torch.tensor(1.0)}),
    "override that fills in": overriding(filled_in, {"net.w": torch.ones(2)}),
    "override that complains": overriding(with_message),
    "override that complains, not strict": overriding(with_message, strict=False),
    "override that is not strict": overriding(forgiving, {"net.w": torch.ones(2), "net.other": torch.ones(1)}),
    "override that raises": overriding(lambda load, self, *args: 1 / 0),
    "override and its arguments": overriding(seen_arguments),
    "override that does nothing": overriding(lambda load, self, *args: None),
    "load post-hook": post_hook(note_loaded),
    "load post-hook on a child": post_hook(note_loaded, on="b"),
    "load post-hook, missing": post_hook(note_loaded, lambda state: state.pop("a.mean")),
    "load post-hook that forgives": post_hook(forgive, lambda state: (state.pop("a.mean"), state.update(x=1))),
    "load post-hook of a child that forgives": post_hook(forgive, lambda state: state.pop("a.mean"), on="b"),
    "load post-hook that forbids": post_hook(forbid),
    "load post-hook that changes values": post_hook(change_values),
    "load post-hook that returns": post_hook(lambda seen, *args: 3),
    "load post-hook that raises": post_hook(lambda seen, *args: 1 / 0),
    "load, own saving": saved_in_another_form,
    "load, extra state": extra(),
    "load, extra state missing": extra(lambda state: state.pop("net._extra_state")),
    "load, extra state missing, not strict": extra(lambda state: state.pop("net._extra_state"), strict=False),
    "load, extra state a tensor": extra(lambda state: state.update({"net._extra_state": "text"})),
}
