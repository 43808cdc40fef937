"""Public training scripts whose import of torch.nn is changed, and nothing else, beside the scripts as they are.

None of their code is kept here. The tests are skipped unless TRITONNET_SCRIPTS names a folder that holds checkouts of

    examples        https://github.com/pytorch/examples         at 77f55b912142e11fcfdf5b530231fb9c52f181e8
    pytorch-cifar   https://github.com/kuangliu/pytorch-cifar   at 49b7aa97b0c12fe0d4054e670403a16b6b834ddd
    vision          https://github.com/pytorch/vision           at 1f1a920d685d46dfbe187934b785b7ecb7a182f2

Of a script that would parse arguments and download data, the imports and the model are taken; its loss and its
optimizer are repeated below.
"""

import ast
import copy
import os
import pickle
import re
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import tritonnet
import tritonnet.optim

FOLDER = Path(os.environ.get("TRITONNET_SCRIPTS", "/nonexistent"))
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="TRITONNET_SCRIPTS names no folder of checkouts")

STEPS = 3
Space = dict[str, Any]


@dataclass(frozen=True)
class Script:
    """A script's model and how it is trained.

    take: names of what is kept of the file; everything but imports of other packages if there are none.
    data: input and target, in float64.
    loss: of the script's names, the model, input and target.
    """

    path: str
    model: Callable[[Space], Any]
    data: Callable[[], tuple[Tensor, Tensor]]
    loss: Callable[[Space, Any, Tensor, Tensor], Tensor]
    optimizer: str
    options: dict[str, Any]
    take: tuple[str, ...] = ()


def images(batch: int, channels: int, size: int, classes: int = 10) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (torch.randn(batch, channels, size, size).double(), torch.randint(classes, (batch,)))


def states() -> tuple[Tensor, Tensor]:
    return torch.randn(7, 4).double(), torch.randint(2, (7,))


def nodes() -> tuple[Tensor, Tensor]:
    return torch.randn(9, 16).double(), torch.randint(3, (9,))


def cross_entropy(space: Space, net: Any, x: Tensor, target: Tensor) -> Tensor:
    return space["nn"].CrossEntropyLoss()(net(x), target)


def nll(space: Space, net: Any, x: Tensor, target: Tensor) -> Tensor:
    return space["F"].nll_loss(net(x), target)


def nll_on_a_ring(space: Space, net: Any, x: Tensor, target: Tensor) -> Tensor:
    """Of a graph whose nodes have two neighbours each."""
    alone = torch.eye(len(x), dtype=x.dtype)
    return space["nn"].NLLLoss()(net(x, (alone + alone.roll(1, 0) + alone.roll(-1, 0)) / 3), target)


def reconstruction(space: Space, net: Any, x: Tensor, _: Tensor) -> Tensor:
    return space["loss_function"](net(x.sigmoid())[0], x.sigmoid(), *net(x.sigmoid())[1:])


def chosen(probabilities: Tensor, action: Tensor) -> Tensor:
    return torch.distributions.Categorical(probabilities).log_prob(action)


def actor_and_critic(space: Space, net: Any, x: Tensor, action: Tensor) -> Tensor:
    probabilities, values = net(x)
    returns = x.sum(1, keepdim=True)
    advantage = (returns - values.detach()).squeeze(1)
    return -(chosen(probabilities, action) * advantage).sum() + space["F"].smooth_l1_loss(values, returns)


