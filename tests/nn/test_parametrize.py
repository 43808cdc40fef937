"""nn.utils.parametrize, weight_norm and spectral_norm, each behaviour beside torch's."""

import copy
import pickle

import pytest
import torch

import tritonnet
from tests.test_dispatch import ALLOCATIONS, BEGINNING, VIEWS, Listing
from tritonnet import nn
from tritonnet.errors import ModuleError
from tritonnet.nn.utils import parametrizations, parametrize

both = pytest.mark.parametrize("space", [nn, torch.nn], ids=["tritonnet", "torch"])


def symmetric(space):
    class Symmetric(space.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).mT

        def right_inverse(self, a):
            return a.triu()

    return Symmetric()


def pair(space):
    class Product(space.Module):
        def forward(self, a, b):
            return a * b

        def right_inverse(self, x):
            return x.abs(), x.sign()

    return Product()


@both
def test_a_parametrized_weight(space):
    layer, x = space.Linear(3, 3), torch.eye(3)
    weight = layer.weight
    P = space.utils.parametrize
    assert P.register_parametrization(layer, "weight", symmetric(space)) is layer
    assert type(layer).__name__ == "ParametrizedLinear" and isinstance(layer, space.Linear)
    assert P.is_parametrized(layer) and P.is_parametrized(layer, "weight") and not P.is_parametrized(layer, "bias")
    assert P.type_before_parametrizations(layer) is space.Linear
    assert [name for name, _ in layer.named_parameters()] == ["bias", "parametrizations.weight.original"]
    assert layer.parametrizations.weight.original is weight
    assert torch.equal(layer.weight, layer.weight.T)
    layer(x).sum().backward()
    assert weight.grad.tril(-1).abs().sum() == 0 and weight.grad.abs().sum() > 0
    matrix = torch.ones(3, 3)
    layer.weight = matrix
    assert torch.equal(layer.weight, matrix) and torch.equal(weight, matrix.triu())
    assert P.remove_parametrizations(layer, "weight") is layer
    assert type(layer) is space.Linear and layer.weight is weight and torch.equal(weight, matrix)
    assert not hasattr(layer, "parametrizations") and not P.is_parametrized(layer)


@both
def test_several_parametrizations_and_originals(space):
    P = space.utils.parametrize
    layer = space.Linear(2, 2)
    before = layer.weight.detach().clone()
    P.register_parametrization(layer, "weight", pair(space))
    assert list(layer.state_dict()) == ["bias", *(f"parametrizations.weight.original{at}" for at in (0, 1))]
    assert torch.equal(layer.weight, before)
    P.register_parametrization(layer, "weight", symmetric(space))
    assert torch.equal(layer.weight, layer.weight.T) and len(layer.parametrizations.weight) == 2
    P.register_parametrization(layer, "bias", space.Tanh())
    assert sorted(layer.parametrizations) == ["bias", "weight"]
    with pytest.raises(ValueError, match="Cannot leave unparametrized|none of which can stay"):
        P.remove_parametrizations(layer, "weight", leave_parametrized=False)
    P.remove_parametrizations(layer, "weight")
    assert type(layer.weight) is space.Parameter and type(layer).__name__ == "ParametrizedLinear"
    original = layer.parametrizations.bias.original.detach().clone()
    P.remove_parametrizations(layer, "bias", leave_parametrized=False)
    assert torch.equal(layer.bias, original)


@both
def test_buffers_too(space):
    layer = space.Identity()
    layer.register_buffer("scale", torch.tensor([4.0]))
    space.utils.parametrize.register_parametrization(layer, "scale", space.ReLU())
    assert list(layer.state_dict()) == ["parametrizations.scale.original"] and layer.scale == 4
    space.utils.parametrize.remove_parametrizations(layer, "scale")
    assert "scale" in layer._buffers


@both
def test_caching(space):
    calls = []

    class Counted(space.Module):
        def forward(self, x):
            calls.append(x)
            return x + 0

    layer = space.utils.parametrize.register_parametrization(space.Linear(2, 2), "weight", Counted())
    calls.clear()
    with space.utils.parametrize.cached():
        with space.utils.parametrize.cached():
            assert layer.weight is layer.weight
        assert layer.weight is layer.weight
    assert len(calls) == 1 and layer.weight is not layer.weight


