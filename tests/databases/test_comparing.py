"""The comparison that the databases' tests rest on can fail."""

from functools import partial

import pytest

pytest.importorskip("expecttest")

import torch

from tests.databases.comparing import Case, Exclusion, check, chosen, compare, run
from tritonnet.errors import ShapeError


def case(*args, **kwargs):
    return Case("f", args, kwargs)


def tolerance(dtype):
    return 1e-6, 1e-6


def results(function, dtype=torch.float32, twice=False):
    x = torch.linspace(0.5, 1.5, 6, dtype=dtype).requires_grad_()
    return run(function, case(x), twice=twice)


class Wrong(torch.autograd.Function):
    """x^2 with half its gradient."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.saved_tensors[0]


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda x: x * x * 1.001, r"outputs\[0\] is 0.00225 from float64, torch's is"),
        (lambda x: (x * x)[None], r"outputs\[0\]: torch.Size\(\[1, 6\]\)"),
        (lambda x: (x * x).double(), r"outputs\[0\]: .* torch.float64, torch: .* torch.float32"),
        (lambda x: (x * x, x), "2 outputs, and torch has 1"),
        (lambda x: (x * x).detach(), "which outputs require gradients"),
        (Wrong.apply, r"gradients\[0\] is"),
        (lambda x: 2 * x.detach() * x - x.detach().square(), r"gradients of gradients\[0\] is"),
        (lambda x: torch.where(x > 1, torch.nan, x * x), r"outputs\[0\] is nan from float64"),
    ],
)
def test_a_difference_is_found(function, message):
    theirs, exact = results(lambda x: x * x, twice=True), partial(results, lambda x: x * x, torch.float64, True)
    compare(case(), results(lambda x: x.square(), twice=True), theirs, exact, tolerance)
    with pytest.raises(AssertionError, match=message):
        compare(case(), results(function, twice=True), theirs, exact, tolerance)


def test_what_is_as_near_to_float64_as_torch_is_passes():
    theirs, exact = results(lambda x: x * x * 1.01), partial(results, lambda x: x * x, torch.float64)
    compare(case(), results(lambda x: x * x * 0.99), theirs, exact, tolerance)
    with pytest.raises(AssertionError, match="from float64"):
        compare(case(), results(lambda x: x * x * 0.97), theirs, exact, tolerance)


def refuse():
    raise ShapeError("no")


def test_an_exclusion_must_be_needed_and_fail_as_it_says():
    exclusions = [Exclusion("even numbers", lambda case: case.args[0] % 2 == 0)]
    check(case(2), exclusions, refuse)
    check(case(3), exclusions, lambda: None)
    with pytest.raises(pytest.fail.Exception, match="excluded .even numbers. and needs no exclusion"):
        check(case(2), exclusions, lambda: None)
    with pytest.raises(ZeroDivisionError):
        check(case(2), exclusions, lambda: 1 / 0)
    with pytest.raises(ShapeError):
        check(case(3), exclusions, refuse)


def test_cases_that_add_nothing_are_left_out(monkeypatch):
    monkeypatch.delenv("TRITONNET_SAMPLES", raising=False)
    x = torch.ones(2, 3)
    cases = [case(x, a=a, b=b) for a in (1, 2) for b in (1, 2)] * 2 + [case(torch.ones(5, 3), a=1, b=1), case(x[0])]
    assert chosen(cases) == [*cases[:3], cases[-1]]
    assert chosen(cases, 2) == cases[:2]
    monkeypatch.setenv("TRITONNET_SAMPLES", "all")
    assert chosen(cases, 2) == cases


def test_inputs_are_given_in_the_layout_and_left_as_they_were():
    seen = []

    def function(x):
        seen.append(x.stride())
        with torch.no_grad():
            x[..., 0].zero_()
        return x * 2

    x = torch.ones(4, 3).requires_grad_()
    run(function, case(x), layout=lambda tensor: tensor.t().contiguous().t())
    run(function, case(x.detach().expand(2, 4, 3).requires_grad_()))
    assert seen == [(1, 4), (0, 3, 1)] and torch.equal(x.detach(), torch.ones(4, 3))
