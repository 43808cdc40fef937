import pytest
import torch

from tritonnet import kernels, nn
from tritonnet.errors import ShapeError


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"kernel_size": (2, 3), "stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)},
        {"groups": 2, "bias": False},
        {"padding": "same", "kernel_size": (4, 3)},
        {"padding": "valid", "stride": 2},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
def test_is_torchs(twins, agree, args):
    ours, theirs = twins("Conv2d", 4, 6, **{"kernel_size": 3, "dtype": torch.float64} | args)
    for name in ("in_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode", "transposed"):
        assert getattr(ours, name) == getattr(theirs, name)
    x = torch.randn(2, 4, 7, 8, dtype=torch.float64)
    with kernels.use("reference" if args else "triton"):  # the kernel's own tests have all geometries
        agree(ours, theirs, x)
        agree(ours, theirs, x.to(memory_format=torch.channels_last))


@pytest.mark.parametrize(
    "args, message",
    [
        ({"groups": 0}, "groups is 0"),
        ({"groups": 4}, "out_channels is 6, not divisible by groups=4"),
        ({"groups": 3}, "in_channels is 4, not divisible by groups=3"),
        ({"padding": "full"}, "padding is 'full'"),
        ({"padding": "same", "stride": 2}, r"padding='same' needs stride 1, and stride is \(2, 2\)"),
        ({"stride": (1, 1, 1)}, "an int or a pair"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(args, message):
    with pytest.raises(ShapeError, match=f"Conv2d: .*{message}"):
        nn.Conv2d(4, 6, 3, **args)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    "args",
    [
        {"padding": 2},
        {"padding": (1, 2), "kernel_size": (2, 3), "stride": (2, 1), "groups": 2, "bias": False},
        {"padding": "same", "kernel_size": (4, 3), "dilation": (1, 2)},
        {"padding": "valid", "stride": 2},
    ],
    ids=str,
)
def test_padding_modes_are_torchs(twins, agree, args, mode):
    ours, theirs = twins("Conv2d", 4, 6, **{"kernel_size": 3, "dtype": torch.float64, "padding_mode": mode} | args)
    x = torch.randn(2, 4, 7, 8, dtype=torch.float64)
    with kernels.use("reference" if mode != "reflect" or "groups" in args else "triton"):
        agree(ours, theirs, x)
        agree(ours, theirs, x[0])
        agree(ours, theirs, x.to(memory_format=torch.channels_last))


def test_another_padding_mode():
    with pytest.raises(ValueError, match="padding_mode is 'mirror'"):
        nn.Conv2d(1, 1, 1, padding_mode="mirror")
    with pytest.raises(ShapeError, match="to reflect, they must be smaller than the dimension"):
        nn.Conv2d(1, 1, 3, padding=3, padding_mode="reflect")(torch.ones(1, 3, 5))


def test_initial_values_do_not_depend_on_the_memory_format(twins):
    ours, theirs = twins("Conv2d", 4, 6, 3)
    for layer in (ours, theirs):
        layer.to(memory_format=torch.channels_last)
        torch.manual_seed(5)
        layer.reset_parameters()
    assert torch.equal(ours.weight, theirs.weight) and ours.weight.stride() == theirs.weight.stride()
