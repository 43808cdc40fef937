"""Calls, constructors, copies, pickles, text, Parameters and Buffers."""

import copy
import inspect
import io
import pickle
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from tests.beside_torch import Behaviour
from tests.parity.models import deep, leaf, scaling, tree


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


def super_init(flag: bool, *args: Any, **kwargs: Any) -> Behaviour:
    """A class that derives from Module and another, whose __init__ takes arguments."""

    def behave(nn: ModuleType) -> Any:
        class Other:
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                self.given = args, kwargs

        class Net(nn.Module, Other):  # type: ignore[name-defined,misc]
            call_super_init = flag

        return vars(Net(*args, **kwargs)).get("given")

    return behave


def mixed(nn: ModuleType) -> Any:
    """A mixin in front, and one behind."""

    class Front:
        def forward(self, x: int) -> Any:
            return ("front", super().forward(x))  # type: ignore[misc]

    class Core(nn.Module):  # type: ignore[name-defined,misc]
        def forward(self, x: int) -> Any:
            return ("core", x)

    class Net(Front, Core):
        pass

    return Net()(3), [c.__name__ for c in Net.__mro__[:3]]


def tree_of_classes(nn: ModuleType) -> Any:
    module = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(2, 3))
    module[2].weight = module[0].weight
    module[0].weight.grad = torch.ones(3, 2)
    module.register_buffer("count", torch.tensor(3), persistent=False)
    module.note = ["kept"]
    module.eval()
    return module


def structure(module: Any) -> Any:
    flags = [(name, child.training) for name, child in module.named_modules()]
    grad = module[0].weight.grad
    kept = list(module.state_dict()), module.note, module.count.item()
    return flags, kept, module[2].weight is module[0].weight, grad is None, module[0].weight.requires_grad


def independent(nn: ModuleType) -> Any:
    module = tree_of_classes(nn)
    other = copy.deepcopy(module)
    with torch.no_grad():
        other[0].weight.zero_()
    other.note.append("more")
    other.add_module("new", nn.Identity())
    del other[1]
    return len(module), module.note, module[0].weight.abs().sum().item() > 0, len(other)


def view_copied(nn: ModuleType) -> Any:
    module = nn.Module()
    module.w = nn.Parameter(torch.zeros(100)[10:14])
    duplicate = copy.deepcopy(module)
    return duplicate.w.untyped_storage().nbytes(), duplicate.w.shape, duplicate.w.data_ptr() != module.w.data_ptr()


LOG: list[Any] = []


def log_hook(module: Any, *given: Any) -> None:
    LOG.append((type(module).__name__, len(given)))


def log_load(module: Any, *given: Any) -> None:
    LOG.append((type(module).__name__, given[1]))


def with_hooks(nn: ModuleType) -> Any:
    module = nn.Sequential(nn.Identity())
    module[0].register_forward_hook(log_hook)
    module[0].register_forward_pre_hook(log_hook, with_kwargs=True)
    module.register_state_dict_pre_hook(log_hook)
    module.register_state_dict_post_hook(log_hook)
    module[0].register_load_state_dict_pre_hook(log_load)
    module.register_load_state_dict_post_hook(log_hook)
    module[0].register_full_backward_hook(log_hook)
    return module


def hooks_in_a_copy(duplicate: Any) -> Behaviour:
    """Hooks run in the copy, and those of the original know nothing of it."""

    def behave(nn: ModuleType) -> Any:
        original = with_hooks(nn)
        module = duplicate(original)
        LOG.clear()
        module(torch.ones(1, requires_grad=True)).sum().backward()
        module.load_state_dict(module.state_dict())
        seen = list(LOG)
        module[0]._forward_hooks.clear()
        module[0]._forward_pre_hooks.clear()
        LOG.clear()
        original(torch.ones(1))
        return seen, list(LOG)

    return behave


def bound_hook(nn: ModuleType) -> Any:
    """A hook that is a method of its module: the copy's hook is the copy's method."""

    class Net(nn.Module):  # type: ignore[name-defined,misc]
        calls = 0

        def __init__(self) -> None:
            super().__init__()
            self.register_forward_hook(self.count)

        def count(self, *given: Any) -> None:
            self.calls += 1

        def forward(self, x: int) -> int:
            return x

    net = Net()
    other = copy.deepcopy(net)
    other(1), other(1), net(1)
    return net.calls, other.calls


def handle_copied(duplicate: Any) -> Behaviour:
    """A handle that is copied together with its module removes the copy's hook."""

    def behave(nn: ModuleType) -> Any:
        module = nn.Identity()
        handle = module.register_forward_hook(log_hook, with_kwargs=True)
        other, its_handle = duplicate((module, handle))
        its_handle.remove()
        counts = len(module._forward_hooks), len(other._forward_hooks), len(other._forward_hooks_with_kwargs)
        return counts, its_handle.id == handle.id

    return behave


