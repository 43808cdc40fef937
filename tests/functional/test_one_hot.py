import pytest
import torch

from tritonnet import functional as F


def test_is_torchs():
    for target, classes in ((torch.tensor([[0, 2], [1, 1]]), -1), (torch.tensor([1, 0]), 5), (torch.tensor(3), 4)):
        ours, theirs = F.one_hot(target, classes), torch.nn.functional.one_hot(target, num_classes=classes)
        assert torch.equal(ours, theirs) and ours.dtype == torch.int64


def test_what_does_not_fit_is_refused():
    for target, classes in ((torch.tensor([3]), 2), (torch.tensor([-1]), 2), (torch.ones(2), -1)):
        with pytest.raises(RuntimeError):
            F.one_hot(target, classes)
