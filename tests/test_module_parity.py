"""Module beside torch.nn.Module: one list of behaviours, with equal results and the same kinds of error."""

import copy
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from tritonnet import nn

Behaviour = Callable[[ModuleType], Any]


def leaf(nn: ModuleType, size: int = 3) -> Any:
    """A module with one of each: parameter, None parameter, persistent and non-persistent buffer."""
    module = nn.Module()
    module.weight = nn.Parameter(torch.arange(float(size)))
    module.register_parameter("bias", None)
    module.register_buffer("mean", torch.ones(size))
    module.cache = nn.Buffer(torch.zeros(2), persistent=False)
    return module


def tree(nn: ModuleType) -> Any:
    """Two leaves of which the second shares its weight with the first, the first also under another name."""
    module = nn.Module()
    module.a, module.b = leaf(nn), leaf(nn)
    module.b.weight = module.a.weight
    module.again = module.a
    module.none = None
    module.add_module("gone", None)
    return module


def setting(name: str, value: Behaviour, before: str = "") -> Behaviour:
    """Assign a value to an attribute of a leaf or a fresh subclass; the result says where it went."""

    def behave(nn: ModuleType) -> Any:
        module = leaf(nn)
        module.child = nn.Module()
        module.plain = 5
        setattr(module, name, value(nn))
        return where(module, name)

    return behave


def where(module: Any, name: str) -> tuple[bool, ...]:
    views = (module._parameters, module._buffers, module._modules)
    return (*(name in view for view in views), getattr(module, name) is None, name in module.state_dict())


def without_init(assign: Callable[[Any, ModuleType], None]) -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        class Net(nn.Module):  # type: ignore[name-defined,misc]
            def __init__(self) -> None:
                assign(self, nn)

        return vars(Net()).get("x")

    return behave


def names(pairs: Any) -> list[str]:
    return [name for name, _ in pairs]


def call(method: str, *args: Any, make: Behaviour = tree, **kwargs: Any) -> Behaviour:
    """The names (or the plain result) that a method of the tree gives."""

    def behave(nn: ModuleType) -> Any:
        result = getattr(make(nn), method)(*args, **kwargs)
        if hasattr(result, "__next__"):
            items = list(result)
            return names(items) if items and isinstance(items[0], tuple) else len(items)
        return list(result) if isinstance(result, dict) else type(result).__name__

    return behave


def loading(change: Callable[[dict[str, Any]], None], strict: bool = True, assign: bool = False) -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        module, state = tree(nn), OrderedDict((k, v.clone() + 1) for k, v in tree(nn).state_dict().items())
        change(state)
        keys = module.load_state_dict(state, strict=strict, assign=assign)
        values = {key: value.tolist() for key, value in module.state_dict().items()}
        return keys.missing_keys, keys.unexpected_keys, repr(keys).lstrip("_"), values, module.a.weight.requires_grad

    return behave


def moved(move: Callable[[Any], Any]) -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        module = tree(nn)
        module.b.register_buffer("count", torch.tensor(3))
        module.a.weight.grad = torch.ones_like(module.a.weight)
        weight = module.a.weight
        assert move(module) is module
        tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        kinds = {name: (tensor.dtype, tensor.device.type, tensor.requires_grad) for name, tensor in tensors.items()}
        grad = module.a.weight.grad
        return kinds, grad.dtype, grad.device.type, module.b.weight is module.a.weight, weight.dtype

    return behave


def grads(act: Callable[[Any], Any]) -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        module = tree(nn)
        module.a.weight.sum().backward()
        act(module)
        grad = module.a.weight.grad
        return None if grad is None else grad.tolist(), module.a.weight.requires_grad

    return behave


def deleted(name: str) -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        module = leaf(nn)
        module.child = nn.Module()
        delattr(module, name)
        return hasattr(module, name), list(module._parameters), list(module._buffers), list(module._modules)

    return behave


class Doubling(dict):  # type: ignore[type-arg]
    pass


