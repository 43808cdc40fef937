"""init draws what torch.nn.init draws from the same seed, bit for bit."""

import inspect
import warnings

import pytest
import torch

from tritonnet import init, nn
from tritonnet.errors import ShapeError

CASES = [
    ("uniform_", (4, 5), {"a": -2, "b": 3}),
    ("normal_", (4, 5), {"mean": 1, "std": 0.2}),
    ("constant_", (3,), {"val": 2.5}),
    ("zeros_", (3, 2), {}),
    ("ones_", (3, 2), {}),
    ("eye_", (3, 5), {}),
    ("eye_", (5, 3), {}),
    ("dirac_", (6, 4, 3, 5), {}),
    ("dirac_", (6, 2, 3), {"groups": 3}),
    ("dirac_", (4, 8, 2, 2, 2), {"groups": 2}),
    ("xavier_uniform_", (4, 5, 3, 3), {"gain": 1.5}),
    ("xavier_normal_", (4, 5), {}),
    ("kaiming_uniform_", (4, 5, 3, 3), {"a": 5**0.5}),
    ("kaiming_uniform_", (4, 5), {"mode": "fan_out", "nonlinearity": "relu"}),
    ("kaiming_uniform_", (0, 5), {}),
    ("kaiming_normal_", (5, 0), {}),
    ("uniform_", (0,), {}),
    ("dirac_", (0, 2, 3), {}),
    ("xavier_uniform_", (0, 2), {}),
    ("sparse_", (0, 3), {"sparsity": 0.5}),
    ("kaiming_normal_", (4, 5, 2), {"a": 0.1, "mode": "fan_out"}),
    ("kaiming_normal_", (4, 5), {"nonlinearity": "tanh"}),
    ("orthogonal_", (6, 4), {"gain": 2}),
    ("orthogonal_", (3, 2, 4), {}),
    ("orthogonal_", (0, 2), {}),
    ("sparse_", (7, 3), {"sparsity": 0.3, "std": 0.5}),
]
TRUNCATED = [
    ("trunc_normal_", (50, 20), {}),
    ("trunc_normal_", (500,), {"mean": 0.3, "std": 0.5, "a": -0.2, "b": 0.6}),
    ("trunc_normal_", (500,), {"std": 1, "a": 1.5, "b": 2.5}),
    ("trunc_normal_", (500,), {"std": 10, "a": -1, "b": 1}),
]
# Before 2.13 torch's trunc_normal_ inverted the error function, with other draws.
if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 13):
    CASES += TRUNCATED


