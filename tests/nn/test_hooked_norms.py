"""weight_norm and spectral_norm by a hook, and ties."""

import copy

import pytest
import torch

from tritonnet import nn
from tritonnet.errors import ModuleError

both = pytest.mark.parametrize("space", [nn, torch.nn], ids=["tritonnet", "torch"])


@both
@pytest.mark.filterwarnings("ignore:.*nn.utils.weight_norm.*deprecated")
def test_weight_norm_by_a_hook(space):
    layer = space.Linear(3, 2).double()
    before, x = layer.weight.detach().clone(), torch.randn(4, 3).double()
    assert space.utils.weight_norm(layer, dim=None) is layer
    assert list(layer.state_dict()) == ["bias", "weight_g", "weight_v"] and layer.weight_g.shape == ()
    torch.testing.assert_close(layer.weight, before)
    with torch.no_grad():
        layer.weight_g.mul_(2)
    torch.testing.assert_close(layer(x), x @ (2 * before).T + layer.bias)
    layer(x).sum().backward()
    assert layer.weight_v.grad is not None
    with pytest.raises(RuntimeError, match="two weight_norm hooks|'weight' of Linear is normalized already"):
        space.utils.weight_norm(layer)
    assert space.utils.remove_weight_norm(layer) is layer
    assert type(layer.weight) is space.Parameter and not layer._forward_pre_hooks
    torch.testing.assert_close(layer.weight, 2 * before)
    with pytest.raises(ValueError, match="weight_norm of 'weight' not found|'weight' of Linear is not normalized"):
        space.utils.remove_weight_norm(layer)


@both
def test_spectral_norm_divides_by_the_largest_singular_value(space):
    layer = space.utils.spectral_norm(space.Linear(6, 4).double(), n_power_iterations=30)
    x = torch.randn(5, 6).double()
    y = layer(x)
    assert list(layer.state_dict()) == ["bias", "weight_orig", "weight_u", "weight_v"]
    largest = torch.linalg.matrix_norm(layer.weight_orig.detach(), 2)
    torch.testing.assert_close(y, x @ (layer.weight_orig / largest).T + layer.bias, rtol=1e-4, atol=1e-4)
    with pytest.raises(RuntimeError, match="two spectral_norm hooks|'weight' of Linear is normalized already"):
        space.utils.spectral_norm(layer)
    with pytest.raises(ValueError, match="to be positive|takes at least one"):
        space.utils.spectral_norm(space.Linear(2, 2), n_power_iterations=0)
    effective = layer.eval()(x) - layer.bias
    assert space.utils.remove_spectral_norm(layer) is layer and list(layer.state_dict()) == ["bias", "weight"]
    torch.testing.assert_close(x @ layer.weight.T, effective)
    assert type(layer.weight) is space.Parameter and not layer._forward_pre_hooks
    with pytest.raises(ValueError, match="spectral_norm of 'weight' not found|'weight' of Linear is not normalized"):
        space.utils.remove_spectral_norm(layer)


@pytest.mark.parametrize("make", [lambda space: space.Linear(6, 4), lambda space: space.Conv2d(3, 4, 3)])
def test_spectral_norm_is_torchs(make):
    """Random numbers drawn, vectors, outputs in training and evaluation, gradients through two calls, state dicts."""
    layers = []
    for space in (nn, torch.nn):
        torch.manual_seed(4)
        layers.append(space.utils.spectral_norm(make(space).double(), eps=1e-10))
    ours, theirs = layers
    x = torch.randn(2, 6).double() if isinstance(ours, nn.Linear) else torch.randn(2, 3, 5, 5).double()
    for training in (True, False):
        results = []
        for layer in (ours, theirs):
            layer.train(training).zero_grad()
            loss = (layer(x) ** 2).sum() - layer(2 * x).sum()
            loss.backward()
            results.append([loss.detach(), layer.weight_orig.grad, layer.bias.grad])
        torch.testing.assert_close(*results)
        torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()))
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())


def test_a_copy_of_a_normalized_layer_goes_its_own_way():
    layer = nn.utils.spectral_norm(nn.Linear(3, 3))
    layer(torch.ones(1, 3)).sum().backward()
    layer.eval()(torch.ones(1, 3))
    with torch.no_grad():
        layer(torch.ones(1, 3))
    other = copy.deepcopy(layer)
    with torch.no_grad():
        other.weight_orig.mul_(3)
        torch.testing.assert_close(other(torch.ones(1, 3)), layer(torch.ones(1, 3)))
    assert not torch.equal(other.weight_orig, layer.weight_orig)


def autoencoder():
    return nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.Linear(3, 2))


def test_ties():
    net = autoencoder()
    assert nn.utils.tied(net) == []
    nn.utils.tie(net, "0.weight", "2.weight")
    nn.utils.tie(net, "2.bias", "0.bias")
    assert net[0].weight is net[2].weight and net[0].bias is net[2].bias
    assert nn.utils.tied(net) == [["0.weight", "2.weight"], ["0.bias", "2.bias"]] == nn.utils.tied(copy.deepcopy(net))
    assert list(net.state_dict()) == list(autoencoder().state_dict()) and len(list(net.parameters())) == 4
    with pytest.raises(ModuleError, match=r"3.weight is \(2, 3\) torch.float32 on cpu, and 0.weight is \(3, 3\)"):
        nn.utils.tie(net, "0.weight", "0.weight", "3.weight")
    with pytest.raises(ModuleError, match="no module '7'"):
        nn.utils.tie(net, "0.weight", "7.weight")
