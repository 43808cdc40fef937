import pytest
import torch

from tritonnet import nn
from tritonnet.errors import ShapeError


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax", "Softmin"])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_is_torchs(twins, agree, name, dim):
    agree(*twins(name, dim), torch.randn(4, 3, 5, dtype=torch.float64))


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax", "Softmin"])
def test_without_a_dimension(twins, agree, name):
    ours, theirs = twins(name)
    with pytest.warns(UserWarning, match="Implicit dimension choice for") as warned:
        agree(ours, theirs, torch.randn(4, 3, dtype=torch.float64))
    assert len(warned) == 2
    with pytest.warns(UserWarning, match="Implicit dimension choice for") as warned:
        ours(torch.randn(4, 3))
    assert warned[0].filename == __file__


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5)], ids=str)
def test_over_channels(twins, agree, shape):
    agree(*twins("Softmax2d"), torch.randn(shape, dtype=torch.float64))


def test_over_channels_of_what_has_none():
    with pytest.raises(ShapeError, match="Softmax2d: input is 2-D; it takes 3-D or 4-D"):
        nn.Softmax2d()(torch.randn(3, 4))