SGD = ("SGD", {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4})
ADAM = ("Adam", {"lr": 1e-3})
SCRIPTS = [
    Script(
        "examples/mnist/main.py",
        lambda space: space["Net"](),
        images(4, 1, 28),
        nll,
        "Adadelta",
        {"lr": 1.0},
        take=("Net",),
    ),
    Script(
        "examples/mnist_hogwild/main.py",
        lambda space: space["Net"](),
        images(4, 1, 28),
        nll,
        "SGD",
        {"lr": 0.01, "momentum": 0.5},
        take=("Net",),
    ),
    Script(
        "examples/vae/main.py",
        lambda space: space["VAE"](),
        images(4, 1, 28),
        reconstruction,
        *ADAM,
        take=("VAE", "loss_function"),
    ),
    Script(
        "examples/super_resolution/model.py",
        lambda space: space["Net"](upscale_factor=3),
        lambda: (torch.randn(2, 1, 12, 12).double(), torch.randn(2, 1, 36, 36).double()),
        lambda space, net, x, target: space["nn"].MSELoss()(net(x), target),
        *ADAM,
    ),
    Script(
        "examples/reinforcement_learning/reinforce.py",
        lambda space: space["Policy"](),
        states,
        lambda space, net, x, action: -(chosen(net(x), action) * x.sum(1)).sum(),
        "Adam",
        {"lr": 1e-2},
        take=("Policy",),
    ),
    Script(
        "examples/reinforcement_learning/actor_critic.py",
        lambda space: space["Policy"](),
        states,
        actor_and_critic,
        "Adam",
        {"lr": 3e-2},
        take=("Policy",),
    ),
    Script(
        "examples/gcn/main.py",
        lambda space: space["GCN"](16, 8, 3),
        nodes,
        nll_on_a_ring,
        "Adam",
        {"lr": 1e-2, "weight_decay": 5e-4},
        take=("GraphConv", "GCN"),
    ),
    Script(
        "examples/gat/main.py",
        lambda space: space["GAT"](16, 8, 2, 3),
        nodes,
        nll_on_a_ring,
        "Adam",
        {"lr": 5e-3, "weight_decay": 5e-4},
        take=("GraphAttentionLayer", "GAT"),
    ),
    Script("pytorch-cifar/models/lenet.py", lambda space: space["LeNet"](), images(4, 3, 32), cross_entropy, *SGD),
    Script(
        "vision/torchvision/models/squeezenet.py",
        lambda space: space["squeezenet1_1"](num_classes=10),
        images(2, 3, 64),
        cross_entropy,
        *SGD,
    ),
    Script(
        "vision/torchvision/models/alexnet.py",
        lambda space: space["alexnet"](num_classes=10),
        images(2, 3, 95),
        cross_entropy,
        *SGD,
    ),
]


class Enumeration:
    """Stands for torchvision's enumerations of weights, none of which is loaded."""

    @staticmethod
    def verify(weights: object) -> object:
        return weights


def decorator(*_: object, **__: object) -> Callable[[Any], Any]:
    return lambda decorated: decorated


TORCHVISIONS: Space = {
    "WeightsEnum": Enumeration,
    "Weights": dict,
    "ImageClassification": dict,
    "_IMAGENET_CATEGORIES": [],
    "register_model": decorator,
    "handle_legacy_interface": decorator,
    "_log_api_usage_once": lambda module: None,
    "__name__": "script",
}
KEPT_IMPORTS = {"torch", "tritonnet", "functools", "typing", "math", "itertools", "collections", "__future__"}


def changed(text: str) -> str:
    """The script with tritonnet.nn for torch.nn in its imports, and where it writes torch.nn in full."""
    text = re.sub(r"^from torch import nn\b.*", "from tritonnet import nn", text, flags=re.MULTILINE)
    return "import tritonnet.nn\n" + re.sub(r"\btorch\.nn\b", "tritonnet.nn", text)


