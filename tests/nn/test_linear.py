import pytest
import torch

from tritonnet import nn


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [(5, 3), (1, 1)])
def test_is_torchs(twins, agree, sizes, bias):
    ours, theirs = twins("Linear", *sizes, bias=bias, dtype=torch.float64)
    agree(ours, theirs, torch.randn(4, sizes[0], dtype=torch.float64))
    agree(ours, theirs, torch.randn(2, 3, sizes[0], dtype=torch.float64))


def test_has_torchs_attributes():
    layer = nn.Linear(5, 3, bias=False)
    assert (layer.in_features, layer.out_features, layer.bias) == (5, 3, None)


@pytest.mark.filterwarnings("ignore:init. the tensor has no elements")
def test_no_input_features():
    assert nn.Linear(0, 3).bias.tolist() == [0, 0, 0]


def test_constructor_honours_device_and_dtype():
    layer = nn.Linear(2, 2, device="meta", dtype=torch.bfloat16)
    assert layer.weight.is_meta and layer.bias.dtype == torch.bfloat16
    with torch.device("meta"):
        assert nn.Linear(2, 2).weight.is_meta


def test_reset_parameters_draws_anew():
    layer = nn.Linear(8, 8)
    before = layer.weight.clone()
    layer.reset_parameters()
    assert not torch.equal(layer.weight, before)
