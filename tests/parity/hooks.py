"""Hooks around a call and its backward: of one module, and of all."""

import warnings
from collections import OrderedDict
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from tests.beside_torch import Behaviour
from tests.parity.models import scaling


def plain(value: Any) -> Any:
    """Tensors as numbers, modules as names, all else as it is."""
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value if isinstance(value, str | int | float | type(None)) else type(value).__name__


def forward(*hooks: tuple[str, Any, dict[str, Any]], args: Any = (3.0,), **kwargs: Any) -> Behaviour:
    """Call x * 2 + shift with hooks: (method, function of (log, *what it gets), options)."""

    def behave(nn: ModuleType) -> Any:
        net, log = scaling(nn), []  # type: ignore[var-annotated]
        for number, (method, hook, options) in enumerate(hooks):

            def noted(*given: Any, hook: Any = hook, number: int = number) -> Any:
                log.append((number, plain(given)))
                return hook(*given)

            getattr(net, method)(noted, **options)
        given = [torch.tensor(a, requires_grad=True) if isinstance(a, float) else a for a in args]
        try:
            result = plain(net(*given, **kwargs))
        except ValueError as error:
            result = str(error)
        return result, log

    return behave


PRE, POST = "register_forward_pre_hook", "register_forward_hook"


def nothing(*given: Any) -> None:
    pass


def failing(*given: Any) -> None:
    raise ValueError("of the hook")


def backward(*hooks: tuple[str, Any], inputs: int = 1, needs: bool = True, options: Any = None) -> Behaviour:
    """Gradients and what backward hooks saw of a module that returns a tuple of sums and products."""

    def behave(nn: ModuleType) -> Any:
        class Net(nn.Module):  # type: ignore[name-defined,misc]
            def __init__(self) -> None:
                super().__init__()
                self.w = nn.Parameter(torch.tensor(3.0))

            def forward(self, x: Any, *more: Any) -> Any:
                y = x * self.w
                return (y, *(y * m if isinstance(m, Tensor) else m for m in more)) if more else y

        net, log = Net(), []  # type: ignore[var-annotated]
        for method, hook in hooks:

            def noted(*given: Any, hook: Any = hook, method: str = method) -> Any:
                log.append((method, plain(given)))
                return hook(*given)

            getattr(net, method)(noted, **(options or {}))
        given = [torch.tensor(float(n + 2), requires_grad=needs) for n in range(inputs)]
        result = net(*given, *(["text"] if inputs > 1 else []))
        outputs = [y for y in result if isinstance(y, Tensor)] if isinstance(result, tuple) else [result]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sum(outputs).backward()  # type: ignore[union-attr]
        return plain([x.grad for x in given]), plain(net.w.grad), log

    return behave


PRE_BACK, BACK = "register_full_backward_pre_hook", "register_full_backward_hook"


def both_sorts(first: str, second: str) -> Behaviour:
    def behave(nn: ModuleType) -> Any:
        module = scaling(nn)
        getattr(module, first)(nothing)
        getattr(module, second)(nothing)

    return behave


def regular_warns(nn: ModuleType) -> Any:
    module = scaling(nn)
    module.register_backward_hook(nothing)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        module(torch.ones(2, requires_grad=True), 1.0).sum().backward()
    return [warning.category.__name__ for warning in said]


def changed_in_place(nn: ModuleType) -> Any:
    module = scaling(nn)
    module.register_full_backward_hook(nothing)
    module(torch.ones(2, requires_grad=True)).add_(1).sum().backward()


def backward_of_a_dict(nn: ModuleType) -> Any:
    """No backward hooks for outputs that are neither a tensor nor a tuple: torch warns."""

    class Net(nn.Module):  # type: ignore[name-defined,misc]
        def forward(self, x: Tensor) -> Any:
            return {"y": x * 2}

    net, log = Net(), []  # type: ignore[var-annotated]
    net.register_full_backward_hook(lambda *given: log.append(plain(given)))
    x = torch.ones(1, requires_grad=True)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        net(x)["y"].backward()
    return log, x.grad.tolist(), [warning.category.__name__ for warning in said]  # type: ignore[union-attr]


