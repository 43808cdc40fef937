"""The losses against torch's: values, gradients of two orders for every operand, dtypes, autocast, warnings, errors."""

import itertools
import warnings

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from tritonnet import functional as F
from tritonnet.errors import BackwardError, DtypeError, RangeError, ShapeError

DOUBLE = torch.float64
# Formulas by name: the function and what selects it.
LOSSES = {
    "mse_loss": {},
    "l1_loss": {},
    "smooth_l1_loss": {"beta": 0.5},
    "huber_loss": {"delta": 0.3},
    "binary_cross_entropy": {},
    "binary_cross_entropy_with_logits": {},
    "kl_div": {},
    "kl_div, log_target": {"log_target": True},
    "soft_margin_loss": {},
    "poisson_nll_loss": {"log_input": False, "eps": 0.1},
    "poisson_nll_loss, full": {"log_input": False, "full": True},
    "poisson_nll_loss, log_input": {},
    "poisson_nll_loss, log_input, full": {"full": True},
}
pytestmark = pytest.mark.filterwarnings("ignore:Using a target size", "ignore:.*reduction.*mean.*divides")


def both(name):
    """Our function and torch's, with the options of LOSSES."""
    function, options = name.partition(",")[0], LOSSES[name]
    return [
        lambda *args, space=space, **more: getattr(space, function)(*args, **options | more)
        for space in (F, torch.nn.functional)
    ]


def operands(name, *shapes, requires_grad=True):
    """An input and a target where the loss is defined and smooth; both require gradients where torch computes them."""
    x = torch.rand(shapes[0], dtype=DOUBLE) * 0.9 + 0.05
    target = torch.rand(shapes[-1], dtype=DOUBLE) * (4 if "poisson" in name else 0.9) + 0.05
    return x.requires_grad_(requires_grad), target.requires_grad_(requires_grad and name != "soft_margin_loss")


def derivatives(function, leaves, seed=1):
    """The loss, its gradients by `leaves`, and the gradients of those by leaves and by the incoming gradient."""
    generator = torch.Generator().manual_seed(seed)

    def like(y):
        return torch.randn(y.shape, generator=generator, dtype=DOUBLE)

    loss = function()
    incoming = like(loss).requires_grad_()
    gradients = torch.autograd.grad(loss, leaves, incoming, create_graph=True)
    found = [loss, *gradients]
    for gradient in gradients:
        if gradient.requires_grad:
            found += torch.autograd.grad(
                gradient, [*leaves, incoming], like(gradient), retain_graph=True, materialize_grads=True
            )
        else:
            like(gradient)
            found += [torch.zeros_like(leaf) for leaf in (*leaves, incoming)]
    return found


def agree(name, x, target, **options):
    leaves = [t for t in (x, target, *options.values()) if isinstance(t, Tensor) and t.requires_grad]
    ours, theirs = (derivatives(lambda: loss(x, target, **options), leaves) for loss in both(name))  # noqa: B023
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", LOSSES)
def test_against_torch(name):
    reductions = ("mean", "sum", "batchmean") if "kl_div" in name else ("mean", "sum")
    for shape, reduction in itertools.product([(3, 70), (5,), ()], reductions):
        agree(name, *operands(name, shape), reduction=reduction)


@pytest.mark.parametrize("name", ["mse_loss", "kl_div"])
def test_without_reduction(name):
    agree(name, *operands(name, (4, 33)), reduction="none")


@pytest.mark.parametrize("name", ["mse_loss", "poisson_nll_loss, full"])
def test_shapes_that_broadcast(name):
    agree(name, *operands(name, (3, 1, 5), (4, 1)))


def test_weights():
    weight = torch.rand(4, 9, dtype=DOUBLE)
    agree("mse_loss", *operands("mse_loss", (4, 9), (1, 9)), weight=weight)
    agree("mse_loss", *operands("mse_loss", (4, 9)), weight=weight.requires_grad_(), reduction="none")
    agree("huber_loss", *operands("huber_loss", (4, 9)), weight=weight)
    for target in (9, 1):
        x, target = operands("l1_loss", (4, 9), (1, target))
        ours, theirs = (
            torch.autograd.grad(loss(x, target, weight=weight), (x, target, weight)) for loss in both("l1_loss")
        )
        torch.testing.assert_close(ours, theirs)


def test_the_second_derivative_of_a_weighted_mean_by_its_weights_is_refused():
    x, target = operands("mse_loss", (4,))
    weight = torch.rand(4, dtype=DOUBLE, requires_grad=True)
    for gradient in torch.autograd.grad(F.mse_loss(x, target, weight=weight), (x, weight), create_graph=True):
        with pytest.raises(BackwardError, match="mse_loss: the second derivative of a weighted mean by its weights"):
            gradient.sum().backward(retain_graph=True)


