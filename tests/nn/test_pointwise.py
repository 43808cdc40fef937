import pytest
import torch

from tritonnet import nn

LAYERS = [
    ("ReLU", (), {}),
    ("ReLU6", (), {}),
    ("LeakyReLU", (0.2,), {}),
    ("ELU", (0.7,), {}),
    ("CELU", (2.0,), {}),
    ("SELU", (), {}),
    ("GELU", (), {}),
    ("GELU", ("tanh",), {}),
    ("SiLU", (), {}),
    ("Sigmoid", (), {}),
    ("Tanh", (), {}),
    ("Softplus", (), {}),
    ("Softplus", (2.0, 5.0), {}),
    ("Hardtanh", (-0.5, 2.0), {}),
    ("Hardswish", (), {}),
    ("Mish", (), {}),
    ("PReLU", (), {}),
    ("PReLU", (5,), {"init": 0.1, "dtype": torch.float64}),
    ("LogSigmoid", (), {}),
    ("Softsign", (), {}),
    ("Tanhshrink", (), {}),
    ("Hardshrink", (0.3,), {}),
    ("Softshrink", (0.3,), {}),
    ("Threshold", (0.3, -1.0), {}),
]
OVERWRITE = "ReLU ReLU6 LeakyReLU ELU CELU SELU SiLU Hardtanh Hardswish Hardsigmoid Mish".split()  # noqa: SIM905


@pytest.mark.parametrize("name, arguments, keywords", LAYERS, ids=str)
def test_is_torchs(twins, agree, name, arguments, keywords):
    ours, theirs = twins(name, *arguments, **keywords)
    agree(ours.double(), theirs.double(), torch.randn(3, 5, 2, dtype=torch.float64))


def test_hardsigmoid_is_torchs(twins):
    ours, theirs = twins("Hardsigmoid")
    results = []
    for layer in (ours, theirs):
        x = torch.linspace(-4, 4, 31, requires_grad=True)
        y = layer(x)
        y.backward(torch.linspace(-1, 1, 31))
        results.append((y, x.grad))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("name", OVERWRITE)
def test_in_place(twins, name):
    ours, theirs = twins(name, inplace=True)
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    expected = theirs(x.clone())
    assert ours(x) is x
    torch.testing.assert_close(x, expected)


def test_threshold_in_place(twins):
    ours, _ = twins("Threshold", 0.5, 9.0, inplace=True)
    x = torch.tensor([0.2, 0.7])
    assert ours(x) is x and x[0] == 9


def test_limits_of_hardtanh_by_their_old_names(twins):
    with pytest.warns(FutureWarning, match="min_value"):
        ours, _ = twins("Hardtanh", min_value=-3.0)
    assert ours.min_val == -3
    with pytest.raises(AssertionError, match=r"Hardtanh: max_val is 1; it must be greater than min_val 1"):
        nn.Hardtanh(1, 1)


def test_weights_of_prelu_are_set_again(twins):
    ours, _ = twins("PReLU", 3, init=0.5)
    with torch.no_grad():
        ours.weight.zero_()
    ours.reset_parameters()
    assert ours.weight.tolist() == [0.5] * 3
