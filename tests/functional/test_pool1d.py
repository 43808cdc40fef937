"""functional pooling of sequences is torch's: results, gradients, indices, errors."""

import inspect

import pytest
import torch
import torch.nn.functional as theirs

from tritonnet import functional as ours
from tritonnet.errors import ShapeError

LINES = [
    ("max_pool1d", (3, 2, 1)),
    ("max_pool1d", ((2,), None, 1, 2, True, True)),
    ("adaptive_max_pool1d", (3,)),
    ("adaptive_max_pool1d", ((1,), True)),
    ("avg_pool1d", (3, (2,), 1, True, False)),
    ("adaptive_avg_pool1d", ((3,),)),
]


@pytest.mark.parametrize(("name", "args"), LINES, ids=str)
def test_results_and_gradients_are_torchs(name, args):
    batch = torch.randn(2, 3, 11, dtype=torch.float64)
    for x in (batch, batch[0], batch.transpose(0, 1)):
        found = []
        for space in (ours, theirs):
            leaf = x.detach().requires_grad_()
            result = getattr(space, name)(leaf, *args)
            y = result[0] if isinstance(result, tuple) else result
            found.append((result, torch.autograd.grad(y, leaf, torch.linspace(1, 2, y.numel()).double().view_as(y))))
        torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["max_pool1d", "adaptive_max_pool1d"])
def test_with_indices(name):
    x = torch.randn(2, 8, 8)
    y, index = getattr(ours, f"{name}_with_indices")(x, 2)
    assert torch.equal(x.gather(-1, index), y)
    mine = inspect.signature(getattr(ours, f"{name}_with_indices")).parameters
    yours = inspect.signature(getattr(theirs, f"{name}_with_indices")).parameters
    assert [(p.name, p.default) for p in mine.values()] == [(p.name, p.default) for p in yours.values()]


def test_what_does_not_fit():
    for function in (ours.max_pool1d, ours.avg_pool1d, ours.adaptive_max_pool1d, ours.adaptive_avg_pool1d):
        for x in (torch.ones(4), torch.ones(1, 1, 1, 4)):
            with pytest.raises(
                ShapeError, match=rf"{function.__name__}: input is .*; it takes \[N, C, L\] or \[C, L\]"
            ):
                function(x, 2)