@both
def test_copies_modes_and_state_dicts(space):
    P = space.utils.parametrize
    layer = space.Linear(3, 3).eval()
    P.register_parametrization(layer, "weight", symmetric(space))
    assert not layer.parametrizations.weight[0].training
    other = copy.deepcopy(layer)
    assert torch.equal(other.weight, layer.weight)
    with torch.no_grad():
        other.parametrizations.weight.original.zero_()
    assert layer.weight.abs().sum() > 0 and other.weight.abs().sum() == 0
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.weight, layer.weight)
    assert layer.double().weight.dtype == torch.float64
    with pytest.raises(
        RuntimeError, match=r"of parametrized modules is only supported|class of its own .*: save its state_dict"
    ):
        pickle.dumps(layer)


def test_a_copy_is_parametrized_by_itself():
    layer = parametrize.register_parametrization(nn.Linear(3, 3), "weight", symmetric(nn))
    other = copy.deepcopy(layer)
    parametrize.remove_parametrizations(layer, "weight")
    assert torch.equal(other.weight, other.weight.T) and type(other) is not type(layer)
    parametrize.remove_parametrizations(other, "weight")
    assert type(other) is type(layer) is nn.Linear


@both
def test_transfer(space):
    P = space.utils.parametrize
    source, target = (space.Linear(3, 3) for _ in range(2))
    P.register_parametrization(source, "weight", symmetric(space))
    assert P.transfer_parametrizations_and_params(source, target) is target
    assert target.parametrizations.weight.original is source.parametrizations.weight.original
    assert torch.equal(target.weight, source.weight)


@both
def test_refusals(space):
    P = space.utils.parametrize

    def module(forward=lambda self, x: x, **methods):
        return type("M", (space.Module,), {"forward": forward, **methods})()

    layer = space.Linear(3, 2)
    for parametrization, text in (
        (module(lambda self, x: x.mT), "may not change the shape|the tensor has shape"),
        (module(lambda self, x: x.double()), "may not change the dtype|the tensor has dtype"),
        (module(lambda self, x: 3), "must return a tensor. Got int|gives int, and no tensor"),
        (
            module(right_inverse=lambda self, x: 3),
            "must return a Tensor or a Sequence|right_inverse gives int; it gives",
        ),
        (module(right_inverse=lambda self, x: x.double()), "may not change the dtype|changes its dtype"),
        (
            module(right_inverse=lambda self, x: [x, 3]),
            "element 1 of the sequence with type int|item 1 of what right_inverse gives is int",
        ),
    ):
        with pytest.raises(ValueError, match=text):
            P.register_parametrization(layer, "weight", parametrization)
        assert type(layer) is space.Linear and type(layer.weight) is space.Parameter
    P.register_parametrization(layer, "weight", module(lambda self, x: x.mT), unsafe=True)
    assert layer.weight.shape == (3, 2)
    with pytest.raises(ValueError, match="may not change the shape|the tensor has shape"):
        P.register_parametrization(layer, "weight", module(lambda self, x: x.mT))
    with pytest.raises(RuntimeError, match="does not implement right_inverse|has no right_inverse"):
        layer.weight = torch.ones(3, 2)
    with pytest.raises(ValueError, match="parametrized element with name 'no'|Linear has no parameter or buffer 'no'"):
        P.register_parametrization(layer, "no", symmetric(space))
    with pytest.raises(
        ValueError, match="have a parametrization on bias|'bias' of ParametrizedLinear is not parametrized"
    ):
        P.remove_parametrizations(layer, "bias")
    with pytest.raises(ValueError, match="requires one or more modules|there are no modules"):
        P.ParametrizationList([], torch.ones(2))


def agree(ours, theirs, x):
    results = []
    for layer in (ours, theirs):
        y = layer(x.clone())
        y.square().sum().backward()
        results.append([y, layer.weight, *layer.state_dict().values(), *(p.grad for p in layer.parameters())])
    for mine, yours in zip(*results, strict=True):
        assert mine.shape == yours.shape and mine.dtype == yours.dtype == x.dtype
        tolerance = (3e-6 if x.dtype == torch.float32 else 1e-12) * yours.abs().max()
        assert (mine - yours).abs().max() <= tolerance


def twins(name, args, shape, normalize, options, dtype):
    made = []
    for space in (nn, torch.nn):
        torch.manual_seed(3)
        layer = getattr(space, name)(*args, dtype=dtype)
        made.append(getattr(space.utils.parametrizations, normalize)(layer, **options))
    assert repr(made[0]) == repr(made[1]) and list(made[0].state_dict()) == list(made[1].state_dict())
    return (*made, torch.randn(shape, dtype=dtype))


