"""from_torch of whole models: classes of one's own, ties, hooks, containers; and what it refuses."""

import copy
import functools
import pickle
from collections import OrderedDict

import pytest
import torch
from torch import nn as theirs

import tritonnet
from tritonnet import from_torch, nn
from tritonnet.errors import ConversionError, StateDictError


class Named:
    """A mixin that is nobody's module."""

    def title(self):
        return f"a {type(self).__name__}"


class Scaled(theirs.Linear):
    """A layer of one's own, by super() in three ways."""

    factor = 2.0

    def forward(self, x):
        return super().forward(x) * self.factor

    @property
    def size(self):
        return self.weight.numel()

    @classmethod
    def twice(cls):
        return cls.factor * 2

    def extra_repr(self):
        return super().extra_repr() + f", factor={self.factor}"


class Net(Named, theirs.Module):
    def __init__(self):
        super().__init__()
        self.body = theirs.Sequential(OrderedDict(first=theirs.Linear(4, 8), act=theirs.Tanh(), drop=theirs.Dropout()))
        self.heads = theirs.ModuleDict({"a": Scaled(8, 3), "b": theirs.Linear(8, 3, bias=False)})
        self.rest = theirs.ModuleList([theirs.Identity(), theirs.ReLU()])
        self.order = [self.heads["b"], self.heads["a"]]
        self.shifts = theirs.ParameterList([torch.ones(3), torch.zeros(3)])
        self.scale = theirs.Parameter(torch.tensor(1.5))
        self.heads["b"].weight = self.heads["a"].weight
        self.again = self.heads["a"]
        self.nothing = None
        self.register_parameter("absent", None)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("hidden", torch.arange(3.0), persistent=False)
        self.pick = functools.partial(self.one_of, at=0)

    def one_of(self, x, at):
        return self.order[at](x)

    def forward(self, x):
        self.seen += 1
        y = self.rest[1](self.body(x))
        return (self.pick(y) + self.again(y) + self.shifts[0]) * self.scale + self.hidden


def net():
    torch.manual_seed(0)
    made = Net().double()
    made.body.first.bias.requires_grad_(False)
    made.body.drop.eval()
    return made


def test_the_model_is_the_same_and_its_own():
    old = net()
    old(torch.ones(2, 4).double()).sum().backward()
    new = from_torch(old)
    assert type(new).__name__ == "Net" and isinstance(new, nn.Module) and not isinstance(new, theirs.Module)
    assert repr(new) == repr(old)
    for walk in ("named_modules", "named_parameters", "named_buffers"):
        assert [name for name, _ in getattr(new, walk)()] == [name for name, _ in getattr(old, walk)()]
    for (name, mine), yours in zip(new.named_parameters(), old.parameters(), strict=True):
        assert isinstance(mine, nn.Parameter) and torch.equal(mine, yours) and mine.data_ptr() != yours.data_ptr(), name
        assert mine.requires_grad == yours.requires_grad and mine.is_leaf
        assert (mine.grad is None) == (yours.grad is None)
        assert mine.grad is None or torch.equal(mine.grad, yours.grad)
    assert [m.training for m in new.modules()] == [m.training for m in old.modules()]
    assert list(new.state_dict()) == list(old.state_dict()) and new.state_dict()._metadata == old.state_dict()._metadata
    assert new.nothing is None and new.absent is None and "absent" in new._parameters
    assert from_torch(new) is new


def test_what_was_shared_is_shared():
    new = from_torch(net())
    assert new.again is new.heads["a"] is new.order[1] and new.order[0] is new.heads["b"]
    assert new.heads["a"].weight is new.heads["b"].weight
    assert new.pick.func.__self__ is new


def test_results_gradients_and_training():
    old = net()
    new, x = from_torch(old), torch.randn(5, 4).double()
    results = []
    for model in (old, new):
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
        results.append([loss.detach(), *(p.detach() for p in model.parameters()), *model.buffers()])
    for mine, yours in zip(*results, strict=True):
        torch.testing.assert_close(mine, yours, rtol=1e-10, atol=1e-10)
    assert new.seen == 3


def test_classes_of_ones_own():
    old = Scaled(3, 2)
    new = from_torch(old)
    assert isinstance(new, nn.Linear) and new.size == 6 and type(new).twice() == 4 and repr(new) == repr(old)
    assert type(from_torch(Scaled(3, 2))) is type(new)
    assert from_torch(net()).title() == "a Net" and isinstance(from_torch(net()), Named)


def test_copies_and_pickles_of_the_result():
    new, x = from_torch(net()), torch.randn(2, 4).double()
    for other in (copy.deepcopy(new), pickle.loads(pickle.dumps(new))):
        assert type(other) is type(new) and other.heads["a"].weight is other.heads["b"].weight
        assert other.order[0] is other.heads["b"] and torch.equal(other(x), new(x))
        assert other.body.first.weight.data_ptr() != new.body.first.weight.data_ptr()


