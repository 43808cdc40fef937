"""Every layer on the meta device and on fake tensors: shapes, dtypes and strides as on a real device, and no memory."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map

from tests.layers import LAYERS, NAMES, WITH_FACTORIES
from tritonnet import nn

CALLED = [name for name in NAMES if LAYERS[name].inputs is not None]


def tensors(module):
    return [*module.named_parameters(), *module.named_buffers()]


def shown(result):
    return [(leaf.shape, leaf.dtype, leaf.stride()) for leaf in tree_leaves(result)]


def run(layer, inputs):
    """What a call and its backward give: results and gradients."""
    leaves = [x.detach().requires_grad_(x is inputs[0]) for x in inputs]
    result = layer(*leaves)
    first = tree_leaves(result)[0]
    first.backward(torch.empty_like(first))
    return [result, leaves[0].grad, [p.grad for p in layer.parameters()]]


@pytest.mark.parametrize("name", CALLED)
def test_the_meta_device(name):
    real = LAYERS[name].made(nn, name)
    inputs = LAYERS[name].inputs()
    expected = run(real, inputs)
    with torch.device("meta"):
        layer = LAYERS[name].made(nn, name)
    if not name.startswith("Lazy"):
        assert all(tensor.is_meta for _, tensor in tensors(layer))
    found = run(layer, [x.to("meta") for x in inputs])
    assert all(leaf.is_meta for leaf in tree_leaves(found))
    assert shown(found) == shown(expected)
    assert [(key, value.shape) for key, value in tensors(layer)] == [(key, value.shape) for key, value in tensors(real)]


# A fake tensor cannot be of another subclass, such as UninitializedParameter; torch's lazy layers raise as well.
@pytest.mark.parametrize("name", [name for name in CALLED if not name.startswith("Lazy")])
def test_fake_tensors(name):
    inputs = LAYERS[name].inputs()
    expected = run(LAYERS[name].made(nn, name), inputs)
    with FakeTensorMode() as mode:
        layer = LAYERS[name].made(nn, name)
        found = run(layer, tree_map(mode.from_tensor, list(inputs)))
    assert all(isinstance(leaf, FakeTensor) for leaf in tree_leaves(found))
    assert shown(found) == shown(expected)
    assert all(leaf.device.type == "cpu" for leaf in tree_leaves(found))


@pytest.mark.parametrize("name", NAMES)
def test_constructors_follow_torchs_defaults(name):
    """A device as an argument, as a context and by default; the default dtype; each as torch.nn's layer does."""
    texts = []
    for space in (nn, torch.nn):
        made = []
        with torch.device("meta"):
            made.append(LAYERS[name].made(space, name))
        torch.set_default_device("meta")
        try:
            made.append(LAYERS[name].made(space, name))
        finally:
            torch.set_default_device(None)
        torch.set_default_dtype(torch.float64)
        try:
            made.append(LAYERS[name].made(space, name))
        finally:
            torch.set_default_dtype(torch.float32)
        if name in WITH_FACTORIES:
            made.append(LAYERS[name].made(space, name, device="meta", dtype=torch.bfloat16))
            with torch.device("cpu"):
                made.append(LAYERS[name].made(space, name, device="meta"))
        texts.append([[(key, t.dtype, t.device) for key, t in tensors(one)] for one in made])
    assert texts[0] == texts[1]


def test_a_meta_model_is_materialized():
    with torch.device("meta"):
        net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    weight = net[0].weight
    net.to_empty(device="cpu")
    assert net[0].weight is weight
    for layer in (net[0], net[3]):
        layer.reset_parameters()
    assert net(torch.ones(2, 1, 4, 4)).isfinite().all()
    with torch.device("meta"):
        other = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    other.load_state_dict(net.state_dict(), assign=True)
    assert torch.equal(other(torch.ones(2, 1, 4, 4)), net(torch.ones(2, 1, 4, 4)))
