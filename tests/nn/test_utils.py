"""nn.utils: torch.nn.utils' names and signatures; parameters as one vector and back."""

import inspect
import subprocess
import sys

import pytest
import torch

import tritonnet
from tritonnet import nn
from tritonnet.errors import DeviceError, DtypeError, ShapeError

ours, theirs = nn.utils, torch.nn.utils


OWN = {"tie", "tied"}
FUNCTIONS = [name for name in ours.__all__ if not inspect.ismodule(getattr(ours, name)) and name not in OWN]


def test_few_functions_are_ours_alone():
    assert {name for name in ours.__all__ if not hasattr(theirs, name)} == OWN


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signatures_are_torchs(name):
    mine, torchs = (inspect.signature(getattr(space, name)).parameters for space in (ours, theirs))
    assert [(p.name, p.default, p.kind) for p in mine.values()] == [
        (p.name, p.default, p.kind) for p in torchs.values()
    ]


def test_torchs_import_lines():
    code = (
        "import tritonnet.nn.utils; from tritonnet.nn.utils import clip_grad_norm_ as clip\n"
        "from tritonnet.nn.utils.clip_grad import clip_grad_norm_\n"
        "from tritonnet.nn.utils.convert_parameters import parameters_to_vector\n"
        "assert clip is clip_grad_norm_ is tritonnet.nn.utils.clip_grad_norm_"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="tritonnet.nn.utils.fuse_conv_bn_eval: torch.nn has it, tritonnet doe"):
        ours.fuse_conv_bn_eval  # noqa: B018


def test_the_old_name_warns():
    net = nn.Linear(3, 2)
    net(torch.ones(1, 3)).sum().backward()
    with pytest.warns(FutureWarning, match="`torch.nn.utils.clip_grad_norm` is now deprecated") as said:
        norm = ours.clip_grad_norm(net.parameters(), 0.5)
    assert said[0].filename == __file__
    assert norm > 0.5
    assert ours.get_total_norm([p.grad for p in net.parameters()]) == pytest.approx(0.5, rel=1e-4)


def test_a_vector_of_parameters_and_back():
    net, other = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    vector = ours.parameters_to_vector(net.parameters())
    assert torch.equal(vector, torch.cat([net.weight.flatten(), net.bias]))
    theirs.vector_to_parameters(vector.detach(), other.parameters())
    assert torch.equal(theirs.parameters_to_vector(other.parameters()), vector)
    vector.sum().backward()
    assert torch.equal(net.bias.grad, torch.ones(2))

    numbers = torch.arange(8.0)
    kept = net.weight
    ours.vector_to_parameters(numbers, net.parameters())
    assert net.weight is kept and net.weight.tolist() == [[0, 1, 2], [3, 4, 5]] and net.bias.tolist() == [6, 7]
    numbers[0] = 5
    assert net.weight[0, 0] == 5


def test_modules_without_initial_values():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    layer = ours.skip_init(nn.Linear, 3, out_features=2, dtype=torch.float64)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert type(layer) is nn.Linear and layer.weight.shape == (2, 3) and layer.weight.dtype == torch.float64
    assert layer.weight.device.type == "cpu" and ours.skip_init(nn.Conv2d, 1, 1, 1, device="meta").weight.is_meta
    with pytest.raises(RuntimeError, match="Expected a Module"):
        ours.skip_init(dict)
    with pytest.raises(RuntimeError, match="Module must support a 'device' arg"):
        ours.skip_init(nn.ReLU)


def test_functional_call_under_its_older_path():
    assert ours.stateless.functional_call is tritonnet.functional_call


def test_what_has_no_vector():
    with pytest.raises(ValueError, match="non-empty list"):
        ours.parameters_to_vector([])
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        ours.parameters_to_vector([torch.ones(2, 3).t()])
    apart = [torch.ones(2), torch.ones(2, device="meta")]
    with pytest.raises(DeviceError, match="parameters_to_vector: parameters on cpu and meta; a vector lies on one"):
        ours.parameters_to_vector(apart)
    with pytest.raises(DeviceError, match="vector_to_parameters: parameters on cpu and meta; a vector lies on one"):
        ours.vector_to_parameters(torch.zeros(4), apart)
    with pytest.raises(DtypeError, match="expected torch.Tensor, but got: list"):
        ours.vector_to_parameters([1.0], [torch.ones(1)])
    with pytest.raises(ShapeError, match="vector_to_parameters: vec has 3 elements; the parameters have 4"):
        ours.vector_to_parameters(torch.zeros(3), [apart[0], torch.ones(2)])
    assert apart[0].tolist() == [1, 1]