def removing(nn: ModuleType) -> Any:
    net, log = scaling(nn), []  # type: ignore[var-annotated]
    x = torch.tensor(1.0)
    handles = [net.register_forward_hook(lambda *a, n=n: log.append(n), with_kwargs=n > 1) for n in range(4)]
    net(x)
    handles[1].remove()
    handles[1].remove()
    net(x)
    with handles[2] as entered:
        assert entered is handles[2]
    net(x)
    counts = len(net._forward_hooks), len(net._forward_hooks_with_kwargs), handles[0].id in net._forward_hooks
    net._forward_hooks.clear()
    net(x)
    return log, counts, [name for name in vars(handles[0]) if name == "id"]


def removing_while_called(nn: ModuleType) -> Any:
    """A hook that removes itself, as scripts that look once do."""
    net, log = scaling(nn), []  # type: ignore[var-annotated]

    def once(*given: Any) -> None:
        log.append("once")
        handle.remove()

    handle = net.register_forward_hook(once)
    net(torch.tensor(1.0)), net(torch.tensor(1.0))
    return log


def replaced_tables(nn: ModuleType) -> Any:
    """Code that reaches into the tables of hooks."""
    net, log = scaling(nn), []  # type: ignore[var-annotated]
    before = [len(getattr(net, name)) for name in TABLES]
    net._forward_hooks[77] = lambda *given: log.append("post")
    net._forward_pre_hooks[78] = lambda *given: log.append("pre")
    net(torch.tensor(1.0))
    net._forward_hooks = OrderedDict()
    net(torch.tensor(1.0))
    return before, log, net._is_full_backward_hook


TABLES = [
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
]


def everywhere(register: str, hook: Any = nothing, raises: bool = False, **options: Any) -> Behaviour:
    """A hook of all modules around two nested ones, with a hook of their own."""

    def behave(nn: ModuleType) -> Any:
        log: list[Any] = []

        def noted(module: Any, *given: Any) -> Any:
            log.append((type(module).__name__, plain(given)))
            return hook(module, *given)

        net = nn.Sequential(nn.Identity(), scaling(nn))
        net[1].register_forward_hook(lambda *given: log.append("own"))
        net[1].register_full_backward_hook(lambda *given: log.append("own backward"))
        with getattr(nn.modules.module, f"register_module_{register}")(noted, **options):
            x = torch.tensor(1.0, requires_grad=True)
            try:
                net("text" if raises else x).backward()
            except ValueError as error:
                log.append(str(error))
        if not raises:
            net(x.detach())
        return log, plain(x.grad)

    return behave


def everywhere_both(nn: ModuleType) -> Any:
    nn.modules.module.register_module_full_backward_hook(nothing).remove()
    nn.modules.module.register_module_backward_hook(nothing)


def everywhere_in_order(nn: ModuleType) -> Any:
    log: list[str] = []
    net = scaling(nn)
    net.register_forward_pre_hook(lambda *given: log.append("own pre"))
    net.register_forward_hook(lambda *given: log.append("own"), prepend=True)
    module = nn.modules.module
    first = module.register_module_forward_pre_hook(lambda *given: log.append("pre 1"))
    second = module.register_module_forward_pre_hook(lambda *given: log.append("pre 2"))
    with first, second, module.register_module_forward_hook(lambda *given: log.append("post")):
        net(torch.tensor(1.0))
    return log


def around(nn: ModuleType) -> Any:
    """Hooks of a whole tree, in the order in which they are called."""
    net, log = nn.Sequential(scaling(nn), nn.Sequential(scaling(nn))), []  # type: ignore[var-annotated]
    for name, module in net.named_modules():
        module.register_forward_pre_hook(lambda *given, name=name: log.append(f"{name} before"))
        module.register_forward_hook(lambda *given, name=name: log.append(f"{name} after"))
        module.register_full_backward_pre_hook(lambda *given, name=name: log.append(f"{name} back"))
        module.register_full_backward_hook(lambda *given, name=name: log.append(f"{name} gone"))
    net(torch.tensor(1.0, requires_grad=True)).backward()
    return log


def features(nn: ModuleType) -> Any:
    """Taking intermediate outputs, and their gradients."""
    net, taken = nn.Sequential(scaling(nn), scaling(nn, 3.0)), {}  # type: ignore[var-annotated]
    net[0].register_forward_hook(lambda module, args, output: taken.update(feature=output))
    net[0].register_full_backward_hook(lambda module, gi, go: taken.update(grad=go[0]))
    net(torch.tensor(1.0, requires_grad=True)).backward()
    return plain(taken)