def versioned(nn: ModuleType) -> Any:
    """An older state dict, whose key the class renames while it is loaded."""

    class Net(nn.Module):  # type: ignore[name-defined,misc]
        _version = 2

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(2))

        def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
            if local_metadata.get("version", 1) < 2:
                state_dict[prefix + "scale"] = state_dict.pop(prefix + "gamma")
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    outer = nn.Module()
    outer.net = Net()
    outer.load_state_dict({"net.gamma": torch.ones(2)})
    return outer.net.scale.tolist(), outer.state_dict()._metadata["net"]


def extra_state(nn: ModuleType) -> Any:
    class Net(nn.Module):  # type: ignore[name-defined,misc]
        count = 0

        def get_extra_state(self) -> int:
            return 7

        def set_extra_state(self, state: int) -> None:
            self.count = state

    outer = nn.Module()
    outer.net = Net()
    state = outer.state_dict()
    outer.load_state_dict(state)
    return dict(state), outer.net.count


def forward_twice(nn: ModuleType) -> Any:
    class Net(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, x: Tensor, *, times: int = 1) -> Tensor:
            return x * self.scale * times

    net = Net()
    first = net(torch.tensor(3.0), times=2).item()
    net.forward = lambda x: x + 1
    return first, net(1)


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


def pickled(nn: ModuleType) -> Any:
    module = pickle.loads(pickle.dumps(tree_of_classes(nn)))
    return structure(module)


def tree_of_classes(nn: ModuleType) -> Any:
    module = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(2, 3))
    module[2].weight = module[0].weight
    module[0].weight.grad = torch.ones(3, 2)
    module.eval()
    return module


def structure(module: Any) -> Any:
    flags = [(name, child.training) for name, child in module.named_modules()]
    grad = module[0].weight.grad
    return flags, list(module.state_dict()), module[2].weight is module[0].weight, grad is None


def view_copied(nn: ModuleType) -> Any:
    module = nn.Module()
    module.w = nn.Parameter(torch.zeros(100)[10:14])
    duplicate = copy.deepcopy(module)
    return duplicate.w.untyped_storage().nbytes(), duplicate.w.shape, duplicate.w.data_ptr() != module.w.data_ptr()


def applied(nn: ModuleType) -> Any:
    seen: list[str] = []
    result = tree(nn).apply(lambda module: seen.append(type(module).__name__))
    return len(seen), seen[-1], type(result).__name__


def trained(nn: ModuleType) -> Any:
    module = tree(nn)
    flags = [module.training, module.eval().a.training, module.train().b.training, module.train(False).training]
    return flags


def repr_of(make: Behaviour) -> Callable[[ModuleType], str]:
    return lambda nn: repr(make(nn))


def multiline(nn: ModuleType) -> Any:
    class Net(nn.Module):  # type: ignore[name-defined,misc]
        def extra_repr(self) -> str:
            return "one\ntwo"

    net = Net()
    net.child = nn.Identity()
    return net


def contexts(nn: ModuleType) -> Any:
    with torch.device("meta"):
        meta = nn.Linear(2, 2)
    kept = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        double = nn.Conv2d(1, 1, 1)
    finally:
        torch.set_default_dtype(kept)
    given = nn.Linear(2, 2, device="meta", dtype=torch.float16)
    return meta.weight.device.type, double.weight.dtype, given.bias.dtype, given.bias.device.type


def from_meta(nn: ModuleType) -> Any:
    module = nn.Linear(2, 2, device="meta")
    module.to_empty(device="cpu")
    return module.weight.device.type, module.weight.requires_grad, module.bias.shape


def is_dir_clean(nn: ModuleType) -> Any:
    module = nn.Sequential(nn.Identity())
    module.name = nn.Identity()
    return "0" in dir(module), "name" in dir(module)


