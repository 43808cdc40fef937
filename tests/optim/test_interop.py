"""torch's optimizers on tritonnet's parameters, tritonnet's on torch's; schedulers, hooks, copies, import lines."""

import copy
import inspect
import pickle

import pytest
import torch
from torch.optim import lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from tests.optim.conftest import distance, parameters, train
from tritonnet import Parameter, optim

# SparseAdam takes sparse gradients alone, which tritonnet does not make.
TORCHS = {name: cls for name, cls in vars(torch.optim).items() if inspect.isclass(cls)}
TORCHS = {name: cls for name, cls in TORCHS.items() if name not in ("Optimizer", "SparseAdam")}
OURS = [("SGD", {"lr": 0.01, "momentum": 0.9, "dampening": 0.1}), ("Adam", {"amsgrad": True}), ("AdamW", {})]
SHAPES = ((6, 5), (4, 6))


def twins(cls, kinds=(Parameter, torch.nn.Parameter), **kwargs):
    return [cls([kind(p.detach().clone()) for p in parameters(shapes=SHAPES)], **kwargs) for kind in kinds]


def params(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


IMPLEMENTATIONS = [
    (name, kwargs)
    for name, cls in TORCHS.items()
    for kwargs in [{}, *({flag: True} for flag in ("foreach", "fused") if flag in inspect.signature(cls).parameters)]
]


@pytest.mark.parametrize("name, kwargs", IMPLEMENTATIONS)
def test_torchs_optimizers_take_tritonnets_parameters(name, kwargs):
    mine, torchs = twins(TORCHS[name], **kwargs)
    for optimizer in (mine, torchs):
        if name == "LBFGS":

            def loss(optimizer=optimizer):
                optimizer.zero_grad()
                value = sum((p**4).sum() for p in params(optimizer))
                value.backward()
                return value

            for _ in range(3):
                optimizer.step(loss)
        else:
            train(optimizer, steps=4)
    assert distance(params(mine), params(torchs)) == 0
    assert distance(params(mine), parameters(shapes=SHAPES)) > 0
    assert all(type(p) is Parameter for p in params(mine))
    copied = copy.deepcopy(mine)
    copied.load_state_dict(torchs.state_dict())


@pytest.mark.parametrize("name", optim.__all__[:3])
def test_signatures_are_torchs(name):
    ours, theirs = (inspect.signature(getattr(space, name)).parameters for space in (optim, torch.optim))
    positional = [[p.name for p in of.values() if p.kind == p.POSITIONAL_OR_KEYWORD] for of in (ours, theirs)]
    assert positional[0] == positional[1]
    defaults = [{p.name: p.default for p in of.values() if p.name != "unknown"} for of in (ours, theirs)]
    assert {key: defaults[0][key] for key in defaults[1]} == defaults[1]


@pytest.mark.parametrize("name, hyper", OURS)
def test_tritonnets_optimizers_take_any_tensors(name, hyper):
    kinds = (Parameter, torch.nn.Parameter, lambda values: values.requires_grad_())
    first, *others = twins(getattr(optim, name), kinds, **hyper)
    train(first, steps=4)
    for other in others:
        train(other, steps=4)
        assert distance(params(first), params(other)) == 0


SCHEDULES = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: 0.9**step),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda step: 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2, 0.5),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 3], 0.5),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.5, 3),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, total_iters=4),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.8),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 5, 2.0),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.1, 2, cycle_momentum=True),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=8),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, 0.5, 2), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, total_iters=2), lr_scheduler.ExponentialLR(o, 0.9)], [2]
    ),
}


