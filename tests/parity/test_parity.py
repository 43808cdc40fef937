"""Module beside torch.nn.Module: one list of behaviours, with equal results and the same kinds of error."""

import warnings
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.parity import hooks, loading, moves, objects, registration, saving, walking
from tests.parity.models import Behaviour
from tritonnet import nn
from tritonnet.module.hooks import EVERYWHERE

FILES = (registration, walking, saving, loading, moves, hooks, objects)
PARITY = {name: behave for file in FILES for name, behave in file.BEHAVIOURS.items()}


def outcome(behave: Behaviour, nn: ModuleType) -> tuple[Any, BaseException | None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return behave(nn), None
        except Exception as error:
            return None, error
        finally:
            # Neither forgets which sort of backward hook there was for all modules.
            torch.nn.modules.module._global_is_full_backward_hook = None
            EVERYWHERE.full = None


@pytest.mark.parametrize("behave", PARITY.values(), ids=PARITY.keys())
def test_behaves_as_torch(behave: Behaviour) -> None:
    expected, their_error = outcome(behave, torch.nn)
    result, our_error = outcome(behave, nn)
    if their_error is None:
        assert our_error is None, repr(our_error)
        assert result == expected
    else:
        assert isinstance(our_error, type(their_error)), f"torch: {their_error!r}, tritonnet: {our_error!r}"


def test_there_are_many_behaviours() -> None:
    assert len(PARITY) == sum(len(file.BEHAVIOURS) for file in FILES) >= 300


NOT_OFFERED = {
    "_slow_forward": "TorchScript's tracing",
    "_replicate_for_data_parallel": "torch.nn.DataParallel, which takes torch.nn's modules alone",
    "_wrapped_call_impl": "a step of torch's call; _call_impl is there",
    "_get_backward_hooks": "a step of torch's call",
    "_get_backward_pre_hooks": "a step of torch's call",
    "_maybe_warn_non_full_backward_hook": "a step of torch's call",
}


def test_every_name_of_torchs_module_is_there() -> None:
    theirs = {name for name in dir(torch.nn.Module()) if not name.startswith("___")}  # torch.compile leaves a mark
    assert theirs - set(dir(nn.Module())) <= set(NOT_OFFERED)


def test_few_names_are_added_that_a_class_could_want_for_itself() -> None:
    ours = {"_registered", "_hook_table", "_own_hooks", "_assign_buffer"}
    assert set(dir(nn.Module())) - set(dir(torch.nn.Module())) == ours