def drawn(space, name, shape, arguments, dtype, generator=None):
    torch.manual_seed(7)
    tensor = torch.full(shape, 9.0, dtype=dtype, requires_grad=True)
    if generator is not None:
        arguments = arguments | {"generator": generator.manual_seed(11)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = getattr(space, name)(tensor, **arguments)
    assert result is tensor and tensor.requires_grad and tensor.is_leaf
    return tensor.detach(), torch.rand(3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name, shape, arguments", CASES, ids=str)
def test_is_torchs(name, shape, arguments, dtype):
    if name == "orthogonal_" and dtype == torch.bfloat16:
        dtype = torch.float32  # torch has no QR in bfloat16
    ours, next_ours = drawn(init, name, shape, arguments, dtype)
    theirs, next_theirs = drawn(torch.nn.init, name, shape, arguments, dtype)
    assert torch.equal(ours, theirs) and torch.equal(next_ours, next_theirs)


@pytest.mark.parametrize("name, shape, arguments", CASES, ids=str)
def test_draws_from_a_given_generator(name, shape, arguments):
    if name.startswith(("const", "zeros", "ones", "eye", "dirac")):
        return_values = [drawn(space, name, shape, arguments, torch.float32) for space in (init, torch.nn.init)]
    else:
        generator = torch.Generator()
        return_values = [
            drawn(space, name, shape, arguments, torch.float32, generator) for space in (init, torch.nn.init)
        ]
    assert torch.equal(return_values[0][0], return_values[1][0])


@pytest.mark.parametrize("_, shape, arguments", TRUNCATED, ids=str)
def test_truncated_normal_stays_within_and_has_the_right_mean(_, shape, arguments):
    tensor, _ = drawn(init, "trunc_normal_", (200_000,), arguments, torch.float64)
    settings = {"mean": 0.0, "std": 1.0, "a": -2.0, "b": 2.0} | arguments
    assert settings["a"] <= tensor.min() and tensor.max() <= settings["b"]
    grid = torch.linspace(settings["a"], settings["b"], 100_001, dtype=torch.float64)
    density = torch.exp(-0.5 * ((grid - settings["mean"]) / settings["std"]) ** 2)
    mean = (grid * density).sum() / density.sum()
    variance = ((grid - mean) ** 2 * density).sum() / density.sum()
    assert (tensor.mean() - mean).abs() < 6 * (variance / tensor.numel()) ** 0.5


@pytest.mark.parametrize("nonlinearity", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains_are_torchs(nonlinearity):
    assert init.calculate_gain(nonlinearity) == torch.nn.init.calculate_gain(nonlinearity)
    assert init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)


def test_names_and_signatures_are_torchs():
    assert set(torch.nn.init.__all__) == set(init.__all__)
    for name in init.__all__:
        ours, theirs = (inspect.signature(getattr(space, name)).parameters for space in (init, torch.nn.init))
        if theirs.keys() != {"args", "kwargs"}:
            assert [(one.name, one.default) for one in ours.values()] == [
                (one.name, one.default) for one in theirs.values()
            ]


OLD = sorted(name for name in init.__all__ if f"{name}_" in init.__all__)


@pytest.mark.parametrize("old", OLD)
def test_old_names_warn_and_do_the_same(old):
    _, shape, arguments = next(case for case in CASES if case[0] == f"{old}_" and 0 not in case[1])
    torch.manual_seed(7)
    with pytest.warns(FutureWarning, match=f"init.{old} is deprecated; it is called init.{old}_"):
        ours = getattr(init, old)(torch.empty(shape), **arguments)
    assert torch.equal(ours, drawn(torch.nn.init, f"{old}_", shape, arguments, torch.float32)[0])


@pytest.mark.parametrize("name", ["uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "orthogonal_", "eye_"])
def test_parameters_and_views_are_filled_in_place(name):
    """Transposed, as a Linear's weight may be: the same values as torch's, and autograd sees nothing of it."""
    results = []
    for space, make in ((init, nn.Parameter), (torch.nn.init, torch.nn.Parameter)):
        torch.manual_seed(5)
        # torch's own orthogonal_ needs a tensor that it can view.
        weight = make(torch.zeros(6, 4) if name == "orthogonal_" else torch.zeros(4, 6).t())
        assert getattr(space, name)(weight) is weight and weight.is_leaf and weight.grad is None
        results.append(weight.detach())
    assert torch.equal(*results)


def test_fans_under_the_name_that_scripts_use():
    for shape in ((4, 5), (4, 5, 3, 2), (2, 2, 1)):
        tensor = torch.empty(shape)
        assert init._calculate_fan_in_and_fan_out(tensor) == torch.nn.init._calculate_fan_in_and_fan_out(tensor)


def test_meta_tensors_stay_as_they_are():
    for name, arguments in [("trunc_normal_", {}), ("orthogonal_", {}), ("sparse_", {"sparsity": 0.1}), ("eye_", {})]:
        assert getattr(init, name)(torch.empty(3, 4, device="meta"), **arguments).is_meta
    assert init.dirac_(torch.empty(2, 2, 3, device="meta")).is_meta


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: init.xavier_normal_(torch.empty(3)), ShapeError, "fan in and fan out need two dimensions"),
        (lambda: init.kaiming_normal_(torch.empty(3, 3), mode="both"), ValueError, "mode is 'both'"),
        (lambda: init.eye_(torch.empty(3)), ShapeError, r"eye_: the tensor is \(3,\); it takes 2 dimensions"),
        (lambda: init.dirac_(torch.empty(3, 3)), ShapeError, "dirac_: .* 3 or 4 or 5 dimensions"),
        (lambda: init.dirac_(torch.empty(3, 3, 1), groups=2), ShapeError, "2 groups do not divide"),
        (lambda: init.orthogonal_(torch.empty(3)), ShapeError, "orthogonal_: .*two dimensions or more"),
        (lambda: init.sparse_(torch.empty(3), 0.1), ShapeError, "sparse_: .*2 dimensions"),
        (lambda: init.calculate_gain("swish"), ValueError, "got 'swish'; it knows"),
        (lambda: init.calculate_gain("leaky_relu", True), ValueError, "not a number"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_far_bounds_and_empty_tensors_are_warned_of():
    with pytest.warns(UserWarning, match="more than two std"):
        init.trunc_normal_(torch.empty(3), mean=9, std=1, a=-1, b=1.5)
    for kaiming in (init.kaiming_uniform_, init.kaiming_normal_):
        with pytest.warns(UserWarning, match="no elements"):
            kaiming(torch.empty(0, 3))
