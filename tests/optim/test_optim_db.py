"""torch's own database of optimizers: every configuration, error and schedule that it has for those offered here."""

import copy
import functools
import warnings

import pytest

pytest.importorskip("expecttest")

import torch
from torch.utils._pytree import tree_map

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_optimizers import (
        OptimizerErrorEnum,
        _get_optim_inputs_including_global_cliquey_kwargs,
        optim_db,
    )

from tests.optim.conftest import parameters, train
from tritonnet import optim
from tritonnet.errors import ShapeError, TritonnetError

ENTRIES = [entry for entry in optim_db if entry.name in optim.__all__]
DTYPES = [torch.float64, torch.float32]
SHAPES = ((7, 5), (5,), ())

# What torch refuses and tritonnet takes: it has one implementation, which reads tensors of one element on the device.
TAKEN = {
    "lr as Tensor doesn't work with foreach & not capturable",
    "betas must be either both floats or both Tensors",
    r"betas\[0\] as a Tensor is not supported for capturable=False and foreach=True",
}
# What torch takes and tritonnet refuses.
REFUSED = {"differentiable": "the step is not recorded by autograd"}


def configurations(entry, dtype):
    """Those for a CPU with foreach, fused and differentiable on and off, and those that torch offers on a GPU alone."""
    found = _get_optim_inputs_including_global_cliquey_kwargs("cpu", dtype, entry)
    return found + [each for each in entry.optim_inputs_func("cuda") if each.kwargs.get("capturable")]


CASES = [
    pytest.param(entry, config.kwargs, id=f"{entry.name}-{config.desc}")
    for entry in ENTRIES
    for config in configurations(entry, torch.float32)
]
TAKEN_CASES = [case for case in CASES if not any(case.values[1].get(flag) for flag in REFUSED)]


def for_torch(kwargs):
    """The same for torch's plain loop on a CPU, with numbers, as it rounds with tensors of float32.

    Its fused SGD fails where some momenta have begun and others not.
    """
    numbers = {key: tree_map(lambda v: v.item() if torch.is_tensor(v) else v, value) for key, value in kwargs.items()}
    return numbers | {key: False for key in ("capturable", "fused", "foreach") if key in kwargs}


def pair(entry, kwargs, dtype, grouped=False):
    """tritonnet's optimizer and torch's on parameters alike, all of one group or the last with settings of its own."""
    made = []
    for cls, settings in ((getattr(optim, entry.name), copy.deepcopy(kwargs)), (entry.optim_cls, for_torch(kwargs))):
        params = parameters(dtype, SHAPES)
        if grouped:
            made.append(cls([{"params": params[:2], **settings}, {"params": params[2:], "lr": 3e-3}]))
        else:
            made.append(cls(params, **settings))
    return made


def assert_alike(ours, theirs, dtype):
    bounds = {"rtol": 1e-11, "atol": 1e-12} if dtype == torch.float64 else {}
    for mine, other in zip(ours.param_groups, theirs.param_groups, strict=True):
        torch.testing.assert_close(mine["params"], other["params"], **bounds)
        assert mine.keys() == other.keys()
    mine, other = ours.state_dict(), theirs.state_dict()
    torch.testing.assert_close(mine["state"], other["state"], **bounds)


def test_the_database_has_what_is_offered():
    assert [entry.name for entry in ENTRIES] == sorted(
        set(optim.__all__) - {"Optimizer", "lr_scheduler"}, key=str.lower
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("entry, kwargs", TAKEN_CASES)
def test_steps_and_states(entry, kwargs, dtype):
    """Steps side by side; then each goes on from the other's state; then with groups."""
    ours, theirs = pair(entry, kwargs, dtype)
    train(ours, steps=4)
    train(theirs, steps=4)
    assert_alike(ours, theirs, dtype)

    saved, others = copy.deepcopy(ours.state_dict()), copy.deepcopy(theirs.state_dict())
    saved["param_groups"] = list(map(for_torch, saved["param_groups"]))
    ours.load_state_dict(others)
    theirs.load_state_dict(saved)
    train(ours, steps=3)
    train(theirs, steps=3)
    assert_alike(ours, theirs, dtype)

    ours, theirs = pair(entry, kwargs, dtype, grouped=True)
    train(ours, steps=4)
    train(theirs, steps=4)
    assert_alike(ours, theirs, dtype)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_what_is_refused(entry):
    refused = [case.values[1] for case in CASES if case.values[0] is entry and case not in TAKEN_CASES]
    assert refused
    for kwargs in refused:
        with pytest.raises(ShapeError, match=f"differentiable is True; {REFUSED['differentiable']}"):
            getattr(optim, entry.name)(parameters(), **kwargs)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_errors(entry):
    """Of torch's class; of torch's text where torch's own base class raises them."""
    taken = set()
    for error in entry.optim_error_inputs_func("cpu", torch.float32):
        config = error.optimizer_error_input
        assert error.error_on == OptimizerErrorEnum.CONSTRUCTION_ERROR
        params = parameters() if config.params is None else config.params
        make = functools.partial(getattr(optim, entry.name), params, **config.kwargs)
        if config.desc in TAKEN:
            make()
            taken.add(config.desc)
        elif error.error_type is UserWarning:
            with pytest.warns(UserWarning, match=error.error_regex):
                make()
        else:
            with pytest.raises(error.error_type) as caught:
                make()
            if isinstance(caught.value, TritonnetError):
                assert str(caught.value).startswith(f"{entry.name}: ")
            else:
                assert caught.match(error.error_regex)
    assert taken == (TAKEN if entry.name != "SGD" else set())


@pytest.mark.parametrize(
    "entry, schedules",
    [
        pytest.param(entry, each, id=f"{entry.name}-{at}")
        for entry in ENTRIES
        for at, each in enumerate(entry.scheduler_inputs)
    ],
)
def test_schedules(entry, schedules):
    ours, theirs = pair(entry, {"lr": 0.01}, torch.float64)
    for optimizer in (ours, theirs):
        running = [schedule(optimizer) for schedule in schedules]
        for step in range(12):
            train(optimizer, steps=1, seed=step, missing=None)
            for schedule in running:
                if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
                    schedule.step(1.0)
                else:
                    schedule.step()
    assert ours.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]
    assert_alike(ours, theirs, torch.float64)
