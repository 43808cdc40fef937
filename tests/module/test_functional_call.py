"""functional_call: torch.func.functional_call's semantics, each behaviour on both."""

import pytest
import torch

import tritonnet
from tritonnet import functional_call, nn
from tritonnet.errors import ModuleError, StateDictError

CALLS = [(nn, functional_call), (torch.nn, torch.func.functional_call)]
both = pytest.mark.parametrize("space, call", CALLS, ids=["tritonnet", "torch"])


def tied(space):
    class Tied(space.Module):
        def __init__(self):
            super().__init__()
            self.first = space.Linear(3, 3, bias=False)
            self.second = space.Linear(3, 3, bias=False)
            self.second.weight = self.first.weight
            self.register_buffer("count", torch.zeros(()))
            self.register_buffer("scale", torch.ones(()), persistent=False)

        def forward(self, x, shift=0.0):
            self.count += 1
            self.scale = self.scale * 2
            return self.second(self.first(x)) + shift + self.count

    return Tied()


@both
def test_tensors_stand_in_for_parameters_and_take_the_gradient(space, call):
    net = space.Sequential(space.Linear(3, 4), space.Tanh(), space.Linear(4, 2)).double()
    own, x = dict(net.named_parameters()), torch.randn(5, 3).double()
    other = {name: torch.randn_like(param).requires_grad_() for name, param in own.items()}
    y = call(net, other, x)
    grads = torch.autograd.grad(y.sum(), list(other.values()))
    assert all(param.grad is None for param in own.values())
    assert all(net.get_parameter(name) is param for name, param in own.items())
    before = net.state_dict(keep_vars=True)
    net.load_state_dict({name: tensor.detach() for name, tensor in other.items()})
    assert list(before) == list(other)
    torch.testing.assert_close(net(x), y)
    net(x).sum().backward()
    for grad, param in zip(grads, own.values(), strict=True):
        torch.testing.assert_close(grad, param.grad)


@both
def test_second_derivatives_by_way_of_functional_call(space, call):
    net = space.Linear(3, 1).double()
    x = torch.randn(4, 3).double()
    weights = {name: param.detach().requires_grad_() for name, param in net.named_parameters()}
    grads = torch.autograd.grad(call(net, weights, x).pow(2).sum(), list(weights.values()), create_graph=True)
    stepped = {name: weight - 0.1 * grad for (name, weight), grad in zip(weights.items(), grads, strict=True)}
    call(net, stepped, (x,)).pow(2).sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in weights.values())


@both
def test_a_value_for_one_name_of_a_tied_weight_is_for_all(space, call):
    net, x = tied(space), torch.eye(3)
    double, triple = torch.eye(3) * 2, torch.eye(3) * 3
    assert call(net, {"second.weight": double, "count": torch.zeros(())}, x)[0, 0] == 5
    assert call(net, {"second.weight": double, "first.weight": double, "count": torch.zeros(())}, x)[0, 0] == 5
    with pytest.raises(ValueError, match="which are tied|are tied in the module"):
        call(net, {"second.weight": double, "first.weight": triple}, x)
    apart = {"second.weight": double, "first.weight": triple, "count": torch.zeros(())}
    assert call(net, apart, x, tie_weights=False)[0, 0] == 7
    assert net.first.weight is net.second.weight


@both
def test_buffers_written_and_replaced_are_found_in_the_dict(space, call):
    net = tied(space)
    given = {"count": torch.full((), 5.0), "scale": torch.ones(())}
    count = given["count"]
    call(net, given, torch.eye(3), {"shift": 1.0})
    assert count == 6 and given["count"] is count and given["scale"] == 2
    assert net.count == 0 and net.scale == 1
    call(net, given, (torch.eye(3), 2.0))
    assert given["count"] == 7 and given["scale"] == 4


@both
def test_several_dicts(space, call):
    net = space.Linear(2, 2)
    given = [{"weight": torch.eye(2)}, {"bias": torch.ones(2)}]
    assert call(net, given, torch.eye(2)).tolist() == [[2, 1], [1, 2]]
    assert call(net, tuple(given), (), {"input": torch.eye(2)}).tolist() == [[2, 1], [1, 2]]
    with pytest.raises(ValueError, match="'weight'"):
        call(net, [given[0], given[0]], torch.eye(2))
    with pytest.raises(ValueError):
        call(net, [given[0], 3], torch.eye(2))
    with pytest.raises(ValueError):
        call(net, 3, torch.eye(2))


@both
def test_strict(space, call):
    net, x = tied(space), torch.eye(3)
    given = {"first.weight": torch.eye(3), "count": torch.zeros(()), "scale": torch.ones(())}
    call(net, given, x, strict=True)
    with pytest.raises(RuntimeError, match="second.weight"):
        call(net, given, x, strict=True, tie_weights=False)
    with pytest.raises(RuntimeError, match="nope"):
        call(net, {**given, "nope": x}, x, strict=True)
    call(net, {"nope": x}, x)
    assert not hasattr(net, "nope")
    with pytest.raises(AttributeError):
        call(net, {"third.weight": x}, x)
    with pytest.raises(TypeError, match="Tensor|tensor"):
        call(net, {"count": 3}, x)


@both
def test_a_forward_that_fails_leaves_the_module_as_it_was(space, call):
    net = space.Linear(2, 2)
    weight = net.weight
    with pytest.raises(RuntimeError):
        call(net, {"weight": torch.ones(5, 7)}, torch.ones(1, 2))
    assert net.weight is weight


def test_what_the_errors_say():
    net = tied(nn)
    with pytest.raises(StateDictError, match="of Tied, strict: unexpected nope; missing count, scale, second.weight"):
        functional_call(
            net, {"first.weight": torch.eye(3), "nope": torch.eye(3)}, torch.eye(3), strict=True, tie_weights=False
        )
    with pytest.raises(TypeError, match="module is a torch.nn.modules.linear.Linear; for torch.nn's there is torch.f"):
        functional_call(torch.nn.Linear(2, 2), {}, torch.ones(2))
    with pytest.raises(ModuleError, match="no module 'third'"):
        functional_call(net, {"third.weight": torch.eye(3)}, torch.eye(3))
    assert tritonnet.functional_call is functional_call
