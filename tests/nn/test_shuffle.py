import pytest
import torch


@pytest.mark.parametrize("name, factor", [("PixelShuffle", 2), ("PixelUnshuffle", 2), ("ChannelShuffle", 4)])
def test_is_torchs(twins, agree, name, factor):
    ours, theirs = twins(name, factor)
    assert vars(ours).keys() >= {name for name in vars(theirs) if name.endswith(("factor", "groups"))}
    x = torch.randn(2, 8, 4, 6, dtype=torch.float64)
    agree(ours, theirs, x)
    agree(ours, theirs, x.to(memory_format=torch.channels_last))
