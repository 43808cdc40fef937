import pytest
import torch

from tritonnet import nn


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"reduction": "sum", "label_smoothing": 0.1},
        {"reduction": "none", "ignore_index": 1},
        {"weight": torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)},
    ],
    ids=["plain", "smoothed sum", "ignored", "weighted"],
)
def test_is_torchs(twins, agree, args):
    ours, theirs = twins("CrossEntropyLoss", **args)
    agree(ours, theirs, torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0]))


def test_class_probabilities(twins, agree):
    pair = twins("CrossEntropyLoss", torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64), label_smoothing=0.1)
    agree(*pair, torch.randn(5, 3, dtype=torch.float64), torch.rand(5, 3, dtype=torch.float64))


def test_the_class_weights_are_a_buffer():
    loss = nn.CrossEntropyLoss(torch.ones(3)).double()
    assert loss.weight.dtype == torch.float64 and list(loss.state_dict()) == ["weight"]


@pytest.mark.parametrize(
    "old, reduction",
    [({"size_average": False}, "sum"), ({"reduce": False}, "none"), ({"size_average": True}, "mean")],
    ids=str,
)
def test_the_old_spelling_of_reduction(old, reduction):
    with pytest.warns(DeprecationWarning, match=f"use reduction='{reduction}'"):
        assert nn.CrossEntropyLoss(**old).reduction == reduction