def test_weights_of_classes():
    weight, pos_weight = torch.rand(4, 1, dtype=DOUBLE), torch.rand(9, dtype=DOUBLE) * 3
    name = "binary_cross_entropy"
    agree(name, *operands(name, (4, 9)), weight=weight)
    name = "binary_cross_entropy_with_logits"
    for reduction in ("none", "mean"):
        agree(name, *operands(name, (4, 9)), weight=weight, pos_weight=pos_weight, reduction=reduction)


@pytest.mark.parametrize("name", ["smooth_l1_loss", "binary_cross_entropy", "kl_div, log_target"])
def test_gradcheck(name):
    loss = both(name)[0]
    x, target = operands(name, (3, 4))
    assert torch.autograd.gradcheck(loss, (x, target))
    assert torch.autograd.gradgradcheck(loss, (x, target))


def test_a_third_derivative_is_refused():
    x, target = operands("binary_cross_entropy_with_logits", (4,))
    (first,) = torch.autograd.grad(F.binary_cross_entropy_with_logits(x, target), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
    with pytest.raises(BackwardError, match="binary_cross_entropy_with_logits: a third derivative is not offered"):
        second.sum().backward()


def test_only_what_is_needed_is_computed(monkeypatch):
    from tritonnet import kernels

    calls = []
    real = kernels.loss_gradient
    monkeypatch.setattr(kernels, "loss_gradient", lambda of, to, *rest: calls.append(to) or real(of, to, *rest))
    x, target = operands("mse_loss", (4,))
    F.mse_loss(x, target.detach()).backward()
    F.mse_loss(x.detach(), target).backward()
    assert calls == ["x", "target"]


def test_smooth_l1_without_a_smooth_part_is_l1():
    x, target = torch.randn(9), torch.randn(9)
    assert torch.equal(F.smooth_l1_loss(x, target, beta=0.0), F.l1_loss(x, target))


HALVES = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("name", ["mse_loss", "huber_loss", "binary_cross_entropy_with_logits", "kl_div"])
def test_the_dtype_of_the_loss_is_torchs(name):
    ours, theirs = both(name)
    for one, other in itertools.permutations([torch.float32, torch.float64, *HALVES], 2):
        x, target = (t.detach().to(dtype) for t, dtype in zip(operands(name, (3,)), (one, other), strict=True))
        found, expected = ours(x, target), theirs(x, target)
        assert found.dtype == expected.dtype, (one, other)
        eps = max(torch.finfo(dtype).eps for dtype in (one, other))
        torch.testing.assert_close(found, expected, rtol=4 * eps, atol=4 * eps)


def test_integers():
    x = torch.rand(6, requires_grad=True)
    for target in (torch.arange(6), torch.arange(6) > 2):
        for name in ("mse_loss", "smooth_l1_loss", "poisson_nll_loss"):
            ours, theirs = both(name)
            torch.testing.assert_close(ours(x, target), theirs(x, target))
    torch.testing.assert_close(F.mse_loss(torch.arange(6), x), torch.nn.functional.mse_loss(torch.arange(6), x))
    F.huber_loss(x, torch.arange(6)).backward()
    torch.testing.assert_close(x.grad, (x.detach() - torch.arange(6)).clamp(-1, 1) / 6)


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_widens_the_loss(name):
    ours, theirs = both(name)
    x, target = (t.detach().bfloat16() for t in operands(name, (3, 8)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ours(x.requires_grad_(), target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, theirs(x.float(), target.float()))
    loss.backward()
    assert x.grad.dtype == torch.bfloat16


def test_probabilities_are_refused_under_autocast_on_a_gpu():
    before = torch.is_autocast_enabled("cuda")
    torch.set_autocast_enabled("cuda", True)
    try:
        with FakeTensorMode():
            x = torch.rand(3, device="cuda")
            with pytest.raises(DtypeError, match="binary_cross_entropy: unsafe to autocast"):
                F.binary_cross_entropy(x, x)
    finally:
        torch.set_autocast_enabled("cuda", before)


def test_sizes_that_differ_are_warned_of_as_torch_does():
    x, target = torch.rand(2, 3), torch.rand(3)
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        told = []
        for function in both(name):
            with pytest.warns(UserWarning, match="Using a target size") as warned:
                function(x, target)
            told.append(str(warned[0].message))
        assert told[0] == told[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        F.kl_div(x, target, reduction="sum")


def test_the_mean_of_a_divergence_is_warned_of():
    x = torch.rand(2, 3)
    with pytest.warns(UserWarning, match="'batchmean' divides by the batch size alone") as warned:
        F.kl_div(x, x)
    assert warned[0].filename == __file__


OLD_PLACES = [name for name in LOSSES if "," not in name and name not in ("huber_loss", "poisson_nll_loss")]


@pytest.mark.parametrize("name", OLD_PLACES)
def test_the_old_spelling_of_reduction(name):
    x, target = operands(name, (2, 3), requires_grad=False)
    places = (x, target, None) if "binary" in name else (x, target)
    for size_average, reduce in ((False, None), (None, False), (True, True)):
        with pytest.warns(DeprecationWarning, match="size_average and reduce are deprecated") as warned:
            loss = getattr(F, name)(*places, size_average, reduce)
        assert warned[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = getattr(torch.nn.functional, name)(*places, size_average, reduce)
        torch.testing.assert_close(loss, expected)


def test_arguments_of_poisson_are_torchs_in_their_places():
    x, target = operands("poisson_nll_loss", (2, 3), requires_grad=False)
    args = (x, target, False, True, None, 1e-3, None, "sum")
    torch.testing.assert_close(F.poisson_nll_loss(*args), torch.nn.functional.poisson_nll_loss(*args))


@pytest.mark.parametrize("name", LOSSES)
def test_nothing(name):
    for reduction in ("none", "sum", "mean"):
        for function in both(name):
            x = torch.ones(0, 3, requires_grad=True)
            loss = function(x, torch.ones(0, 3), reduction=reduction)
            loss.sum().backward()
            assert loss.shape == ((0, 3) if reduction == "none" else ()) and x.grad.shape == (0, 3)
            assert reduction == "none" or (loss.isnan() if reduction == "mean" else loss == 0)


def errors(error, match, function, *args, **kwargs):
    with pytest.raises(error, match=match):
        function(*args, **kwargs)


@pytest.mark.parametrize("name", [name for name in LOSSES if "," not in name])
def test_errors_of_every_loss(name):
    ours = both(name)[0]
    x = torch.rand(2, 3)
    errors(ShapeError, f"{name}: reduction is 'avg'; it is one of 'none', 'mean', 'sum'", ours, x, x, reduction="avg")
    match = r"they must be the same" if "binary" in name else "which do not broadcast"
    errors(ShapeError, rf"{name}: input is \(2, 3\) and target is \(2,\)[;,] {match}", ours, x, x[:, 0])


def test_errors():
    x, long = torch.rand(4), torch.ones(4, dtype=torch.int64)
    for name in ("mse_loss", "l1_loss", "huber_loss"):
        errors(ShapeError, r"weight is \(3,\) and input is \(4,\); they", getattr(F, name), x, x, weight=x[:3])
    errors(ShapeError, "mse_loss: reduction is 'batchmean'", F.mse_loss, x, x, reduction="batchmean")
    errors(ShapeError, "smooth_l1_loss: beta is -1.0; it must not be negative", F.smooth_l1_loss, x, x, beta=-1.0)
    errors(ShapeError, "huber_loss: delta is 0.0; it must be positive", F.huber_loss, x, x, delta=0.0)
    errors(RangeError, r"input holds 2.0; all of its elements lie in \[0, 1\]", F.binary_cross_entropy, 2 * x / x, x)
    for function in (F.l1_loss, F.soft_margin_loss):
        errors(DtypeError, "target is bool; a bool is no number", function, x, x > 0.5)
    for function in (F.kl_div, F.binary_cross_entropy, F.binary_cross_entropy_with_logits):
        errors(DtypeError, "target is int64; it must be floating-point", function, x, long)
        errors(DtypeError, "input is int64; it must be floating-point", function, long, x)
    errors(DtypeError, "they must have one dtype", F.binary_cross_entropy, x, x.double())
    errors(DtypeError, "mse_loss: input is int64 and target is int64", F.mse_loss, long, long)


def test_gradients_that_torch_does_not_compute_either():
    x, needs = torch.rand(4), torch.rand(4, requires_grad=True)
    match = "requires a gradient, which is not computed; pass "
    errors(BackwardError, match + "weight.detach", F.binary_cross_entropy, x, x, needs)
    errors(BackwardError, match + "weight.detach", F.binary_cross_entropy_with_logits, x, x, needs)
    errors(BackwardError, match + "pos_weight.detach", F.binary_cross_entropy_with_logits, x, x, pos_weight=needs)
    errors(BackwardError, match + "target.detach", F.soft_margin_loss, x, needs)
    with torch.no_grad():
        loss: Tensor = F.binary_cross_entropy(x, x, needs)
    assert loss.isfinite()