def compiled_copy(nn: ModuleType) -> Any:
    module = nn.Identity()
    module.compile(backend="eager")
    return module._compiled_call_impl is None, copy.deepcopy(module)._compiled_call_impl is None


def stateful(nn: ModuleType) -> Any:
    """A class with its own __getstate__ and __setstate__."""

    class Net(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(2))
            self.lock = 5

        def __getstate__(self) -> Any:
            state = self.__dict__.copy()
            del state["lock"]
            return state

        def __setstate__(self, state: Any) -> None:
            super().__setstate__(state)
            self.lock = 6

    other = copy.deepcopy(Net())
    return other.lock, list(other.state_dict()), other.w.tolist()


def torch_saved(nn: ModuleType) -> Any:
    file = io.BytesIO()
    torch.save(tree_of_classes(nn), file)
    file.seek(0)
    return structure(torch.load(file, weights_only=False))


def shallow(nn: ModuleType) -> Any:
    module = tree_of_classes(nn)
    other = copy.copy(module)
    return other is module, other[0] is module[0], other[0].weight is module[0].weight, other.note is module.note


def multiline(nn: ModuleType) -> Any:
    class Net(nn.Module):  # type: ignore[name-defined,misc]
        def extra_repr(self) -> str:
            return "one\ntwo"

    net = Net()
    net.child = nn.Identity()
    return net


def one_line_and_child(nn: ModuleType) -> Any:
    class Net(nn.Module):  # type: ignore[name-defined,misc]
        def extra_repr(self) -> str:
            return "one"

        def _get_name(self) -> str:
            return "Named"

    net = Net()
    bare = repr(net)
    net.child = Net()
    return bare + repr(net)


def under_no_grad(nn: ModuleType) -> Any:
    with torch.no_grad():
        return nn.Parameter(torch.ones(1)).requires_grad


def shares(make: Any) -> bool:
    data = torch.ones(2)
    return bool(make(data).data_ptr() == data.data_ptr())


def parameter_copies(make: Any) -> Any:
    """dtype, flags and values of a copy and of a pickle."""
    one = make()
    one.note = "kept"
    found = []
    for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one)), copy.copy(one)):
        same = type(other) is type(one), other.requires_grad, other.grad is None, other.tolist(), other.dtype
        found.append((*same, getattr(other, "persistent", None)))
    return found, getattr(pickle.loads(pickle.dumps(one)), "note", None)


def hashing(nn: ModuleType) -> Any:
    a, b = nn.Identity(), nn.Identity()
    return a == a, a == b, len({a, b, a}), bool(a)


def is_dir_clean(nn: ModuleType) -> Any:
    module = nn.Sequential(nn.Identity())
    module.name = nn.Identity()
    module.w = nn.Parameter(torch.ones(1))
    module.register_buffer("b", torch.ones(1))
    module.plain = 1
    found = dir(module)
    return [name in found for name in ("0", "name", "w", "b", "plain", "forward", "nothing")]


def signature(name: str) -> Behaviour:
    """Names, kinds and defaults of a method's parameters."""
    return lambda nn: [
        (p.name, p.kind, p.default) for p in inspect.signature(getattr(nn.Module, name)).parameters.values()
    ]


