"""Shuffles of pixels and channels: torch's elements, gradients, errors."""

import pytest
import torch

from tritonnet.errors import ShapeError
from tritonnet.functional import channel_shuffle, pixel_shuffle, pixel_unshuffle

F = torch.nn.functional


@pytest.mark.parametrize(
    "ours, theirs, shape, factor",
    [
        (pixel_shuffle, F.pixel_shuffle, (2, 18, 4, 5), 3),
        (pixel_shuffle, F.pixel_shuffle, (4, 2, 3), 2),
        (pixel_shuffle, F.pixel_shuffle, (2, 1, 8, 1, 3), 2),
        (pixel_unshuffle, F.pixel_unshuffle, (2, 3, 6, 9), 3),
        (pixel_unshuffle, F.pixel_unshuffle, (1, 4, 2), 1),
        (channel_shuffle, F.channel_shuffle, (2, 6, 3, 5), 3),
        (channel_shuffle, F.channel_shuffle, (2, 6, 4), 2),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_torchs_elements_and_gradients(ours, theirs, shape, factor):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y, expected = ours(x, factor), theirs(x, factor)
    assert torch.equal(y, expected)
    dy = torch.randn_like(y)
    assert torch.equal(*(torch.autograd.grad(one, x, dy)[0] for one in (y, expected)))


def test_errors():
    x = torch.ones(1, 6, 4, 6)
    with pytest.raises(ShapeError, match=r"pixel_shuffle: input is \(1, 6, 4, 6\); .* with 2\^2 > 0 dividing C"):
        pixel_shuffle(x, 2)
    with pytest.raises(ShapeError, match=r"pixel_unshuffle: input is \(1, 6, 4, 6\); .* with 3 > 0 dividing H, W"):
        pixel_unshuffle(x, 3)
    with pytest.raises(ShapeError, match=r"channel_shuffle: input is \(1, 6, 4, 6\); .* with 4 > 0 dividing C"):
        channel_shuffle(x, 4)
    for function in (pixel_shuffle, pixel_unshuffle, channel_shuffle):
        with pytest.raises(ShapeError, match="with 0"):
            function(x, 0)
        with pytest.raises(ShapeError, match=r"input is \(4, 6\)"):
            function(x[0, 0], 1)
