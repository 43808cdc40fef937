"""LazyLinear, LazyConv2d and what lazy modules are made of, each behaviour beside torch's."""

import copy
import inspect
import io
import pickle

import pytest
import torch
from tritonnet.nn.modules.lazy import LazyModuleMixin

import tritonnet
from tritonnet import nn
from tritonnet.errors import ShapeError, StateDictError
from tritonnet.parameter import is_lazy

both = pytest.mark.parametrize("space", [nn, torch.nn], ids=["tritonnet", "torch"])
LAYERS = {"Linear": ((3,), (2, 5)), "Conv2d": ((4, 3, 2), (2, 6, 7, 7))}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("bias", [True, False])
def test_the_first_call_finds_the_sizes(name, bias):
    args, shape = LAYERS[name]
    results = []
    for space in (nn, torch.nn):
        torch.manual_seed(0)
        layer = getattr(space, f"Lazy{name}")(*args, bias=bias)
        text = repr(layer)
        params = list(layer.parameters())
        assert all(is_lazy(p) if space is nn else torch.nn.parameter.is_lazy(p) for p in params)
        torch.manual_seed(1)
        x = torch.randn(shape)
        y = layer(x)
        assert type(layer) is getattr(space, name)
        assert all(a is b for a, b in zip(params, layer.parameters(), strict=True)) and type(params[0]) is (
            space.Parameter
        )
        results.append((text, repr(layer), y, *params))
    assert results[0][:2] == results[1][:2]
    for mine, yours in zip(results[0][2:], results[1][2:], strict=True):
        torch.testing.assert_close(mine, yours)


@pytest.mark.parametrize("name", ["LazyLinear", "LazyConv2d", "UninitializedParameter", "UninitializedBuffer"])
def test_signatures_are_torchs(name):
    mine, yours = (inspect.signature(getattr(space, name)).parameters.values() for space in (nn, torch.nn))
    assert [(p.name, p.default) for p in mine] == [(p.name, p.default) for p in yours]


@both
def test_before_the_first_call(space):
    layer = space.LazyLinear(3)
    for ask in (lambda: layer.weight.shape, lambda: layer.weight.share_memory_()):
        with pytest.raises(RuntimeError):
            ask()
    for compute in (lambda: layer.weight + 1, lambda: layer.weight.sum(), lambda: layer.requires_grad_(False)):
        with pytest.raises(ValueError, match="uninitialized|before the tensor has a shape"):
            compute()
    assert repr(layer.weight) == "<UninitializedParameter>"
    assert layer.weight.requires_grad and layer.weight.dtype == torch.float32
    assert layer.double().weight.dtype == torch.float64 and layer.weight.grad is None
    assert layer.to(torch.bfloat16).bias.dtype == torch.bfloat16
    layer(torch.ones(1, 4, dtype=torch.bfloat16))
    assert layer.weight.dtype == torch.bfloat16


@both
def test_copies_and_pickles_before_the_first_call(space):
    for made in (copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))):
        layer = space.Sequential(space.LazyLinear(3), space.ReLU())
        other = made(layer)
        other(torch.ones(2, 5))
        assert other[0].weight.shape == (3, 5) and type(layer[0]) is space.LazyLinear


def test_a_copy_keeps_dtype_and_device():
    layer = pickle.loads(pickle.dumps(copy.deepcopy(nn.LazyLinear(3, device="meta", dtype=torch.float64))))
    assert layer.weight.is_meta and layer.weight.dtype == torch.float64
    layer = nn.LazyConv2d(3, 1).to("meta")
    assert is_lazy(layer.weight) and layer.weight.is_meta
    assert layer(torch.ones(2, 5, 4, 4, device="meta")).shape == (2, 3, 4, 4)


@both
def test_state_dicts_between_shapes_and_none(space):
    full, empty, other = space.Linear(5, 3), space.LazyLinear(3), space.LazyLinear(3)
    state = empty.state_dict()
    assert list(state) == ["weight", "bias"] and state["weight"] is empty.weight
    assert other.load_state_dict(state) == ([], []) and type(other) is space.LazyLinear
    other.load_state_dict(full.state_dict())
    assert type(other) is space.LazyLinear and torch.equal(other.weight, full.weight)
    assert other.weight.requires_grad and type(other.weight) is space.Parameter
    x = torch.ones(2, 5)
    assert torch.equal(other(x), full(x)) and type(other) is space.Linear and other.in_features == 5
    with pytest.raises(RuntimeError):
        full.load_state_dict(state)
    assert full.weight.shape == (3, 5)