def kept(node: ast.stmt, take: tuple[str, ...]) -> bool:
    if isinstance(node, ast.Import):
        return all(alias.name.partition(".")[0] in KEPT_IMPORTS for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return not node.level and (node.module or "").partition(".")[0] in KEPT_IMPORTS
    return not take or getattr(node, "name", None) in take


def executed(path: str, ours: bool, take: tuple[str, ...] = ()) -> Space:
    text = (FOLDER / path).read_text()
    tree = ast.parse(changed(text) if ours else text)
    tree.body = [node for node in tree.body if kept(node, take)]
    futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    tree.body = futures + [node for node in tree.body if node not in futures]
    space = dict(TORCHVISIONS)
    exec(compile(tree, path, "exec"), space)
    return space


def model_of(script: Script, ours: bool) -> tuple[Space, Any]:
    space = executed(script.path, ours, script.take)
    torch.manual_seed(3)
    # Dropout drops other elements than torch's.
    return space, script.model(space).eval()


@dataclass
class Course:
    """What training gave, step by step."""

    losses: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    parameters: dict[str, Tensor] = field(default_factory=dict)


def recorded(net: Any, outputs: list[Tensor]) -> Callable[..., Any]:
    def call(*inputs: Tensor) -> Any:
        result = net(*inputs)
        outputs.extend(output.detach().clone() for output in tree_leaves(result))
        return result

    return call


def trained(script: Script, ours: bool, dtype: torch.dtype) -> Course:
    space, net = model_of(script, ours)
    net = net.to(dtype)
    torch.manual_seed(4)
    x, target = script.data()
    x, target = (value.to(dtype) if value.is_floating_point() else value for value in (x, target))
    library = tritonnet.optim if ours and hasattr(tritonnet.optim, script.optimizer) else torch.optim
    optimizer = getattr(library, script.optimizer)(net.parameters(), **script.options)
    course = Course()
    for step in range(STEPS):
        torch.manual_seed(step)
        optimizer.zero_grad()
        loss = script.loss(space, recorded(net, course.outputs), x, target)
        loss.backward()
        course.losses.append(loss.detach())
        if step == 0:
            course.gradients = {name: param.grad.clone() for name, param in net.named_parameters()}
        optimizer.step()
    course.parameters = {name: param.detach().clone() for name, param in net.named_parameters()}
    return course


def close(ours: Tensor, theirs: Tensor, exact: Tensor, what: str) -> None:
    """No further from float64 than some times torch's own distance, as a share of the largest value."""
    scale = exact.abs().max().clamp(min=1e-30)
    mine, yours = ((one.double() - exact).abs().max() / scale for one in (ours, theirs))
    floor = 1e-9 if ours.dtype == torch.float64 else 1e-5
    assert mine <= max(4 * yours, floor), f"{what}: {mine:.2g} from float64, torch's is {yours:.2g}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("script", SCRIPTS, ids=[script.path for script in SCRIPTS])
def test_trains_as_with_torch(script, dtype):
    exact = trained(script, False, torch.float64)
    theirs = exact if dtype == torch.float64 else trained(script, False, dtype)
    ours = trained(script, True, dtype)
    for step in range(STEPS):
        close(ours.losses[step], theirs.losses[step], exact.losses[step], f"loss {step}")
    for at, (mine, yours, best) in enumerate(zip(ours.outputs, theirs.outputs, exact.outputs, strict=True)):
        close(mine, yours, best, f"output {at}")
    for kind in ("gradients", "parameters"):
        mine, yours, best = (getattr(course, kind) for course in (ours, theirs, exact))
        assert list(mine) == list(yours)
        for name in mine:
            close(mine[name], yours[name], best[name], f"{kind} {name}")


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.path for script in SCRIPTS])
def test_starts_as_with_torch_and_loads_its_weights(script):
    (_, ours), (_, theirs) = model_of(script, True), model_of(script, False)
    assert repr(ours) == repr(theirs)
    mine, yours = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(yours)
    assert all(torch.equal(mine[key], yours[key]) for key in mine)
    ours.load_state_dict(yours)
    theirs.load_state_dict(mine)


def converted(script: Script) -> tuple[Space, Any, Any]:
    """The script as it is, its model, and what from_torch makes of that."""
    space, theirs = model_of(script, False)
    return space, theirs.double(), tritonnet.from_torch(theirs)


def double(data: tuple[Tensor, Tensor]) -> list[Tensor]:
    return [value.double() if value.is_floating_point() else value for value in data]