PARITY: dict[str, Behaviour] = {
    # assignment: what becomes what
    "new parameter": setting("x", lambda nn: nn.Parameter(torch.ones(1))),
    "new buffer": setting("x", lambda nn: nn.Buffer(torch.ones(1))),
    "new non-persistent buffer": setting("x", lambda nn: nn.Buffer(torch.ones(1), persistent=False)),
    "new module": setting("x", lambda nn: nn.Module()),
    "new tensor": setting("x", lambda nn: torch.ones(1)),
    "new None": setting("x", lambda nn: None),
    "parameter to parameter": setting("weight", lambda nn: nn.Parameter(torch.ones(1))),
    "None to parameter": setting("weight", lambda nn: None),
    "tensor to parameter": setting("weight", lambda nn: torch.ones(1)),
    "number to parameter": setting("weight", lambda nn: 5),
    "buffer to parameter": setting("weight", lambda nn: nn.Buffer(torch.ones(1))),
    "module to parameter": setting("weight", lambda nn: nn.Module()),
    "parameter to None parameter": setting("bias", lambda nn: nn.Parameter(torch.ones(1))),
    "tensor to None parameter": setting("bias", lambda nn: torch.ones(1)),
    "tensor to buffer": setting("mean", lambda nn: torch.zeros(1)),
    "tensor to non-persistent buffer": setting("cache", lambda nn: torch.zeros(1)),
    "buffer to non-persistent buffer": setting("cache", lambda nn: nn.Buffer(torch.zeros(1))),
    "non-persistent buffer to buffer": setting("mean", lambda nn: nn.Buffer(torch.zeros(1), persistent=False)),
    "None to buffer": setting("mean", lambda nn: None),
    "number to buffer": setting("mean", lambda nn: 5),
    "parameter to buffer": setting("mean", lambda nn: nn.Parameter(torch.ones(1))),
    "module to buffer": setting("mean", lambda nn: nn.Module()),
    "module to module": setting("child", lambda nn: nn.Module()),
    "None to module": setting("child", lambda nn: None),
    "number to module": setting("child", lambda nn: 5),
    "parameter to module": setting("child", lambda nn: nn.Parameter(torch.ones(1))),
    "buffer to module": setting("child", lambda nn: nn.Buffer(torch.ones(1))),
    "parameter to plain": setting("plain", lambda nn: nn.Parameter(torch.ones(1))),
    "buffer to plain": setting("plain", lambda nn: nn.Buffer(torch.ones(1))),
    "module to plain": setting("plain", lambda nn: nn.Module()),
    "parameter over a method": setting("eval", lambda nn: nn.Parameter(torch.ones(1))),
    # before __init__
    "parameter before init": without_init(lambda self, nn: setattr(self, "x", nn.Parameter(torch.ones(1)))),
    "buffer before init": without_init(lambda self, nn: self.register_buffer("x", torch.ones(1))),
    "module before init": without_init(lambda self, nn: setattr(self, "x", nn.Identity())),
    "number before init": without_init(lambda self, nn: setattr(self, "x", 5)),
    # names
    "register parameter": lambda nn: where_after(nn, "register_parameter", "x", nn.Parameter(torch.ones(1))),
    "register None parameter": lambda nn: where_after(nn, "register_parameter", "x", None),
    "register plain tensor as parameter": lambda nn: leaf(nn).register_parameter("x", torch.ones(1)),
    "register computed parameter": lambda nn: leaf(nn).register_parameter("x", computed(nn)),
    "register parameter with dot": lambda nn: leaf(nn).register_parameter("a.b", None),
    "register parameter without name": lambda nn: leaf(nn).register_parameter("", None),
    "register parameter with number": lambda nn: leaf(nn).register_parameter(3, None),
    "register parameter over buffer": lambda nn: leaf(nn).register_parameter("mean", None),
    "register parameter over attribute": lambda nn: leaf(nn).register_parameter("training", None),
    "register parameter again": lambda nn: leaf(nn).register_parameter("weight", None),
    "register buffer with dot": lambda nn: leaf(nn).register_buffer("a.b", None),
    "register buffer over parameter": lambda nn: leaf(nn).register_buffer("weight", None),
    "register number as buffer": lambda nn: leaf(nn).register_buffer("x", 5),
    "register buffer again": lambda nn: where_after(nn, "register_buffer", "cache", torch.ones(1)),
    "add module with dot": lambda nn: leaf(nn).add_module("a.b", None),
    "add module without name": lambda nn: leaf(nn).add_module("", None),
    "add module with number": lambda nn: leaf(nn).add_module(0, None),
    "add number as module": lambda nn: leaf(nn).add_module("x", 5),
    "add module over parameter": lambda nn: leaf(nn).add_module("weight", nn.Identity()),
    "register module": lambda nn: where_after(nn, "register_module", "x", nn.Identity()),
    # deletion, missing attributes
    "delete parameter": deleted("weight"),
    "delete None parameter": deleted("bias"),
    "delete buffer": deleted("mean"),
    "delete module": deleted("child"),
    "delete nothing": deleted("nothing"),
    "missing attribute": lambda nn: leaf(nn).nothing,
    "getattr default": lambda nn: getattr(leaf(nn), "nothing", 3),
    "dir": is_dir_clean,
    "edited views": edited_views,
    "wrapper's __getattr__": fallback_attributes,
    # walking
    "parameters": call("parameters"),
    "named_parameters": call("named_parameters"),
    "named_parameters, prefix": call("named_parameters", prefix="net"),
    "named_parameters, own": call("named_parameters", recurse=False),
    "named_parameters, own of leaf": call("named_parameters", recurse=False, make=leaf),
    "named_parameters, duplicates": call("named_parameters", remove_duplicate=False),
    "named_buffers": call("named_buffers"),
    "named_buffers, duplicates": call("named_buffers", remove_duplicate=False),
    "named_modules": call("named_modules"),
    "named_modules, prefix": call("named_modules", prefix="net"),
    "named_modules, duplicates": call("named_modules", remove_duplicate=False),
    "modules": call("modules"),
    "named_children": call("named_children"),
    "children": call("children"),
    "get_submodule": call("get_submodule", "a"),
    "get_submodule, self": call("get_submodule", ""),
    "get_submodule, none": call("get_submodule", "a.nothing"),
    "get_submodule, parameter": call("get_submodule", "a.weight"),
    "get_parameter": lambda nn: tree(nn).get_parameter("a.weight").tolist(),
    "get_parameter, buffer": lambda nn: tree(nn).get_parameter("a.mean"),
    "get_parameter, none": lambda nn: tree(nn).get_parameter("a.nothing"),
    "get_buffer": lambda nn: tree(nn).get_buffer("b.cache").tolist(),
    "get_buffer, parameter": lambda nn: tree(nn).get_buffer("a.weight"),
    "apply": applied,
    "train and eval": trained,
    "train, not a bool": call("train", 1),
    # state dicts
    "state_dict": call("state_dict"),
    "state_dict, prefix": call("state_dict", prefix="net."),
    "state_dict, destination": lambda nn: list(tree(nn).state_dict(destination=Doubling(x=1))),
    "state_dict, detached": lambda nn: [v.requires_grad for v in tree(nn).state_dict().values()],
    "state_dict, keep_vars": lambda nn: [v.requires_grad for v in tree(nn).state_dict(keep_vars=True).values()],
    "state_dict, metadata": lambda nn: dict(tree(nn).state_dict()._metadata),
    "load": loading(lambda state: None),
    "load, missing": loading(lambda state: state.pop("a.weight")),
    "load, missing, not strict": loading(lambda state: state.pop("a.weight"), strict=False),
    "load, unexpected": loading(lambda state: state.update({"x.y": torch.ones(1)})),
    "load, unexpected, not strict": loading(lambda state: state.update({"a.y": torch.ones(1)}), strict=False),
    "load, non-persistent": loading(lambda state: state.update({"a.cache": torch.ones(2)})),
    "load, None parameter": loading(lambda state: state.update({"a.bias": torch.ones(2)})),
    "load, shape": loading(lambda state: state.update({"a.mean": torch.ones(2)})),
    "load, shape, not strict": loading(lambda state: state.update({"a.mean": torch.ones(2)}), strict=False),
    "load, not a tensor": loading(lambda state: state.update({"a.mean": [1, 1, 1]})),
    "load, not a mapping": lambda nn: tree(nn).load_state_dict([1]),
    "load, assign": loading(lambda state: None, assign=True),
    "load, one-element vector into scalar": lambda nn: scalar(nn).load_state_dict({"x": torch.ones(1)}),
    "load, older version": versioned,
    "load, extra state": extra_state,
    # moves
    "double": moved(lambda m: m.double()),
    "half": moved(lambda m: m.half()),
    "bfloat16": moved(lambda m: m.bfloat16()),
    "float": moved(lambda m: m.float()),
    "type": moved(lambda m: m.type(torch.float64)),
    "cpu": moved(lambda m: m.cpu()),
    "to dtype": moved(lambda m: m.to(torch.float64)),
    "to device": moved(lambda m: m.to("cpu")),
    "to device and dtype": moved(lambda m: m.to("cpu", torch.float16, non_blocking=True)),
    "to tensor's": moved(lambda m: m.to(torch.ones(1, dtype=torch.float64))),
    "to integers": moved(lambda m: m.to(torch.int32)),
    "to nonsense": moved(lambda m: m.to("nowhere")),
    "to channels_last": lambda nn: nn.Conv2d(2, 2, 2).to(memory_format=torch.channels_last).weight.stride(),
    "to_empty from meta": from_meta,
    "meta to cpu": lambda nn: nn.Linear(2, 2, device="meta").to("cpu"),
    "device and dtype contexts": contexts,
    # gradients
    "zero_grad": grads(lambda m: m.zero_grad()),
    "zero_grad to zeros": grads(lambda m: m.zero_grad(set_to_none=False)),
    "freeze": grads(lambda m: m.requires_grad_(False)),
    # calls
    "forward": forward_twice,
    "no forward": lambda nn: nn.Module()(1),
    "constructor takes nothing": lambda nn: nn.Module(3),
    # copies
    "deepcopy": lambda nn: structure(copy.deepcopy(tree_of_classes(nn))),
    "deepcopy of a view": view_copied,
    "pickle": pickled,
    # text
    "repr, empty": repr_of(lambda nn: nn.Module()),
    "repr, nested": repr_of(lambda nn: nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Identity()))),
    "repr, None child": repr_of(tree),
    "repr, lines": repr_of(multiline),
    "repr, parameter": repr_of(lambda nn: nn.Parameter(torch.ones(2))),
    "repr, frozen parameter": repr_of(lambda nn: nn.Parameter(torch.ones(2, dtype=torch.float64), requires_grad=False)),
    # parameters
    "integer parameter": lambda nn: nn.Parameter(torch.arange(3)),
    "frozen integer parameter": lambda nn: nn.Parameter(torch.arange(3), requires_grad=False).dtype,
    "parameter without data": lambda nn: nn.Parameter().shape,
    "parameter under no_grad": lambda nn: under_no_grad(nn),
    "operations give tensors": lambda nn: (type(nn.Parameter(torch.ones(1)) * 2), type(nn.Buffer(torch.ones(1)) + 1)),
    "parameter is a leaf": lambda nn: (nn.Parameter(torch.ones(1)).is_leaf, nn.Parameter(torch.ones(1)).grad),
    "parameter shares memory": lambda nn: shares(nn.Parameter),
    "buffer shares memory": lambda nn: shares(nn.Buffer),
}


