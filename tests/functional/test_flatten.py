"""functional.flatten: torch's flatten, a view where there is one."""

import torch

from tritonnet.functional import flatten


def test_flatten():
    x = torch.randn(2, 3, 4, 5)
    assert flatten(x).shape == (120,)
    assert flatten(x, 1).shape == (2, 60)
    assert flatten(x, 1, 2).shape == (2, 12, 5)
    assert flatten(x, 1).data_ptr() == x.data_ptr()
    turned = x.to(memory_format=torch.channels_last)
    assert torch.equal(flatten(turned, 1), x.flatten(1))


def test_gradient():
    x = torch.randn(2, 3, 4, requires_grad=True)
    dy = torch.randn(2, 12)
    flatten(x, 1).backward(dy)
    assert torch.equal(x.grad, dy.view(2, 3, 4))
