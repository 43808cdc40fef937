import pytest
import torch

from tritonnet import nn
from tritonnet.errors import DtypeError

LAYERS = [
    ("MSELoss", {}),
    ("L1Loss", {"reduction": "sum"}),
    ("SmoothL1Loss", {"beta": 0.2}),
    ("HuberLoss", {"reduction": "none", "delta": 0.2}),
    ("BCELoss", {}),
    ("BCELoss", {"weight": torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64), "reduction": "sum"}),
    ("BCEWithLogitsLoss", {}),
    (
        "BCEWithLogitsLoss",
        {"weight": torch.rand(5, 1, dtype=torch.float64), "pos_weight": torch.tensor([0.5, 1.0, 2.0]).double()},
    ),
    ("KLDivLoss", {"reduction": "batchmean"}),
    ("KLDivLoss", {"reduction": "sum", "log_target": True}),
    ("PoissonNLLLoss", {"log_input": False, "full": True, "eps": 0.1}),
]


@pytest.mark.parametrize(
    "name, options", LAYERS, ids=lambda value: value if isinstance(value, str) else "-".join(value)
)
def test_is_torchs(twins, agree, name, options):
    ours, theirs = twins(name, **options)
    agree(ours, theirs, torch.rand(5, 3, dtype=torch.float64), torch.rand(5, 3, dtype=torch.float64))


def test_soft_margin_is_torchs(twins, agree):
    ours, theirs = twins("SoftMarginLoss", reduction="sum")
    agree(ours, theirs, torch.randn(7, dtype=torch.float64), torch.randint(0, 2, (7,)) * 2 - 1)


def test_weights_are_buffers():
    loss = nn.BCEWithLogitsLoss(torch.ones(3), pos_weight=torch.ones(3)).double()
    assert loss.pos_weight.dtype == torch.float64 and list(loss.state_dict()) == ["weight", "pos_weight"]


def test_a_delta_that_is_no_number():
    with pytest.raises(DtypeError, match=r"HuberLoss: delta is \(1\+0j\); it must be a float or an int"):
        nn.HuberLoss(delta=1 + 0j)


@pytest.mark.parametrize(
    "old, reduction",
    [({"size_average": False}, "sum"), ({"reduce": False}, "none"), ({"size_average": True}, "mean")],
    ids=str,
)
def test_the_old_spelling_of_reduction(old, reduction):
    for name in ("MSELoss", "BCELoss", "KLDivLoss", "PoissonNLLLoss"):
        with pytest.warns(DeprecationWarning, match=f"use reduction='{reduction}'"):
            assert getattr(nn, name)(**old).reduction == reduction
