"""MaxPool1d and the other layers of pooling in one dimension are torch.nn's."""

import pytest
import torch

from tritonnet import kernels

LAYERS = [
    ("MaxPool1d", (2,), {}),
    ("MaxPool1d", (3, 2, 1), {"dilation": 2, "ceil_mode": True}),
    ("AvgPool1d", (2,), {}),
    ("AvgPool1d", ((3,), 2, 1, True, False), {}),
    ("AdaptiveMaxPool1d", (2,), {}),
    ("AdaptiveAvgPool1d", (3,), {}),
]


@pytest.mark.parametrize(("name", "args", "kwargs"), LAYERS, ids=str)
def test_is_torchs(twins, agree, name, args, kwargs):
    ours, theirs = twins(name, *args, **kwargs)
    assert {key: value for key, value in vars(ours).items() if key[0] != "_" and key != "training"} == {
        key: value for key, value in vars(theirs).items() if key[0] != "_" and key != "training"
    }
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    with kernels.use("reference"):  # the kernels' own tests have all geometries
        agree(ours, theirs, x)
        agree(ours, theirs, x[0])


@pytest.mark.parametrize("name", ["MaxPool1d", "AdaptiveMaxPool1d"])
def test_indices(twins, name):
    ours, theirs = twins(name, 2, return_indices=True)
    x = torch.randn(2, 3, 6)
    assert all(map(torch.equal, ours(x), theirs(x)))
