import torch

from tritonnet import nn


def test_is_torchs(twins, agree):
    ours, theirs = twins("ReLU")
    agree(ours, theirs, torch.randn(3, 5, dtype=torch.float64))


def test_in_place(twins):
    ours, _ = twins("ReLU", inplace=True)
    x = torch.tensor([-1.0, 2.0])
    assert ours(x) is x and x.tolist() == [0, 2]
    assert repr(nn.ReLU(True)) == "ReLU(inplace=True)"
