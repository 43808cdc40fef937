"""add, mul and prelu: values and gradients of every order, summed over what was broadcast, beside torch's."""

import pytest
import torch

from tests.test_dispatch import ALLOCATIONS, BEGINNING, VIEWS, Listing
from tritonnet.errors import DtypeError, ShapeError
from tritonnet.functional import add, mul, prelu

SHAPES = [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (4,)), ((2, 3, 4), (3, 1)), ((), (2, 3)), ((2, 0), (1, 1))]


def leaves(*shapes, dtype=torch.float64):
    return [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_add_and_mul_are_torchs(shapes):
    for ours, theirs in (
        (lambda a, b: add(a, b, alpha=-0.7), lambda a, b: torch.add(a, b, alpha=-0.7)),
        (mul, torch.mul),
    ):
        a, b = leaves(*shapes)
        results = []
        for function in (ours, theirs):
            y = function(a, b)
            dy = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape).requires_grad_()
            first = torch.autograd.grad(y, [a, b], dy, create_graph=True)
            second = torch.autograd.grad(sum((one**2).sum() for one in first), [a, b, dy], allow_unused=True)
            results.append([y, *first, *second])
        for one, other in zip(*results, strict=True):
            if other is None:
                assert one is None
            else:
                torch.testing.assert_close(one, other)


def test_gradients_of_every_order():
    a, b = leaves((3, 1), (2,))
    assert torch.autograd.gradcheck(lambda a, b: add(a, b, alpha=3), (a, b))
    assert torch.autograd.gradgradcheck(mul, (a, b))
    (first,) = torch.autograd.grad(mul(mul(a, a), mul(a, b)).sum(), a, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), a, create_graph=True)
    (third,) = torch.autograd.grad(second.sum(), a)
    torch.testing.assert_close(third, 6 * b.sum().expand(3, 1))


def test_numbers():
    (x,) = leaves((3, 4))
    for ours, theirs in (
        (add(x, 2, alpha=3), x + 6),
        (add(0.5, x, alpha=-2), 0.5 - 2 * x),
        (add(x, True), x + True),
        (mul(x, -0.3), x * -0.3),
        (mul(7, x), 7 * x),
    ):
        torch.testing.assert_close(ours, theirs)
        gradients = [torch.autograd.grad(y.sum(), x)[0] for y in (ours, theirs)]
        torch.testing.assert_close(*gradients)
    whole = torch.tensor([1, 2])
    assert torch.equal(mul(whole, 0.5), whole * 0.5)
    assert add(x.half(), 1.0).dtype == torch.float16


def test_mixed_dtypes():
    """Gradients have the dtypes of what they belong to, and are rounded once."""
    a, b = leaves((3, 4), (4,), dtype=torch.float32)
    a, b = a.detach().half().requires_grad_(), b
    y = mul(a, b)
    assert y.dtype == torch.float32
    dy = torch.randn(3, 4)
    da, db = torch.autograd.grad(y, [a, b], dy)
    torch.testing.assert_close(da, (dy * b.detach()).half())
    torch.testing.assert_close(db, (dy * a.detach().float()).sum(0))
    da, db = torch.autograd.grad(add(a, b, alpha=2), [a, b], dy)
    torch.testing.assert_close(da, dy.half())
    torch.testing.assert_close(db, 2 * dy.sum(0))
    index = torch.tensor([[1, 2, 3, 4]])
    (db,) = torch.autograd.grad(add(index, b), b, torch.ones(1, 4))
    assert db.tolist() == [1] * 4


def test_nothing_is_kept_in_vain():
    a, b = leaves((3, 4), (4,))
    y = mul(a.detach(), b)
    assert [one is None for one in y.grad_fn.saved_tensors] == [False, True]
    assert torch.autograd.grad(add(a, b), a, torch.ones(3, 4))[0].shape == (3, 4)


@pytest.mark.parametrize("shape", [(4, 3, 5), (6, 3), (7,), ()])
@pytest.mark.parametrize("count", [1, 3])
def test_prelu_is_torchs(shape, count):
    if count == 3 and len(shape) < 2:
        count = 1
    (x,) = leaves(shape)
    for weight in [torch.rand(count, dtype=torch.float64)] + [torch.tensor(0.3).double()] * (count == 1):
        weight.requires_grad_()
        results = []
        for function in (prelu, torch.nn.functional.prelu):
            y = function(x, weight)
            dy = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape).requires_grad_()
            first = torch.autograd.grad(y, [x, weight], dy, create_graph=True)
            second = torch.autograd.grad(sum((one**2).sum() for one in first), [x, weight, dy])
            results.append([y, *first, *second])
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other)


def test_gradients_of_prelu_of_three_orders():
    x, weight, dy = leaves((5, 2), (2,), (5, 2))

    def third(function):
        dx, dweight = torch.autograd.grad(function(x, weight), [x, weight], dy, create_graph=True)
        found = torch.autograd.grad((dx**2).sum() + (dweight**2).sum(), [x, weight, dy], create_graph=True)
        return torch.autograd.grad(sum((one**2).sum() for one in found), [x, weight, dy])

    for one, other in zip(third(prelu), third(torch.nn.functional.prelu), strict=True):
        torch.testing.assert_close(one, other)


def test_prelu_under_autocast():
    x, weight = leaves((4, 3), (3,), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = prelu(x, weight)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, torch.nn.functional.prelu(x, weight).bfloat16())
    y.sum().backward()
    assert x.grad.dtype == weight.grad.dtype == torch.float32
    torch.testing.assert_close(weight.grad, torch.where(x > 0, 0, x).sum(0))


def test_no_arithmetic_is_torchs():
    a, b, weight = leaves((40, 3), (3,), (3,), dtype=torch.float32)
    with Listing() as listing:
        prelu(add(mul(a, b), 2.0), weight).backward(torch.empty(40, 3))
    assert set(listing.floats) <= VIEWS | ALLOCATIONS | BEGINNING, listing.floats


def test_errors():
    x, weight = torch.ones(2, 3), torch.ones(3)
    with pytest.raises(DtypeError, match="add: of int64 and int64"):
        add(x.long(), x.long())
    with pytest.raises(DtypeError, match="add: got two numbers"):
        add(1, 2)
    with pytest.raises(DtypeError, match="mul: got two numbers"):
        mul(1, 2)
    with pytest.raises(DtypeError, match="mul: got 1j; it takes tensors and real numbers"):
        mul(x, 1j)
    with pytest.raises(ShapeError, match=r"mul: \(2, 3\) and \(2,\) do not broadcast"):
        mul(x, x[:, 0])
    with pytest.raises(ShapeError, match=r"prelu: weight is \(3, 1\); it needs to be one number, or a vector"):
        prelu(x, weight[:, None])
    with pytest.raises(ShapeError, match=r"prelu: weight is \(2,\) and input is \(2, 3\); .* each of 3 channels"):
        prelu(x, weight[:2])
    with pytest.raises(DtypeError, match="prelu: input is float32 and weight is float64"):
        prelu(x, weight.double())
