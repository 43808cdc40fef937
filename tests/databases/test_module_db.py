"""Every layer of torch's module database that tritonnet.nn offers, beside torch's own."""

import copy
import inspect
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

pytest.importorskip("expecttest")

import torch
from torch import Tensor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_modules import ModuleErrorEnum, module_db

from torch.testing._internal.common_utils import noncontiguous_like

from tests.databases.comparing import Case, check, chosen, compare, run, tolerance_of, wide
from tests.databases.exclusions import MODULE_ERRORS, MODULES
from tritonnet import nn
from tritonnet.errors import BackwardError

# Warnings of torch.s are no matter here.
pytestmark = pytest.mark.filterwarnings("ignore")

ENTRIES = [entry for entry in module_db if entry.name.removeprefix("nn.") in nn.__all__]
NAMES = [entry.name for entry in ENTRIES]
DTYPES = [torch.float64, torch.float32]


def cases(entry: Any, dtype: torch.dtype, training: bool = True) -> list[Case]:
    """In float64 as many as differ in a setting, three at most, else one: test_op_db.py has more of the functions."""
    torch.manual_seed(1)
    inputs = entry.module_inputs_func(entry, "cpu", dtype, requires_grad=True, training=training)
    found = [
        Case(
            entry.name,
            each.forward_input.args,
            each.forward_input.kwargs,
            (each.constructor_input.args, each.constructor_input.kwargs),
        )
        for each in inputs
        if each.forward_input is not None
    ]
    return chosen(found, 3 if dtype == torch.float64 else 1)


def twins(case: Case, dtype: torch.dtype, training: bool = True) -> tuple[Any, Any]:
    """tritonnet's layer and torch's, made from one seed, of which they take the same random numbers."""
    layers, draws = [], []
    for space in (nn, torch.nn):
        torch.manual_seed(3)
        args, kwargs = copy.deepcopy(case.constructor)
        layers.append(getattr(space, case.name.removeprefix("nn."))(*args, **kwargs).to(dtype).train(training))
        draws.append(torch.rand(()))
    assert torch.equal(*draws), f"{case}: the constructor took other random numbers"
    return layers[0], layers[1]


def beside(entry: Any, dtype: torch.dtype, case: Case, training: bool = True, twice: bool = False, **how: Any) -> None:
    """Compares outputs and gradients; gradients of gradients (twice) where tritonnet has them.

    layout: how tritonnet is given inputs and gradients; torch, which refuses some layouts, has them as they are.
    """
    ours, theirs = twins(case, dtype, training)
    try:
        found = run(copy.deepcopy(ours), case, twice=twice, **how)
    except BackwardError:
        if not twice:
            raise
        found, twice = run(copy.deepcopy(ours), case, **how), False
    expected = run(copy.deepcopy(theirs), case, twice=twice)
    exact = partial(run, theirs.double(), case.mapped(wide), twice=twice)
    compare(case, found, expected, exact, tolerance_of(entry))


def each(entry: Any, dtype: torch.dtype, test: Callable[..., object], **how: Any) -> None:
    """Runs a test for the entry's cases, in training and evaluation where they differ."""
    for training in (True, False) if entry.train_and_eval_differ else (True,):
        found = cases(entry, dtype, training)
        assert found
        for case in found:
            check(case, MODULES.get(entry.name, []), partial(test, entry, dtype, case, training=training, **how))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_outputs_and_gradients(entry, dtype):
    each(entry, dtype, beside, twice=dtype == torch.float64 and entry.supports_gradgrad)


FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.to(memory_format=FORMATS[tensor.ndim]) if tensor.ndim in FORMATS else tensor


def of_images(entry: Any, dtype: torch.dtype, case: Case, **how: Any) -> None:
    if any(tensor.ndim in FORMATS for tensor in case.tensors()):
        beside(entry, dtype, case, **how)


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_any_layout_of_inputs_and_gradients(entry):
    each(entry, torch.float32, beside, layout=noncontiguous_like)
    each(entry, torch.float32, of_images, layout=channels_last)


def the_same_layer(entry: Any, dtype: torch.dtype, case: Case, training: bool) -> None:
    """Random numbers drawn, text, state dicts, which either loads from the other; copies and pickles."""
    ours, theirs = twins(case, dtype, training)
    assert repr(ours) == repr(theirs)
    if isinstance(theirs, torch.nn.modules.lazy.LazyModuleMixin):
        for layer in (ours, theirs):
            torch.manual_seed(4)
            layer(*case.args, **case.kwargs)
        assert repr(ours) == repr(theirs)
    mine, yours = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(yours)
    for key, value in yours.items():
        assert mine[key].dtype == value.dtype and torch.equal(mine[key], value), key
    for source, target in ((ours, theirs), (theirs, ours)):
        changed = {key: value + 1 for key, value in source.state_dict().items()}
        keys = target.load_state_dict(changed)
        assert not keys.missing_keys and not keys.unexpected_keys
        assert all(torch.equal(value, changed[key]) for key, value in target.state_dict().items())
    with torch.no_grad():
        before = run(copy.deepcopy(ours), case)["outputs"]
        for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
            assert type(other) is type(ours) and other.training == training
            again = run(other, case)["outputs"]
            torch.testing.assert_close(again, before, rtol=0, atol=0, equal_nan=True)


def parameters_of(layer: type) -> list[tuple[str, Any]]:
    found = inspect.signature(layer).parameters.values()
    return [(one.name, one.default) for one in found if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_constructor_state_and_copies(entry):
    ours, theirs = (parameters_of(getattr(space, entry.name.removeprefix("nn."))) for space in (nn, torch.nn))
    assert ours == theirs
    each(entry, torch.float64, the_same_layer)


ERRORS = [entry for entry in ENTRIES if entry.module_error_inputs_func is not None]


@pytest.mark.parametrize("entry", ERRORS, ids=[entry.name for entry in ERRORS])
def test_errors_are_of_torchs_classes(entry):
    for training in (True, False):
        for each in entry.module_error_inputs_func(entry, "cpu", torch.float64, requires_grad=False, training=training):
            given = each.module_error_input
            case = Case(entry.name, *call_of(given.forward_input), call_of(given.constructor_input))
            check(case, MODULE_ERRORS.get(entry.name, []), partial(refuses, case, each, training))


def call_of(given: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return ((), {}) if given is None else (given.args, given.kwargs)


def refuses(case: Case, error: Any, training: bool) -> None:
    args, kwargs = case.constructor
    layer = getattr(nn, case.name.removeprefix("nn."))
    if error.error_on == ModuleErrorEnum.CONSTRUCTION_ERROR:
        with pytest.raises(error.error_type):
            layer(*args, **kwargs)
    else:
        made = layer(*args, **kwargs).to(torch.float64).train(training)
        with pytest.raises(error.error_type):
            made(*case.args, **case.kwargs)
