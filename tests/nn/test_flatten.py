import pytest
import torch

from tritonnet import nn


@pytest.mark.parametrize("args", [(), (0,), (1, 2), (-2, -1)], ids=str)
def test_is_torchs(twins, agree, args):
    ours, theirs = twins("Flatten", *args)
    agree(ours, theirs, torch.randn(2, 3, 4, 5, dtype=torch.float64))
    agree(ours, theirs, torch.randn(2, 3, 4, 5, dtype=torch.float64).transpose(1, 3))


@pytest.mark.parametrize("sizes", [(2, 3), [2, -1], (6,)], ids=str)
def test_unflatten_is_torchs(twins, agree, sizes):
    agree(*twins("Unflatten", 1, sizes), torch.randn(4, 6, 5, dtype=torch.float64))


def test_unflatten_undoes_flatten():
    x = torch.randn(2, 3, 4)
    assert torch.equal(nn.Unflatten(1, (3, 4))(nn.Flatten()(x)), x)


def test_unflatten_refuses_other_sizes():
    for dim, sizes in ((1.0, (2, 3)), (1, 6), (1, (2, 3.0))):
        with pytest.raises(TypeError, match="Unflatten: "):
            nn.Unflatten(dim, sizes)
