"""functional.conv2d: gradients in every layout and order, frozen operands, autocast, unbatched images."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from tritonnet import kernels
from tritonnet.errors import DtypeError, ShapeError
from tritonnet.functional import conv2d
from tritonnet.testing import check
from tritonnet.testing._memory import LAYOUTS

NAMES = ("stride", "padding", "dilation", "groups")


def reference(x, weight, bias=None, **hyper):
    return torch.conv2d(x, weight, bias, **hyper)


SOME = ("contiguous", "channels_last")


@pytest.mark.parametrize(
    "C, K, groups, layouts",
    [(3, 5, 1, SOME), (18, 20, 1, LAYOUTS), (4, 4, 4, SOME)],
    ids=["few channels", "many channels", "depthwise"],
)
def test_values_and_gradients(C, K, groups, layouts):
    check(
        lambda *operands, **hyper: conv2d(*operands, groups=groups, **hyper),
        lambda *operands, **hyper: reference(*operands, groups=groups, **hyper),
        {"x": ("N", C, 6, 5), "weight": (K, C // groups, 3, 3), "bias": (K,)},
        dims={"N": [0, 2]},
        dtypes=[torch.float32, torch.bfloat16],
        grad=("x", "weight", "bias"),
        layouts=layouts,
        hyper=[{"stride": 2, "padding": 1}],
    )


def test_gradients_without_bias():
    check(
        conv2d,
        reference,
        {"x": (2, 18, 6, 5), "weight": (20, 18, 3, 3)},
        dims={},
        dtypes=[torch.float32],
        layouts=SOME,
        grad=("x", "weight"),
        hyper=[{"padding": "same", "dilation": (1, 2)}],
    )


@pytest.mark.parametrize(
    "C, K, hyper",
    [
        (3, 4, (1, 1, 1, 1)),
        (4, 2, (2, (1, 2), (2, 1), 2)),
        (3, 3, (1, 0, 1, 3)),
        (3, 2, ((3, 2), 2, (1, 2), 1)),
        (2, 3, (1, "same", (2, 1), 1)),
    ],
    ids=["plain", "groups", "depthwise", "stride", "same"],
)
def test_gradients_of_two_orders(C, K, hyper):
    torch.manual_seed(0)
    options = {"dtype": torch.float64, "requires_grad": True}
    x, weight, bias = (
        torch.randn(2, C, 6, 5, **options),
        torch.randn(K, C // hyper[3], 3, 3, **options),
        torch.randn(K, **options),
    )
    hyper = dict(zip(NAMES, hyper, strict=True))

    def convolve(*operands):
        return conv2d(*operands, **hyper)

    gradcheck(convolve, (x, weight, bias))
    gradgradcheck(convolve, (x, weight, bias))


@pytest.mark.parametrize("frozen", ["x", "weight", "bias"])
def test_what_needs_no_gradient_costs_none(frozen, monkeypatch):
    called = []
    for name in ("conv2d_grad_input", "conv2d_grad_weight", "column_sum"):
        real = getattr(kernels, name)
        monkeypatch.setattr(
            kernels, name, lambda *args, real=real, name=name, **kwargs: called.append(name) or real(*args, **kwargs)
        )
    operands = {"x": torch.randn(2, 3, 5, 5), "weight": torch.randn(4, 3, 3, 3), "bias": torch.randn(4)}
    for name, operand in operands.items():
        operand.requires_grad_(name != frozen)
    conv2d(*operands.values()).sum().backward()
    costs = {"x": "conv2d_grad_input", "weight": "conv2d_grad_weight", "bias": "column_sum"}
    assert called == [cost for name, cost in costs.items() if name != frozen]
    assert operands[frozen].grad is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_rounds_in_the_kernel(dtype):
    x, weight, bias = torch.randn(2, 18, 6, 6), torch.randn(20, 18, 3, 3), torch.randn(20)
    ours = [t.clone().requires_grad_() for t in (x, weight, bias)]
    with torch.autocast("cpu", dtype=dtype):
        y = conv2d(*ours, padding=1)
    assert y.dtype == dtype
    grad = torch.randn_like(y)
    y.backward(grad)
    rounded = [
        x.to(dtype).double().requires_grad_(),
        weight.to(dtype).double().requires_grad_(),
        bias.double().requires_grad_(),
    ]
    expected = torch.conv2d(*rounded, padding=1)
    torch.testing.assert_close(y, expected.to(dtype))
    expected.backward(grad.double())
    for got, want in zip(ours, rounded, strict=True):
        assert got.grad.dtype == torch.float32
        torch.testing.assert_close(got.grad, want.grad.float(), rtol=1e-5, atol=1e-4)


def test_autocast_leaves_float64_alone():
    x, weight = torch.randn(1, 2, 4, 4, dtype=torch.float64), torch.randn(3, 2, 3, 3, dtype=torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv2d(x, weight).dtype == torch.float64


def test_an_image_without_a_batch():
    x, weight, bias = (t.requires_grad_() for t in (torch.randn(3, 7, 6), torch.randn(4, 3, 3, 3), torch.randn(4)))
    y = conv2d(x, weight, bias, 2, 1)
    assert y.shape == (4, 4, 3)
    assert torch.equal(y, conv2d(x[None], weight, bias, 2, 1)[0])
    y.sum().backward()
    assert x.grad.shape == x.shape


def test_a_gradient_of_a_sum_is_expanded_and_right():
    x, weight, bias = torch.randn(2, 18, 6, 6), torch.randn(20, 18, 3, 3), torch.randn(20)
    ours, theirs = ([t.clone().requires_grad_() for t in (x, weight, bias)] for _ in range(2))
    conv2d(*ours, padding=1).sum().backward()
    torch.conv2d(*theirs, padding=1).sum().backward()
    for got, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got.grad, want.grad, rtol=1e-4, atol=1e-3)


def test_errors():
    with pytest.raises(ShapeError, match=r"conv2d: input is \(8, 8\); it takes \[N, C, H, W\] or \[C, H, W\]"):
        conv2d(torch.empty(8, 8), torch.empty(1, 1, 3, 3))
    with pytest.raises(ShapeError, match="weight takes 2 input channels a group and x has 3"):
        conv2d(torch.empty(3, 8, 8), torch.empty(1, 2, 3, 3))
    with pytest.raises(DtypeError, match="x is float32, weight is float64; the operands must have one dtype"):
        conv2d(torch.empty(3, 8, 8), torch.empty(1, 3, 3, 3, dtype=torch.float64))


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_paddings_by_name_are_torchs(padding):
    generator = torch.Generator().manual_seed(0)
    for _ in range(25):
        *kernel, h, w = torch.randint(1, 6, (4,), generator=generator).tolist()
        dilation = tuple(torch.randint(1, 4, (2,), generator=generator).tolist())
        height, width = (size + d * (k - 1) for size, k, d in zip((h, w), kernel, dilation, strict=True))
        x = torch.randn(2, 3, height, width, dtype=torch.float64, generator=generator)
        weight = torch.randn(4, 3, *kernel, dtype=torch.float64, generator=generator)
        ours, theirs = ([t.clone().requires_grad_() for t in (x, weight)] for _ in range(2))
        hyper = {"padding": padding, "dilation": dilation}
        with kernels.use("reference"):  # which pads by the same numbers; the kernel's own tests have all geometries
            y, expected = conv2d(*ours, **hyper), torch.conv2d(*theirs, **hyper)
        torch.testing.assert_close(y, expected, msg=lambda m, c=(kernel, dilation, height, width): f"{c}: {m}")
        grad = torch.randn(y.shape, dtype=torch.float64, generator=generator)
        with kernels.use("reference"):
            y.backward(grad)
        expected.backward(grad)
        for got, want in zip(ours, theirs, strict=True):
            torch.testing.assert_close(got.grad, want.grad)
    with pytest.raises(ShapeError, match="conv2d: padding"):
        conv2d(x, weight, padding="full")
