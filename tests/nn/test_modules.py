"""nn.modules: torch's paths to layers, and the helpers that lie beside them."""

import importlib

import pytest
import torch

from tritonnet import nn
from tritonnet.nn.modules import utils
from tritonnet.nn.modules.utils import _pair, _quadruple, _reverse_repeat_tuple, _single, _triple

theirs = torch.nn.modules


def test_layers_are_found_under_torchs_paths():
    """Every layer that both have, by the file that torch keeps it in."""
    found = 0
    for name in nn.__all__:
        layer = getattr(torch.nn, name, None)
        if isinstance(layer, type) and layer.__module__.startswith("torch.nn.modules."):
            path = layer.__module__.replace("torch", "tritonnet", 1)
            assert getattr(importlib.import_module(path), name) is getattr(nn, name)
            assert getattr(nn.modules, name) is getattr(nn, name)
            found += 1
    assert found > 10


def test_base_classes_are_found():
    from tritonnet.nn.modules.loss import _Loss

    assert issubclass(nn.MSELoss, _Loss) and nn.modules.loss._Loss is _Loss


def test_there_is_a_file_for_each_of_torchs():
    modules = [
        layer for layer in vars(torch.nn).values() if isinstance(layer, type) and issubclass(layer, theirs.Module)
    ]
    files = {layer.__module__.removeprefix("torch.nn.modules.") for layer in modules} - {
        "torch.nn.parallel.data_parallel"
    }
    assert {name for name in files if not hasattr(nn.modules, name)} == set() and len(files) > 15


def test_a_missing_layer_is_said_to_be_missing():
    with pytest.raises(AttributeError, match="torch.nn has it, tritonnet does not offer it yet"):
        nn.modules.batchnorm._BatchNorm  # noqa: B018
    with pytest.raises(AttributeError, match="tritonnet.nn.modules.Nothing: there is no such name"):
        nn.modules.Nothing  # noqa: B018


def test_tuples_are_torchs():
    for ours, other in ((_single, "_single"), (_pair, "_pair"), (_triple, "_triple"), (_quadruple, "_quadruple")):
        for value in (3, (1, 2), [4, 5, 6], "ab", torch.Size((1, 2))):
            assert ours(value) == getattr(theirs.utils, other)(value)
        assert ours.__name__ == other
    assert _reverse_repeat_tuple((1, 2), 2) == theirs.utils._reverse_repeat_tuple((1, 2), 2) == (2, 2, 1, 1)


@pytest.mark.parametrize("prefix", ["module.", "", "modulefc."])
def test_prefixes_are_taken_off_as_torch_does(prefix):
    states = []
    for space, library in ((utils, nn), (theirs.utils, torch.nn)):
        net = library.Module()
        net.module = library.Sequential(library.Linear(1, 1), library.ReLU())
        net.other = library.Linear(1, 1)
        state = net.state_dict()
        space.consume_prefix_in_state_dict_if_present(state, prefix)
        states.append((list(state), list(state._metadata.items())))
    assert states[0] == states[1]
