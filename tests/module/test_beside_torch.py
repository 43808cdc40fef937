"""tritonnet's parameters and modules within torch.nn's, and the other way round."""

import copy

import pytest
import torch

import tritonnet
from tritonnet import nn
from tritonnet.errors import ModuleError


class Theirs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.layer(x) * self.weight


def test_a_torch_module_registers_our_parameter():
    net = Theirs()
    weight = net.weight
    assert isinstance(weight, torch.nn.Parameter) and isinstance(weight, nn.Parameter)
    assert [name for name, _ in net.named_parameters()] == ["weight", "layer.weight", "layer.bias"]
    assert torch.equal(net.state_dict()["weight"], torch.ones(2))
    assert net.double().weight is weight and weight.dtype == torch.float64
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    net(torch.ones(1, 2).double()).sum().backward()
    optimizer.step()
    assert not torch.equal(weight, torch.ones(2))
    assert torch.equal(copy.deepcopy(net).weight, weight)
    other = Theirs()
    other.load_state_dict(net.float().state_dict())
    assert torch.equal(other.weight, weight)
    net.register_parameter("more", nn.Parameter(torch.zeros(1)))
    assert "more" in dict(net.named_parameters())
    assert torch.nn.ParameterList([weight])[0] is weight


def test_torchs_parameter_takes_our_parameters_data():
    ours = nn.Parameter(torch.ones(2))
    theirs = torch.nn.Parameter(ours.data)
    assert type(theirs) is torch.nn.Parameter and theirs.data_ptr() == ours.data_ptr()
    with pytest.raises(RuntimeError, match="Creating a Parameter from an instance of type Parameter requires"):
        torch.nn.Parameter(ours)
    back = nn.Parameter(theirs)
    assert type(back) is nn.Parameter and back.data_ptr() == ours.data_ptr() and back.is_leaf


def test_a_torch_module_does_not_see_our_module():
    """torch's assignment asks for its own class; its containers refuse."""
    outer = Theirs()
    outer.inner = nn.Linear(2, 2)
    assert not any(name.startswith("inner") for name in [*outer.state_dict(), *dict(outer.named_modules())])
    with pytest.raises(TypeError, match="is not a Module subclass"):
        torch.nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="is not a Module subclass"):
        outer.add_module("inner", nn.Linear(2, 2))
    converted = tritonnet.from_torch(outer)
    assert list(converted.state_dict()) == [*outer.state_dict(), "inner.weight", "inner.bias"]
    assert converted.inner.weight is not outer.inner.weight and torch.equal(converted.inner.weight, outer.inner.weight)


def test_our_module_refuses_torchs():
    net = nn.Module()
    for assign in (
        lambda: setattr(net, "inner", torch.nn.Linear(2, 2)),
        lambda: setattr(net, "inner", torch.nn.Parameter(torch.ones(2))),
        lambda: net.add_module("inner", torch.nn.Linear(2, 2)),
        lambda: net.register_parameter("inner", torch.nn.Parameter(torch.ones(2)).double()),
        lambda: nn.Sequential(torch.nn.Linear(2, 2)),
        lambda: nn.ModuleList([torch.nn.Linear(2, 2)]),
    ):
        with pytest.raises(ModuleError):
            assign()
    with pytest.raises(ModuleError, match="torch.nn.modules.linear.Linear is torch.nn's .* or tritonnet.from_torch"):
        net.inner = torch.nn.Linear(2, 2)
    with pytest.raises(ModuleError, match=r"torch.nn.parameter.Parameter is torch.nn's .* or Parameter\(it.data\)"):
        net.inner = torch.nn.Parameter(torch.ones(2))
    net.inner = tritonnet.from_torch(torch.nn.Linear(2, 2))
    assert list(net.state_dict()) == ["inner.weight", "inner.bias"]