LAYERS = [("Linear", (5, 4), (3, 5)), ("Conv2d", (3, 4, 2), (2, 3, 5, 5))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name, args, shape", LAYERS)
def test_weight_norm(name, args, shape, dtype):
    for dim in (0, 1, None):
        ours, theirs, x = twins(name, args, shape, "weight_norm", {"dim": dim}, dtype)
        agree(ours, theirs, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name, args, shape", LAYERS)
def test_spectral_norm(name, args, shape, dtype):
    for options in ({}, {"dim": 1, "n_power_iterations": 3}):
        ours, theirs, x = twins(name, args, shape, "spectral_norm", options, dtype)
        agree(ours, theirs, x)
        agree(ours.eval(), theirs.eval(), x)
    ours, theirs, x = twins(name, args, shape, "spectral_norm", {"name": "bias"}, dtype)
    agree(ours, theirs, x)


def test_two_calls_before_a_backward():
    layer = parametrizations.spectral_norm(nn.Linear(3, 2))
    (layer(torch.ones(1, 3)) - layer(torch.zeros(1, 3))).sum().backward()
    assert layer.parametrizations.weight.original.grad.isfinite().all()


def test_second_derivatives():
    torch.manual_seed(0)
    layer = parametrizations.weight_norm(nn.Linear(3, 2, bias=False).double())
    held = layer.parametrizations.weight

    def weight(g, v):
        return held[0](g, v)

    inputs = [p.detach().clone().requires_grad_() for p in (held.original0, held.original1)]
    assert torch.autograd.gradcheck(weight, inputs) and torch.autograd.gradgradcheck(weight, inputs)


def test_a_step_with_normalized_weights_computes_in_kernels():
    if tritonnet.kernels.path(torch.device("cpu"))[0] != "Triton on the CPU":
        pytest.skip("no C compiler: the references are torch's own operations")
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3)), parametrizations.spectral_norm(nn.Linear(3, 1)))
    optimizer = tritonnet.optim.SGD(net.parameters(), lr=0.1)
    criterion, x, y = nn.MSELoss(), torch.randn(5, 4), torch.randn(5, 1)

    def step():
        optimizer.zero_grad()
        criterion(net(x), y).backward()
        optimizer.step()

    step()
    with Listing() as listing:
        step()
    # The vectors of the power method are copied; autograd itself adds up the gradients of what is used twice.
    others = {"clone", "copy_", "add", "squeeze", "unsqueeze"}
    assert set(listing.floats) <= VIEWS | ALLOCATIONS | BEGINNING | others, listing.floats


def test_weight_norms_older_keys_load():
    older = {"bias": torch.ones(2), "weight_g": torch.ones(2, 1), "weight_v": torch.eye(2)}
    for space in (nn, torch.nn):
        layer = space.utils.parametrizations.weight_norm(space.Linear(2, 2))
        layer.load_state_dict(dict(older))
        assert torch.equal(layer.weight, torch.eye(2))


def test_the_older_form_warns():
    with pytest.warns(FutureWarning, match="deprecated") as said:
        nn.utils.weight_norm(nn.Linear(2, 2))
    assert said[0].filename == __file__


@both
def test_refusals_of_spectral_norm(space):
    for options, error in (
        ({"name": "no"}, ValueError),
        ({"n_power_iterations": 0}, ValueError),
        ({"dim": 2}, IndexError),
    ):
        with pytest.raises(error):
            space.utils.parametrizations.spectral_norm(space.Linear(2, 2), **options)


def test_what_is_ours_alone():
    layer = parametrizations.weight_norm(nn.Linear(2, 2))
    with pytest.raises(ModuleError, match="computed by a parametrization; .* parametrizations.weight.original"):
        tritonnet.functional_call(layer, {"weight": torch.eye(2)}, torch.eye(2))
    given = {"parametrizations.weight.original1": torch.eye(2) * 3}
    assert tritonnet.functional_call(layer, given, torch.eye(2)).shape == (2, 2)
    with pytest.raises(AttributeError, match="parametrizations.orthogonal: torch.nn has it, tritonnet does not"):
        parametrizations.orthogonal  # noqa: B018
