"""from_torch of every layer: tritonnet's of the same name, with the same attributes, state and results."""

import pytest
import torch

import tritonnet
from tests.layers import LAYERS, NAMES
from tritonnet import nn
from tritonnet.functional.dropout import dropout


def attributes(module):
    plain = vars(type(module).__mro__[-2]()) if isinstance(module, torch.nn.Module) else {"_registered", "_hook_table"}
    return {name for name in vars(module) if name not in plain}


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("Lazy")])
def test_every_layer(name):
    theirs = LAYERS[name].made(torch.nn, name)
    ours = tritonnet.from_torch(theirs.double())
    assert type(ours) is getattr(nn, name) and repr(ours) == repr(theirs)
    fresh = LAYERS[name].made(nn, name)
    assert attributes(fresh) <= attributes(ours), "an attribute that torch's layer lacks"
    mine, yours = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(yours) and all(torch.equal(mine[key], yours[key]) for key in mine)
    assert mine._metadata == yours._metadata
    if LAYERS[name].inputs is None or "Dropout" in name:
        return
    inputs = [x.double() if x.is_floating_point() else x for x in LAYERS[name].inputs()]
    torch.testing.assert_close(ours(*inputs), theirs(*inputs))


def test_dropout_carries_its_mode_and_rate():
    theirs = torch.nn.Dropout(0.4, inplace=True).eval()
    ours = tritonnet.from_torch(theirs)
    assert (ours.p, ours.inplace, ours.training) == (0.4, True, False)
    assert ours.train()(torch.ones(1000)).eq(0).sum() in range(330, 470)
    assert dropout is tritonnet.functional.dropout