def without_grad(nn: ModuleType) -> Any:
    net, log = scaling(nn), []  # type: ignore[var-annotated]
    net.register_full_backward_hook(lambda *given: log.append(1))
    net.register_forward_hook(lambda module, args, output: log.append(output.requires_grad))
    with torch.no_grad():
        net(torch.tensor(1.0, requires_grad=True))
    return log


def compiled(nn: ModuleType) -> Any:
    """compile() goes through torch.compile, with hooks inside."""
    calls: list[str] = []

    def backend(graph: Any, example_inputs: Any) -> Any:
        calls.append("compiled")
        return graph.forward

    net = scaling(nn)
    net.register_forward_hook(lambda module, args, output: output + 1)
    net.compile(backend=backend)
    x = torch.tensor(1.0)
    return net(x).item(), net(x).item(), len(calls) > 0, net.forward(x).item()


def impl(nn: ModuleType) -> Any:
    net = scaling(nn)
    net.register_forward_hook(lambda module, args, output: output + 1)
    return net._call_impl(torch.tensor(1.0)).item(), net.forward(torch.tensor(1.0)).item()


def super_call(nn: ModuleType) -> Any:
    class Net(nn.Module):  # type: ignore[name-defined,misc]
        def forward(self, x: Tensor) -> Tensor:
            return x + 1

        def __call__(self, x: Tensor) -> Any:
            return super().__call__(x) * 10

    net = Net()
    before = net(torch.tensor(1.0)).item()
    net.register_forward_hook(lambda module, args, output: output + 1)
    return before, net(torch.tensor(1.0)).item(), nn.Module.__call__(net, torch.tensor(1.0)).item()