def test_every_scheduler_is_tried():
    assert SCHEDULES.keys() == set(lr_scheduler.__all__) - {"LRScheduler"}


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("name, hyper", OURS[:2])
def test_schedulers(name, hyper, as_tensor):
    """Learning rates, and momentum or betas where these are cycled; a learning rate that is a tensor stays that one."""
    for schedule in SCHEDULES.values():
        optimizers = []
        for space in (optim, torch.optim):
            lr = torch.tensor(0.01, dtype=torch.float64) if as_tensor and space is optim else 0.01
            (optimizer,) = twins(getattr(space, name), (torch.nn.Parameter,), **{**hyper, "lr": lr})
            scheduler = schedule(optimizer)
            for step in range(6):
                train(optimizer, steps=1, seed=step, missing=None)
                scheduler.step(*((1.0,) if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else ()))
            optimizers.append(optimizer)
            if as_tensor and space is optim:
                assert optimizer.param_groups[0]["lr"] is lr
        mine, torchs = optimizers
        assert float(mine.param_groups[0]["lr"]) == pytest.approx(torchs.param_groups[0]["lr"], rel=1e-12)
        assert distance(params(mine), params(torchs)) < 1e-6


@pytest.mark.parametrize("name, hyper", OURS)
def test_hooks_copies_and_groups(name, hyper):
    """What torch's base class offers: each of these goes the way that it goes with torch's own optimizer."""
    results = []
    for space in (optim, torch.optim):
        (optimizer,) = twins(getattr(space, name), (torch.nn.Parameter,), **hyper)
        calls = []
        handles = [
            register_optimizer_step_pre_hook(lambda *_, calls=calls: calls.append("before any")),
            register_optimizer_step_post_hook(lambda *_, calls=calls: calls.append("after any")),
            optimizer.register_step_pre_hook(lambda *_, calls=calls: calls.append("before")),
            optimizer.register_step_post_hook(lambda *_, calls=calls: calls.append("after")),
            optimizer.register_state_dict_pre_hook(lambda *_, calls=calls: calls.append("before saving")),
            optimizer.register_state_dict_post_hook(lambda *_, calls=calls: calls.append("after saving")),
            optimizer.register_load_state_dict_pre_hook(lambda *_, calls=calls: calls.append("before loading")),
            optimizer.register_load_state_dict_post_hook(lambda *_, calls=calls: calls.append("after loading")),
        ]
        train(optimizer, steps=1, missing=None)
        optimizer.load_state_dict(optimizer.state_dict())
        for handle in handles:
            handle.remove()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            train(optimizer, steps=1, missing=None)
        calls.append(sum(event.name == f"Optimizer.step#{name}.step" for event in profile.events()))
        copies = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
        for other in (optimizer, *copies):
            other.add_param_group({"params": parameters(shapes=((3,),), seed=9), "lr": 0.1})
            train(other, steps=3)
            assert distance(params(other), params(optimizer)) == 0
        calls.append(repr(optimizer))
        optimizer.zero_grad(set_to_none=False)
        assert all(p.grad is not None and not p.grad.any() for p in params(optimizer))
        results.append((params(optimizer), calls))
    (mine, ours), (torchs, theirs) = results
    assert ours == theirs
    assert distance(mine, torchs) < 1e-6


def test_import_lines():
    for line in (
        "import torch.optim as optim; found = optim.SGD, optim.Optimizer, optim.lr_scheduler.StepLR",
        "from torch.optim import SGD, Adam, AdamW, Optimizer; found = SGD, Adam, AdamW, Optimizer",
        "from torch.optim import lr_scheduler; found = lr_scheduler.StepLR,",
        "from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR; found = CosineAnnealingLR, StepLR",
        "import torch.optim.lr_scheduler as schedulers; found = schedulers.OneCycleLR,",
        "from torch.optim.optimizer import Optimizer; found = Optimizer,",
        "from torch.optim.sgd import SGD; from torch.optim.adam import Adam; found = SGD, Adam",
    ):
        found = []
        for script in (line, line.replace("torch", "tritonnet")):
            space: dict[str, object] = {}
            exec(script, space)
            found.append(space["found"])
        assert [cls.__name__ for cls in found[0]] == [cls.__name__ for cls in found[1]]
    message = (
        "tritonnet.optim.RMSprop: tritonnet does not offer it; torch.optim.RMSprop works on tritonnet's parameters"
    )
    with pytest.raises(AttributeError, match=message):
        optim.RMSprop  # noqa: B018
    with pytest.raises(ImportError, match=message):
        exec("from tritonnet.optim import RMSprop")
    with pytest.raises(AttributeError, match="there is no such name"):
        optim.Sgdd  # noqa: B018
