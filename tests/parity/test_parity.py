"""Module beside torch.nn.Module: one list of behaviours, with equal results and the same kinds of error."""

import pytest
import torch

from tests.beside_torch import Behaviour, assert_behaves_as_torch
from tests.parity import hooks, loading, moves, objects, registration, saving, walking
from tests.parity.models import apart
from tritonnet import nn

FILES = (registration, walking, saving, loading, moves, hooks, objects)
PARITY = {name: behave for file in FILES for name, behave in file.BEHAVIOURS.items()}


@pytest.mark.parametrize("behave", PARITY.values(), ids=PARITY.keys())
def test_behaves_as_torch(behave: Behaviour) -> None:
    assert_behaves_as_torch(behave, apart)


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