class Recorder(theirs.Module):
    def __init__(self):
        super().__init__()
        self.layer = theirs.Linear(2, 2)
        self.calls = []
        self.layer.register_forward_hook(self.record)

    def record(self, module, args, output):
        self.calls.append(type(module))

    def forward(self, x):
        return self.layer(x)


def test_hooks_are_carried():
    old = Recorder()
    calls = []
    old.register_forward_pre_hook(lambda module, args, kwargs: calls.append((module, kwargs)), with_kwargs=True)
    old.layer.register_full_backward_hook(lambda module, *_: calls.append(module))
    old.register_state_dict_post_hook(lambda module, state, *_: state.__delitem__("layer.bias"))
    old.register_load_state_dict_pre_hook(lambda module, state, *_: state.update({"layer.bias": module.layer.bias}))
    new = from_torch(old)
    new(x=torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert new.calls == [nn.Linear] and old.calls == []
    assert calls[0][0] is new and list(calls[0][1]) == ["x"] and calls[1] is new.layer
    state = new.state_dict()
    assert list(state) == ["layer.weight"]
    new.load_state_dict(state)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_dtype_device_and_strides_are_kept(device):
    old = theirs.Conv2d(3, 4, 3, device=device, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    new = from_torch(old)
    assert new.weight.dtype == torch.bfloat16 and new.weight.device.type == device
    assert new.weight.stride() == old.weight.stride()


def test_all_that_cannot_be_converted_is_listed():
    class Blocks(theirs.Module):
        def __init__(self):
            super().__init__()
            self.norm = theirs.BatchNorm2d(3)
            self.more = theirs.Sequential(theirs.Linear(2, 2), theirs.GRU(2, 2))
            self.mine = Mine(2)
            self.lazy = theirs.LazyLinear(3)
            self.turned = theirs.utils.parametrizations.orthogonal(theirs.Linear(2, 2))
            self.kept = [theirs.Bilinear(1, 1, 1)]

    class Mine(theirs.RNNBase):
        def __init__(self, size):
            super().__init__("GRU", size, size)

    with pytest.raises(ConversionError) as caught:
        from_torch(Blocks())
    lines = str(caught.value).splitlines()
    paths = [line.split()[0] for line in lines[2:]]
    assert sorted(paths) == ["kept[0]", "lazy", "lazy", "mine", "more.1", "norm", "turned"]
    assert lines[0] == "from_torch: 7 parts of Blocks cannot be converted"
    text = str(caught.value)
    assert "torch.nn.modules.batchnorm.BatchNorm2d" in text and "tritonnet has no such layer (Mine's base)" in text
    assert "parametrized: weight; remove_parametrizations first" in text
    assert "weight: UninitializedParameter" in text
    with pytest.raises(ConversionError, match=r"1 part of GRU[\s\S]*\(itself\)"):
        from_torch(theirs.GRU(2, 2))


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
def test_torchs_own_hooks_are_refused_by_name():
    with pytest.raises(ConversionError, match=r"0 .*hook torch.nn.utils.weight_norm.WeightNorm .*take it away first"):
        from_torch(theirs.Sequential(theirs.utils.weight_norm(theirs.Linear(2, 2))))
    spoilt = theirs.Linear(2, 2)
    spoilt.weight = theirs.Parameter(torch.ones(2, 2).to_sparse())
    with pytest.raises(ConversionError, match="weight: Parameter .* layout .torch.sparse_coo"):
        from_torch(spoilt)


def test_what_is_no_model():
    for value in (3, torch.ones(2), torch.nn.functional.relu):
        with pytest.raises(TypeError, match="is not a torch.nn.Module"):
            from_torch(value)


def test_state_dicts_go_both_ways_bit_for_bit():
    old, new = net(), from_torch(net())
    with torch.no_grad():
        for param in new.parameters():
            param.mul_(torch.pi)
    state = tritonnet.to_torch_state_dict(new)
    assert all(type(value) is torch.Tensor for value in state.values())
    assert old.load_state_dict(state) == ([], [])
    third = from_torch(net())
    assert tritonnet.from_torch_state_dict(third, old.state_dict()) == ([], [])
    assert all(torch.equal(a, b) for a, b in zip(third.state_dict().values(), state.values(), strict=True))
    with pytest.raises(StateDictError, match="narrower dtype"):
        tritonnet.from_torch_state_dict(third.float(), state)
    assert third.scale.dtype == torch.float32
    assert tritonnet.from_torch_state_dict(third, {}, strict=False).missing_keys == list(state)
    for call in (tritonnet.to_torch_state_dict, lambda one: tritonnet.from_torch_state_dict(one, {})):
        with pytest.raises(TypeError, match="is not a tritonnet Module"):
            call(old)