def test_loads_that_fail_leave_no_shape_behind():
    net = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 2))
    state = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 3)).state_dict()
    with pytest.raises(StateDictError, match="size mismatch"):
        net.load_state_dict(state)
    assert is_lazy(net[0].weight)
    with pytest.raises(StateDictError, match="0.weight +no shape yet: call its model first +.3, 5. float32 +uninit"):
        nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 2)).load_state_dict(net.state_dict())
    assert net[0].load_state_dict(nn.Linear(5, 3).state_dict(), assign=True) == ([], [])
    assert net(torch.ones(1, 5)).shape == (1, 2)


def test_a_conv_that_was_loaded_knows_its_channels():
    layer = nn.LazyConv2d(4, 3, groups=2)
    layer.load_state_dict(nn.Conv2d(6, 4, 3, groups=2).state_dict())
    layer(torch.ones(1, 6, 4, 4))
    assert layer.in_channels == 6


def test_state_dict_files_without_shapes():
    file = io.BytesIO()
    torch.save(nn.LazyLinear(3).state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert is_lazy(state["weight"]) and is_lazy(state["bias"])


@both
def test_hooks_and_training_of_a_lazy_model(space):
    net = space.Sequential(space.LazyConv2d(2, 3), space.ReLU(), space.Flatten(), space.LazyLinear(2))
    seen = []
    net[0].register_forward_pre_hook(lambda module, args: seen.append(type(module)))
    x = torch.randn(3, 1, 5, 5)
    net(x)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net(x).sum().backward()
    before = net[3].bias.detach().clone()
    optimizer.step()
    assert not torch.equal(before, net[3].bias)
    assert len(seen) == 2 and seen[1] is space.Conv2d


@both
def test_lazy_modules_of_ones_own(space):
    mixin = LazyModuleMixin if space is nn else torch.nn.modules.lazy.LazyModuleMixin

    class Scale(mixin, space.Module):
        def __init__(self, enough=True):
            super().__init__()
            self.enough = enough
            self.scale = space.UninitializedParameter()
            self.register_buffer("mean", space.UninitializedBuffer())
            assert self.has_uninitialized_params()

        def initialize_parameters(self, x, offset=0):
            if self.has_uninitialized_params():
                self.scale.materialize(x.shape[-1:])
                torch.nn.init.ones_(self.scale)
                if self.enough:
                    self.mean.materialize((1,), dtype=torch.float64)
                    self.mean.fill_(offset)

        def forward(self, x, offset=0):
            return x * self.scale + self.mean

    layer = Scale().float()
    assert list(layer.state_dict()) == ["scale", "mean"]
    assert layer(torch.ones(2, 3), offset=4).tolist() == [[5] * 3] * 2
    assert type(layer) is Scale and layer(torch.ones(1, 3)).tolist() == [[5] * 3] and layer.mean.dtype == torch.float64
    assert [name for name, _ in layer.named_buffers()] == ["mean"]
    with pytest.raises(RuntimeError, match="has not been fully initialized"):
        Scale(enough=False)(torch.ones(2, 3))
    with pytest.raises(NotImplementedError, match="initialize_parameters is not implemented for"):
        mixin.initialize_parameters(layer)


@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_an_optimizer_may_come_first(optimizer):
    layer = nn.LazyLinear(3)
    step = getattr(tritonnet.optim, optimizer)(layer.parameters(), lr=0.1)
    layer(torch.ones(2, 4)).sum().backward()
    before = layer.weight.detach().clone()
    step.step()
    assert not torch.equal(before, layer.weight)


def test_inputs_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"LazyConv2d: input is \(2, 3\); it has 3 dimensions, or 4"):
        nn.LazyConv2d(3, 1)(torch.ones(2, 3))
    layer = nn.LazyConv2d(4, 1, groups=2)
    with pytest.raises(ShapeError, match="LazyConv2d: in_channels is 3, not divisible by groups=2"):
        layer(torch.ones(3, 4, 4))
    assert is_lazy(layer.weight) and layer(torch.ones(4, 4, 4)).shape == (4, 4, 4)
