import pytest
import torch

from tritonnet import nn


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"reduction": "sum", "ignore_index": 1},
        {"reduction": "none", "weight": torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)},
    ],
    ids=["plain", "ignored", "weighted"],
)
def test_is_torchs(twins, agree, args):
    agree(*twins("NLLLoss", **args), torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0]))


def test_the_class_weights_are_a_buffer():
    assert list(nn.NLLLoss(torch.ones(3)).state_dict()) == ["weight"]


def test_the_old_spelling_of_reduction():
    with pytest.warns(DeprecationWarning, match="use reduction='sum'"):
        assert nn.NLLLoss(size_average=False).reduction == "sum"
