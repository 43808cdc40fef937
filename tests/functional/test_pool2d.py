"""functional pooling: gradients of two orders, what is kept for them, gradients of any layout."""

import inspect
from functools import partial

import pytest
import torch
import torch.nn.functional as theirs

from tritonnet import functional as ours
from tritonnet.errors import ShapeError
from tritonnet.kernels import adaptive_avg_pool2d, avg_pool2d, max_pool2d, use
from tritonnet.testing import check

FUNCTIONS = [
    ("max_pool2d", (3, 2, 1)),
    ("max_pool2d", (2, 2, 0, 1, True, True)),
    ("adaptive_max_pool2d", ((2, 3),)),
    ("adaptive_max_pool2d", (1, True)),
    ("avg_pool2d", (3, 2, 1, True, False)),
    ("adaptive_avg_pool2d", ((2, 3),)),
]


def first(function, *args):
    """The function of x alone, without its indices."""

    def call(x):
        result = function(x, *args)
        return result[0] if isinstance(result, tuple) else result

    return call


def test_gradient_of_maxima():
    dims = {"N": [0, 1, 2], "C": [1, 3], "H": [4, 5], "W": [4, 33]}
    function, reference = partial(ours.max_pool2d, kernel_size=3, stride=2, padding=1), max_pool2d.reference
    reference = first(partial(reference, kernel_size=3, stride=2, padding=1))
    check(
        function, reference, {"x": ("N", "C", "H", "W")}, dims=dims, grad=["x"], dtypes=[torch.float32, torch.bfloat16]
    )


def test_gradient_of_means():
    dims = {"N": [0, 1, 2], "C": [1, 3], "H": [4, 5], "W": [4, 33]}
    for function, reference in (
        (partial(ours.avg_pool2d, kernel_size=2), partial(avg_pool2d.reference, kernel_size=2)),
        (partial(ours.adaptive_avg_pool2d, output_size=1), partial(adaptive_avg_pool2d.reference, output_size=1)),
    ):
        check(function, reference, {"x": ("N", "C", "H", "W")}, dims=dims, grad=["x"], dtypes=[torch.float32])


@pytest.mark.parametrize(("name", "args"), FUNCTIONS, ids=str)
def test_gradients_of_two_orders(name, args):
    function = first(getattr(ours, name), *args)
    x = torch.randperm(2 * 2 * 5 * 7).double().view(2, 2, 5, 7).requires_grad_()
    for layout in (torch.contiguous_format, torch.channels_last):
        pooled = lambda x, layout=layout: function(x.contiguous(memory_format=layout))  # noqa: E731
        assert torch.autograd.gradcheck(pooled, x)
        assert torch.autograd.gradgradcheck(pooled, x)


@pytest.mark.parametrize(("name", "args"), FUNCTIONS, ids=str)
def test_incoming_gradients_of_any_layout(name, args):
    x = torch.randn(3, 2, 6, 9, dtype=torch.float64, requires_grad=True)
    y, expected = (first(getattr(space, name), *args)(x) for space in (ours, theirs))
    N, C, P, Q = y.shape
    wide = torch.randn(Q, 2 * P, C + 1, N, dtype=torch.float64)
    for dy in (torch.ones((), dtype=torch.float64).expand(y.shape), wide[:, ::2, 1:].permute(3, 2, 1, 0)):
        pair = (torch.autograd.grad(each, x, dy, retain_graph=True)[0] for each in (y, expected))
        torch.testing.assert_close(*pair, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "args"), FUNCTIONS, ids=str)
def test_results_are_torchs(name, args):
    batch = torch.randn(2, 3, 8, 11, dtype=torch.float64)
    for x in (batch, batch[0], batch.transpose(0, 1)):
        mine, yours = (getattr(space, name)(x, *args) for space in (ours, theirs))
        torch.testing.assert_close(mine, yours, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["max_pool2d", "adaptive_max_pool2d"])
def test_with_indices(name):
    x = torch.randn(2, 8, 8)
    y, index = getattr(ours, f"{name}_with_indices")(x, 2)
    same = getattr(ours, name)(x, 2, return_indices=True)
    assert torch.equal(y, same[0]) and torch.equal(index, same[1])
    assert index.dtype == torch.int64 and y.ndim == index.ndim == 3
    assert torch.equal(x.flatten(1).gather(1, index.flatten(1)).view_as(y), y)


@pytest.mark.parametrize("name", ["max_pool2d", "adaptive_max_pool2d"])
def test_signatures_are_torchs(name):
    mine = inspect.signature(getattr(ours, f"{name}_with_indices")).parameters
    yours = inspect.signature(getattr(theirs, f"{name}_with_indices")).parameters
    plain = inspect.signature(getattr(ours, name)).parameters
    assert [(p.name, p.default) for p in mine.values()] == [(p.name, p.default) for p in yours.values()]
    assert list(plain) == list(mine)


def test_nothing_is_kept_where_nothing_needs_a_gradient(monkeypatch):
    asked = []
    launcher = max_pool2d.launcher
    monkeypatch.setattr(
        max_pool2d, "launcher", lambda *args, index: asked.append(index) or launcher(*args, index=index)
    )
    x = torch.randn(1, 4, 4, requires_grad=True)
    with torch.no_grad():
        ours.max_pool2d(x, 2)
    ours.max_pool2d(x.detach(), 2)
    ours.max_pool2d(x, 2)
    ours.max_pool2d(x, 2, return_indices=True)
    assert asked == [None, None, torch.int32, torch.int64]


def test_half_inputs_stay_half_under_autocast():
    x = torch.randn(1, 2, 4, 4, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours.avg_pool2d(x, 2).dtype == ours.max_pool2d(x, 2).dtype == torch.bfloat16
        assert ours.avg_pool2d(x.float(), 2).dtype == torch.float32


def test_integers_have_indices_too():
    x = torch.randint(0, 9, (1, 4, 4))
    assert all(
        map(torch.equal, ours.max_pool2d(x, 2, return_indices=True), theirs.max_pool2d(x, 2, return_indices=True))
    )


def test_what_does_not_fit():
    with use("reference"):
        with pytest.raises(ShapeError, match="avg_pool2d: padding is 2 and kernel_size 3"):
            ours.avg_pool2d(torch.ones(1, 4, 4), 3, 1, 2)
        with pytest.raises(ShapeError, match="max_pool2d: kernel_size is 'two'"):
            ours.max_pool2d(torch.ones(1, 4, 4, requires_grad=True), "two")