SIGNATURES = [
    name for name in dir(torch.nn.Module) if name[0] != "_" and inspect.isfunction(getattr(torch.nn.Module, name))
]
SIGNATURES += ["_load_from_state_dict", "_save_to_state_dict", "_named_members", "_get_name", "_apply", "_call_impl"]
SIGNATURES += ["_register_state_dict_hook", "_register_load_state_dict_pre_hook", "__init__", "__call__"]
SIGNATURES.remove("forward")
GROUPS: dict[str, Behaviour] = {
    "forward": forward_twice,
    "no forward": lambda nn: nn.Module()(1),
    "too many arguments": lambda nn: scaling(nn)(1, 2, 3),
    "forward of a bound method": lambda nn: scaling(nn).forward(torch.tensor(2.0)).item(),
    "constructor takes nothing": lambda nn: nn.Module(3),
    "constructor takes no keyword": lambda nn: nn.Module(a=3),
    "constructor hands on": super_init(True, 1, b=2),
    "constructor hands nothing on": super_init(False),
    "constructor refuses to hand on": super_init(False, 1),
    "mixins": mixed,
    "class attributes": lambda nn: (nn.Module._version, nn.Module.dump_patches, nn.Module.call_super_init),
    "training from the start": lambda nn: (nn.Module().training, vars(nn.Module())["training"]),
    "T_destination": lambda nn: nn.Module.T_destination.__name__,
    "comparing": hashing,
    "not iterable": lambda nn: iter(nn.Module()),
    "no length": lambda nn: len(nn.Module()),
    "deepcopy": lambda nn: structure(copy.deepcopy(tree_of_classes(nn))),
    "deepcopy is independent": independent,
    "deepcopy of a view": view_copied,
    "deepcopy of hooks": hooks_in_a_copy(copy.deepcopy),
    "deepcopy of a method as hook": bound_hook,
    "deepcopy of a handle": handle_copied(copy.deepcopy),
    "deepcopy of a compiled module": compiled_copy,
    "deepcopy of a graph's tensor": lambda nn: copy.deepcopy(keeping(nn)),
    "own __getstate__": stateful,
    "copy": shallow,
    "pickle": lambda nn: structure(pickle.loads(pickle.dumps(tree_of_classes(nn)))),
    "pickle of hooks": hooks_in_a_copy(lambda module: pickle.loads(pickle.dumps(module))),
    "pickle of a handle": handle_copied(lambda both: pickle.loads(pickle.dumps(both))),
    "torch.save of a module": torch_saved,
    "dir": is_dir_clean,
    "repr, empty": lambda nn: repr(nn.Module()),
    "repr, nested": lambda nn: repr(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Identity()))),
    "repr, None child": lambda nn: repr(tree(nn)),
    "repr, deep": lambda nn: repr(deep(nn)),
    "repr, lines": lambda nn: repr(multiline(nn)),
    "repr, one line and a child": one_line_and_child,
    "repr, parameter": lambda nn: repr(nn.Parameter(torch.ones(2))),
    "repr, buffer": lambda nn: repr(nn.Buffer(torch.ones(2))),
    "repr, frozen parameter": lambda nn: repr(nn.Parameter(torch.ones(2, dtype=torch.float64), requires_grad=False)),
    "extra_repr": lambda nn: nn.Module().extra_repr(),
    "_get_name": lambda nn: leaf(nn)._get_name(),
    "integer parameter": lambda nn: nn.Parameter(torch.arange(3)),
    "frozen integer parameter": lambda nn: nn.Parameter(torch.arange(3), requires_grad=False).dtype,
    "complex parameter": lambda nn: nn.Parameter(torch.ones(2, dtype=torch.complex64)).requires_grad,
    "parameter without data": lambda nn: nn.Parameter().shape,
    "parameter of a list": lambda nn: nn.Parameter([1.0]),
    "parameter of a parameter": lambda nn: nn.Parameter(nn.Parameter(torch.ones(2)), False).requires_grad,
    "parameter of a computed tensor": lambda nn: nn.Parameter(torch.ones(2, requires_grad=True) * 2).is_leaf,
    "parameter, attributes": lambda nn: (lambda p: setattr(p, "decay", 0.1) or p.decay)(nn.Parameter(torch.ones(1))),
    "parameter under no_grad": under_no_grad,
    "operations give tensors": lambda nn: (type(nn.Parameter(torch.ones(1)) * 2), type(nn.Buffer(torch.ones(1)) + 1)),
    "parameter is a leaf": lambda nn: (nn.Parameter(torch.ones(1)).is_leaf, nn.Parameter(torch.ones(1)).grad),
    "parameter is a Tensor": lambda nn: isinstance(nn.Parameter(torch.ones(1)), Tensor),
    "parameter is no Buffer": lambda nn: isinstance(nn.Parameter(torch.ones(1)), nn.Buffer),
    "buffer is no Parameter": lambda nn: isinstance(nn.Buffer(torch.ones(1)), nn.Parameter),
    "tensor is no Parameter": lambda nn: isinstance(torch.ones(1), nn.Parameter),
    "buffer needs no gradient": lambda nn: nn.Buffer(torch.ones(1)).requires_grad,
    "buffer, positional persistent": lambda nn: nn.Buffer(torch.ones(1), False),
    "buffer without data": lambda nn: (nn.Buffer().shape, nn.Buffer().persistent),
    "parameter shares memory": lambda nn: shares(nn.Parameter),
    "buffer shares memory": lambda nn: shares(nn.Buffer),
    "copies of a parameter": lambda nn: parameter_copies(lambda: nn.Parameter(torch.ones(2))),
    "copies of a frozen parameter": lambda nn: parameter_copies(lambda: nn.Parameter(torch.ones(2), False)),
    "copies of a buffer": lambda nn: parameter_copies(lambda: nn.Buffer(torch.ones(2))),
    "copies of a non-persistent buffer": lambda nn: parameter_copies(
        lambda: nn.Buffer(torch.ones(2), persistent=False)
    ),
}
BEHAVIOURS: dict[str, Behaviour] = GROUPS | {f"signature of {name}": signature(name) for name in SIGNATURES}


def keeping(nn: ModuleType) -> Any:
    """A module that keeps an output with its graph, which cannot be copied."""
    module = scaling(nn)
    module.last = module(torch.ones(1))
    return module
