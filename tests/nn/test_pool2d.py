"""MaxPool2d and the other layers of pooling are torch.nn's."""

import pytest
import torch

from tritonnet import kernels

LAYERS = [
    ("MaxPool2d", (2,), {}),
    ("MaxPool2d", ((3, 2), 2, 1), {"dilation": (1, 2), "ceil_mode": True}),
    ("AvgPool2d", (2,), {}),
    ("AvgPool2d", ((3, 2), (2, 1), 1, True, False), {}),
    ("AvgPool2d", (3,), {"divisor_override": 4}),
    ("AdaptiveMaxPool2d", (2,), {}),
    ("AdaptiveAvgPool2d", ((None, 3),), {}),
]


@pytest.mark.parametrize(("name", "args", "kwargs"), LAYERS, ids=str)
def test_is_torchs(twins, agree, name, args, kwargs):
    ours, theirs = twins(name, *args, **kwargs)
    assert {key: value for key, value in vars(ours).items() if key[0] != "_" and key != "training"} == {
        key: value for key, value in vars(theirs).items() if key[0] != "_" and key != "training"
    }
    x = torch.randn(2, 3, 7, 8, dtype=torch.float64)
    with kernels.use("reference"):  # the kernels' own tests have all geometries
        agree(ours, theirs, x)
        agree(ours, theirs, x[0])
        agree(ours, theirs, x.to(memory_format=torch.channels_last))


@pytest.mark.parametrize("name", ["MaxPool2d", "AdaptiveMaxPool2d"])
def test_indices(twins, name):
    ours, theirs = twins(name, 2, return_indices=True)
    x = torch.randn(2, 3, 6, 6)
    assert all(map(torch.equal, ours(x), theirs(x)))