BEHAVIOURS: dict[str, Behaviour] = {
    "pre-hook": forward((PRE, nothing, {}), shift=1.0),
    "pre-hook that replaces": forward((PRE, lambda m, a: (a[0] + 1,), {}), shift=1.0),
    "pre-hook that replaces by a value": forward((PRE, lambda m, a: a[0] + 1, {})),
    "pre-hook that replaces by more": forward((PRE, lambda m, a: (a[0], 5.0), {})),
    "pre-hooks in order": forward((PRE, lambda m, a: a[0] + 1, {}), (PRE, lambda m, a: a[0] * 2, {})),
    "pre-hook, prepended": forward((PRE, lambda m, a: a[0] + 1, {}), (PRE, lambda m, a: a[0] * 2, {"prepend": True})),
    "pre-hook with kwargs": forward((PRE, nothing, {"with_kwargs": True}), shift=1.0),
    "pre-hook with kwargs that replaces": forward(
        (PRE, lambda m, a, k: ((a[0] + 1,), {"shift": 4.0}), {"with_kwargs": True}), shift=1.0
    ),
    "pre-hook with kwargs that returns one": forward((PRE, lambda m, a, k: (a,), {"with_kwargs": True})),
    "pre-hook with kwargs that returns a list": forward((PRE, lambda m, a, k: [a, k], {"with_kwargs": True})),
    "pre-hook that raises": forward((PRE, failing, {}), (POST, nothing, {"always_call": True})),
    "pre-hook, positional options": lambda nn: scaling(nn).register_forward_pre_hook(nothing, True),
    "hook": forward((POST, nothing, {}), shift=1.0),
    "hook that replaces": forward((POST, lambda m, a, y: y + 1, {})),
    "hook that replaces by text": forward((POST, lambda m, a, y: "text", {})),
    "hooks in order": forward((POST, lambda m, a, y: y + 1, {}), (POST, lambda m, a, y: y * 2, {})),
    "hook, prepended": forward((POST, lambda m, a, y: y + 1, {}), (POST, lambda m, a, y: y * 2, {"prepend": True})),
    "hook with kwargs": forward((POST, nothing, {"with_kwargs": True}), shift=1.0),
    "hook with kwargs that replaces": forward(
        (POST, lambda m, a, k, y: y + k["shift"], {"with_kwargs": True}), shift=1.0
    ),
    "hook that raises": forward((POST, failing, {})),
    "hook and pre-hook": forward((POST, nothing, {}), (PRE, lambda m, a: a[0] + 1, {})),
    "hook, call that raises": forward((POST, nothing, {}), args=("text",)),
    "hook always called": forward((POST, nothing, {"always_call": True})),
    "hook always called, call that raises": forward((POST, nothing, {"always_call": True}), args=("text",)),
    "hook always called with kwargs, call that raises": forward(
        (POST, nothing, {"always_call": True, "with_kwargs": True}), args=("text",), shift=2.0
    ),
    "hook always called that raises too": forward((POST, failing, {"always_call": True}), args=("text",)),
    "hook always called, other hook raises": forward(
        (POST, nothing, {"always_call": True}), (POST, failing, {}), (POST, nothing, {"always_call": True})
    ),
    "hook, unknown option": lambda nn: scaling(nn).register_forward_hook(nothing, always=True),
    "backward hook": backward((BACK, nothing)),
    "backward hook that replaces": backward((BACK, lambda m, gi, go: (gi[0] * 10,))),
    "backward hook that returns too much": backward((BACK, lambda m, gi, go: (gi[0], gi[0]))),
    "backward hooks in order": backward((BACK, lambda m, gi, go: (gi[0] + 1,)), (BACK, lambda m, gi, go: (gi[0] * 2,))),
    "backward hooks, prepended": backward(
        (BACK, lambda m, gi, go: (gi[0] + 1,)), (BACK, lambda m, gi, go: (gi[0] * 2,)), options={"prepend": True}
    ),
    "backward hook, several inputs": backward((BACK, nothing), inputs=2),
    "backward hook, several inputs, replacing": backward((BACK, lambda m, gi, go: (gi[0], gi[1] + 1, None)), inputs=2),
    "backward hook, no input needs gradients": backward((BACK, nothing), needs=False),
    "backward hook, no input needs gradients, replacing": backward((BACK, lambda m, gi, go: (go[0],)), needs=False),
    "backward pre-hook": backward((PRE_BACK, nothing)),
    "backward pre-hook that replaces": backward((PRE_BACK, lambda m, go: (go[0] * 10,))),
    "backward pre-hook that returns too much": backward((PRE_BACK, lambda m, go: (go[0], go[0]))),
    "backward pre-hook, several": backward((PRE_BACK, nothing), inputs=2),
    "backward hooks of both sides": backward((BACK, nothing), (PRE_BACK, lambda m, go: (go[0] * 10,))),
    "backward hook, regular": backward(("register_backward_hook", nothing)),
    "backward hook, regular, that replaces": backward(("register_backward_hook", lambda m, gi, go: (gi[0] * 5, gi[1]))),
    "backward hook, regular, several": backward(("register_backward_hook", nothing), inputs=2),
    "backward hook, regular, warns": regular_warns,
    "backward hooks of both sorts": both_sorts("register_backward_hook", BACK),
    "backward hooks of both sorts, other way": both_sorts(BACK, "register_backward_hook"),
    "backward hook, changed in place": changed_in_place,
    "backward hook, dict": backward_of_a_dict,
    "backward hook under no_grad": without_grad,
    "removing": removing,
    "removing while called": removing_while_called,
    "edited tables": replaced_tables,
    "hooks of a tree": around,
    "features": features,
    "compile": compiled,
    "_call_impl": impl,
    "own __call__": super_call,
    "everywhere, pre-hook": everywhere("forward_pre_hook"),
    "everywhere, pre-hook that replaces": everywhere("forward_pre_hook", lambda m, a: a[0] + 1),
    "everywhere, hook": everywhere("forward_hook"),
    "everywhere, hook that replaces": everywhere("forward_hook", lambda m, a, y: y + 1),
    "everywhere, hook with kwargs": everywhere("forward_hook", with_kwargs=True),
    "everywhere, hook, call that raises": everywhere("forward_hook", raises=True),
    "everywhere, hook always called, call that raises": everywhere("forward_hook", raises=True, always_call=True),
    "everywhere, hook always called that raises too": everywhere(
        "forward_hook", failing, raises=True, always_call=True
    ),
    "everywhere, backward pre-hook": everywhere("full_backward_pre_hook"),
    "everywhere, backward hook": everywhere("full_backward_hook"),
    "everywhere, backward hook that replaces": everywhere("full_backward_hook", lambda m, gi, go: (gi[0] * 2,)),
    "everywhere, regular backward hook": everywhere("backward_hook"),
    "everywhere, both sorts": everywhere_both,
    "everywhere, in order": everywhere_in_order,
}
