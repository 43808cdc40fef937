import pytest
import torch


@pytest.mark.parametrize("args", [(), (0,), (1, 2), (-2, -1)], ids=str)
def test_is_torchs(twins, agree, args):
    ours, theirs = twins("Flatten", *args)
    agree(ours, theirs, torch.randn(2, 3, 4, 5, dtype=torch.float64))
    agree(ours, theirs, torch.randn(2, 3, 4, 5, dtype=torch.float64).transpose(1, 3))