def where_after(nn: ModuleType, method: str, name: str, value: Any) -> Any:
    module = leaf(nn)
    getattr(module, method)(name, value)
    return where(module, name)


def computed(nn: ModuleType) -> Any:
    """A tensor that passes for a parameter and is not a leaf."""
    tensor = torch.ones(1, requires_grad=True) * 2
    tensor._is_param = True  # type: ignore[attr-defined]
    return tensor


def scalar(nn: ModuleType) -> Any:
    module = nn.Module()
    module.x = nn.Parameter(torch.tensor(0.0))
    return module


def under_no_grad(nn: ModuleType) -> Any:
    with torch.no_grad():
        return nn.Parameter(torch.ones(1)).requires_grad


def shares(make: Any) -> bool:
    data = torch.ones(2)
    return bool(make(data).data_ptr() == data.data_ptr())


def outcome(behave: Behaviour, nn: ModuleType) -> tuple[Any, BaseException | None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return behave(nn), None
        except Exception as error:
            return None, error


@pytest.mark.parametrize("behave", PARITY.values(), ids=PARITY.keys())
def test_behaves_as_torch(behave: Behaviour) -> None:
    expected, their_error = outcome(behave, torch.nn)
    result, our_error = outcome(behave, nn)
    if their_error is None:
        assert our_error is None, repr(our_error)
        assert result == expected
    else:
        assert isinstance(our_error, type(their_error)), f"torch: {their_error!r}, tritonnet: {our_error!r}"
