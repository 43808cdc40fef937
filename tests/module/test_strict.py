"""strict(): where torch is silent tritonnet warns, and under strict() it raises; nothing is loaded or remembered."""

from typing import Any

import pytest
import torch

import tritonnet
from tritonnet import Parameter, nn
from tritonnet.errors import ModuleError, StateDictError


class Net(nn.Module):
    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Net(blocks=[nn.Identity()]),
        lambda: Net(heads={"a": (Parameter(torch.ones(1)),)}),
        lambda: Net(w=Parameter(torch.ones(1)).double()),
    ],
    ids=["list", "dict", "copy"],
)
@pytest.mark.parametrize("ask", [lambda m: m.parameters(), lambda m: m.state_dict()], ids=["parameters", "state_dict"])
def test_what_is_not_registered_is_an_error_each_time(make: Any, ask: Any) -> None:
    net = make()
    with tritonnet.strict():
        for one in (net, net, make()):
            with pytest.raises(ModuleError, match="Net.* not trained, moved or saved|Net.*are not trained"):
                ask(one)
    with pytest.raises(ModuleError), tritonnet.strict():
        torch.optim.SGD(net.parameters(), lr=0.1)


def test_a_warning_that_was_given_does_not_hide_the_error() -> None:
    class Fresh(Net):
        pass

    net = Fresh(blocks=[nn.Identity()])
    with pytest.warns(UserWarning, match="Fresh.blocks"):
        net.parameters()
    with tritonnet.strict(), pytest.raises(ModuleError, match="Fresh.blocks"):
        net.parameters()


def test_honest_modules_pass() -> None:
    net = Net(layers=nn.ModuleList([nn.Identity()]), sizes=[1, 2], w=Parameter(torch.ones(2)))
    with tritonnet.strict():
        net.load_state_dict(net.state_dict())
        assert len(list(net.parameters())) == 1


def test_a_lossy_load_is_an_error_and_changes_nothing() -> None:
    net = Net(w=Parameter(torch.zeros(2, dtype=torch.float16)), v=Parameter(torch.zeros(2)))
    state = {"w": torch.ones(2), "v": torch.ones(2)}
    with tritonnet.strict(), pytest.raises(StateDictError, match=r"w +narrower dtype +\(2,\) float16 +\(2,\) float32"):
        net.load_state_dict(state)
    assert net.v.tolist() == net.w.tolist() == [0, 0]
    with pytest.warns(UserWarning, match="narrower"):
        net.load_state_dict(state)


def test_values_lost_to_a_tie_are_an_error() -> None:
    net = Net(a=Parameter(torch.zeros(2)))
    net.b = net.a
    with tritonnet.strict(), pytest.raises(StateDictError, match="b +tied to a, whose value differs"):
        net.load_state_dict({"a": torch.ones(2), "b": torch.zeros(2)})


def test_it_holds_from_the_call_on_or_for_a_block() -> None:
    from tritonnet.module._strict import is_strict

    assert not is_strict()
    with tritonnet.strict():
        with tritonnet.strict(False):
            assert not is_strict()
        assert is_strict()
    assert not is_strict()
    try:
        tritonnet.strict()
        assert is_strict()
    finally:
        tritonnet.strict(False)
    assert not is_strict()