def outcome(script: Script, space: Space, net: Any, data: list[Tensor]) -> list[Tensor]:
    """Outputs, the loss and gradients of one step, in float64."""
    outputs: list[Tensor] = []
    torch.manual_seed(5)
    net.zero_grad()
    loss = script.loss(space, recorded(net, outputs), *data)
    loss.backward()
    return [*outputs, loss.detach(), *(param.grad.clone() for param in net.parameters())]


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.path for script in SCRIPTS])
def test_is_taken_over_by_from_torch(script):
    space, theirs, ours = converted(script)
    assert isinstance(ours, tritonnet.Module) and repr(ours) == repr(theirs)
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]
    mine, yours = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(yours) and all(torch.equal(mine[key], yours[key]) for key in mine)
    data = double(script.data())
    for a, b in zip(outcome(script, space, ours, data), outcome(script, space, theirs, data), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.path for script in SCRIPTS])
def test_hooks_are_called_as_with_torch(script):
    seen: list[list[tuple[str, str, tuple[int, ...]]]] = []
    data = double(script.data())
    for ours in (True, False):
        space, net = model_of(script, ours)
        calls: list[tuple[str, str, tuple[int, ...]]] = []

        def note(kind: str, name: str, values: Any, calls: Any = calls) -> None:
            shapes = [tuple(value.shape) for value in tree_leaves(values) if isinstance(value, Tensor)]
            calls.append((kind, name, *shapes))

        for name, module in net.double().named_modules():
            # An operation in place may not follow a module with backward hooks; torch says so as well.
            if not getattr(module, "inplace", False):
                module.register_forward_pre_hook(lambda _, args, name=name: note("before", name, args))
                module.register_forward_hook(lambda _, args, result, name=name: note("after", name, result))
        net.register_full_backward_hook(lambda _, above, below: note("backward", "", (above, below)))
        data[0] = data[0].detach().requires_grad_()
        outcome(script, space, net, data)
        seen.append(calls)
    assert seen[0] == seen[1] and len(seen[0]) > 4


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.path for script in SCRIPTS])
def test_copies_pickles_and_moves(script, monkeypatch):
    space, net = model_of(script, True)
    net, data = net.double(), double(script.data())
    expected = outcome(script, space, net, data)
    # A pickle names the classes of the script by the module that they are in.
    monkeypatch.setitem(sys.modules, "script", types.ModuleType("script"))
    vars(sys.modules["script"]).update(space)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert all(torch.equal(a, b) for a, b in zip(outcome(script, space, other, data), expected, strict=True))
    parameters = list(net.parameters())
    state = {key: value.clone() for key, value in net.state_dict().items()}
    meta = copy.deepcopy(net).to("meta")
    assert all(param.is_meta for param in meta.parameters())
    meta.to_empty(device="cpu").load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(outcome(script, space, meta, data), expected, strict=True))
    net.float().double().half().double()
    assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
    net.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(outcome(script, space, net, data), expected, strict=True))


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.path for script in SCRIPTS])
def test_trains_with_dropout_at_work(script):
    space, net = model_of(script, True)
    x, target = script.data()
    script.loss(space, net.train(), x.float(), target.float() if target.is_floating_point() else target).backward()
    assert all(param.grad is not None and param.grad.isfinite().all() for param in net.parameters())


def test_the_regression_script_runs_as_it_is():
    """It trains by hand, until the loss is small; here for twenty batches."""
    found = []
    for ours in (True, False):
        text = (FOLDER / "examples/regression/main.py").read_text()
        text = text.replace("in count(1)", "in range(20)")
        torch.manual_seed(3)
        space: Space = {"__name__": "script"}
        exec(changed(text).replace("from __future__ import print_function", "") if ours else text, space)
        found.append((space["loss"], space["fc"].weight.detach(), space["fc"].bias.detach()))
    for mine, yours in zip(*found, strict=True):
        torch.testing.assert_close(mine, yours, rtol=1e-3, atol=1e-3)
