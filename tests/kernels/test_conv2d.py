"""conv2d and its gradients: values in every geometry, size, dtype and layout; 64-bit offsets, errors."""

import importlib
from functools import partial

import pytest
import torch

from tritonnet.errors import DeviceError, DtypeError, ShapeError
from tritonnet.kernels import OPS, conv2d, conv2d_grad_input, conv2d_grad_weight
from tritonnet.kernels.conv2d.geometry import geometry
from tritonnet.testing import check
from tritonnet.testing._memory import LAYOUTS

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def check_all(dims, dtypes=(torch.float32,), layouts=("contiguous", "channels_last"), **hyper):
    """Forward and both gradients of one geometry; `dims` has the sizes N, C, H, W, K, R, S."""
    groups = hyper.get("groups", 1)

    def of(sizes):
        x = tuple(sizes[name] for name in "NCHW")
        weight = (sizes["K"], sizes["C"] // groups, sizes["R"], sizes["S"])
        return geometry(
            "test", x, weight, hyper.get("stride", 1), hyper.get("padding", 0), hyper.get("dilation", 1), groups
        )

    dims = {
        **dims,
        "c": lambda sizes: sizes["C"] // groups,
        "P": lambda sizes: of(sizes).h.out,
        "Q": lambda sizes: of(sizes).w.out,
    }
    x, weight, grad = ("N", "C", "H", "W"), ("K", "c", "R", "S"), ("N", "K", "P", "Q")
    given = {
        conv2d: {"x": x, "weight": weight, "bias": ("K",)},
        conv2d_grad_input: {"grad": grad, "weight": weight, "shape": lambda sizes, _: tuple(sizes[d] for d in "NCHW")},
        conv2d_grad_weight: {
            "grad": grad,
            "x": x,
            "shape": lambda sizes, _: tuple(sizes[d] for d in ("K", "c", "R", "S")),
        },
    }
    for op, inputs in given.items():
        check(partial(op, **hyper), partial(op.reference, **hyper), inputs, dims=dims, dtypes=dtypes, layouts=layouts)


def sizes(C, K, R=3, S=3, H=9, W=7, N=2):
    return {"N": [N], "C": [C], "K": [K], "H": [H], "W": [W], "R": [R], "S": [S]}


FEW, MANY = {"C": 3, "K": 5}, {"C": 18, "K": 20}

GEOMETRIES = {
    "stride 2": (MANY, {"stride": 2, "padding": 1}),
    "stride 2, few channels": (FEW, {"stride": 2, "padding": 1}),
    "one stride beyond the kernel": (MANY, {"stride": (4, 1)}),
    "padding beyond the kernel": (FEW, {"padding": (4, 3)}),
    "dilation": (MANY, {"padding": 2, "dilation": (2, 3)}),
    "dilation and stride with a common factor": (MANY, {"stride": (4, 2), "padding": 2, "dilation": 2}),
    "dilation and stride without one": (FEW, {"stride": (3, 2), "padding": 2, "dilation": (2, 3)}),
    "one by one": ({**MANY, "R": 1, "S": 1}, {}),
    "one by one, stride 2: pixels that no tap touches": ({**MANY, "R": 1, "S": 1}, {"stride": 2}),
    "one channel": ({"C": 1, "K": 1}, {"padding": 1}),
    "same": (MANY, {"padding": "same", "dilation": (1, 2)}),
    "same, uneven": ({**FEW, "R": 2, "S": 4}, {"padding": "same"}),
    "valid": ({**FEW, "R": 5, "S": 2}, {"padding": "valid"}),
    "as large as the image": ({**FEW, "R": 9, "S": 7}, {}),
    "groups": ({"C": 36, "K": 40}, {"groups": 2, "padding": 1}),
    "groups of few channels": ({"C": 9, "K": 15}, {"groups": 3, "padding": 1, "stride": 2}),
    "depthwise": ({"C": 6, "K": 6}, {"groups": 6, "padding": 1}),
    "depthwise, stride and dilation": ({"C": 6, "K": 6}, {"groups": 6, "padding": 2, "stride": 2, "dilation": (2, 1)}),
    "depthwise, two filters a channel": ({"C": 5, "K": 10}, {"groups": 5, "stride": (1, 3)}),
}


@pytest.mark.parametrize("case", GEOMETRIES)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_geometry(case):
    shape, hyper = GEOMETRIES[case]
    check_all(sizes(**shape), **hyper)


def test_sizes_with_few_channels():
    check_all(
        {"N": [0, 1, 2], "C": [1, 3], "K": [1, 5, 65], "H": [1, 6], "W": [1, 5], "R": [3], "S": [3]},
        layouts=("contiguous",),
        padding=1,
    )


def test_sizes_with_many_channels():
    check_all(
        {"N": [0, 1, 2], "C": [18, 65], "K": [1, 20, 65], "H": [1, 6, 16], "W": [1, 5, 17], "R": [3], "S": [3]},
        layouts=("contiguous",),
        padding=1,
    )


def test_sizes_of_depthwise():
    check_all(
        {"N": [0, 1, 2], "C": [70], "K": [70], "H": [1, 6, 20], "W": [1, 5, 17], "R": [3], "S": [3]},
        layouts=("contiguous",),
        padding=1,
        groups=70,
    )


@pytest.mark.parametrize(
    "shape, groups", [(FEW, 1), (MANY, 1), ({"C": 6, "K": 6}, 6)], ids=["few", "many", "depthwise"]
)
def test_dtypes(shape, groups):
    check_all(sizes(**shape), dtypes=FLOATS, padding=1, groups=groups)


@pytest.mark.parametrize(
    "shape, groups", [(FEW, 1), (MANY, 1), ({"C": 6, "K": 6}, 6)], ids=["few", "many", "depthwise"]
)
def test_layouts(shape, groups):
    check_all(sizes(**shape), layouts=LAYOUTS, padding=1, groups=groups)


def test_without_bias():
    check(
        lambda x, weight: conv2d(x, weight),
        lambda x, weight: conv2d.reference(x, weight),
        {"x": ("N", 18, 6, 5), "weight": (20, 18, 3, 3)},
        dims={"N": [2]},
        dtypes=[torch.float32],
        layouts=("contiguous",),
    )


def test_the_reference_is_torch():
    x, weight, bias = torch.randn(2, 6, 9, 7), torch.randn(8, 3, 3, 2), torch.randn(8)
    hyper = {"stride": (2, 1), "padding": (2, 1), "dilation": (1, 3), "groups": 2}
    inputs = [t.double().requires_grad_() for t in (x, weight, bias)]
    y = torch.conv2d(*inputs, *hyper.values())
    grad = torch.randn_like(y)
    dx, dweight = torch.autograd.grad(y, inputs[:2], grad)
    x, weight, bias = (t.detach() for t in inputs)
    torch.testing.assert_close(conv2d.reference(x, weight, bias, **hyper), y.detach())
    torch.testing.assert_close(conv2d_grad_input.reference(grad, weight, x.shape, **hyper), dx)
    torch.testing.assert_close(conv2d_grad_weight.reference(grad, x, weight.shape, **hyper), dweight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_operands_are_rounded_to_dtype_in_the_kernel(dtype):
    x, weight, bias = torch.randn(2, 18, 6, 6), torch.randn(20, 18, 3, 3), torch.randn(20)
    y = conv2d(x, weight, bias, dtype=dtype)
    assert y.dtype == dtype
    torch.testing.assert_close(y, conv2d.reference(x, weight, bias, dtype=dtype))
    grad = torch.randn_like(y)
    for op, operand, shape in ((conv2d_grad_input, weight, x.shape), (conv2d_grad_weight, x, weight.shape)):
        result = op(grad, operand, shape, dtype=dtype, out_dtype=torch.float32)
        assert result.dtype == torch.float32
        expected = op.reference(grad, operand, shape, dtype=dtype, out_dtype=torch.float32)
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-4)


def test_a_split_sum_is_the_same_sum(monkeypatch):
    grad_weight = importlib.import_module("tritonnet.kernels.conv2d.grad_weight")
    x, grad = torch.randn(3, 18, 20, 20), torch.randn(3, 20, 18, 18)
    results = []
    for split in (1, 3):
        part = -(-3 * 18 * 18 // split // 128) * 128
        monkeypatch.setattr(grad_weight, "pick_split", lambda *_, split=split, part=part: (split, part))
        grad_weight._plan.cache_clear()
        results.append(conv2d_grad_weight(grad, x, (20, 18, 3, 3)))
    grad_weight._plan.cache_clear()
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-4)
    expected = conv2d_grad_weight.reference(grad.double(), x.double(), (20, 18, 3, 3))
    torch.testing.assert_close(results[1].double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("channels, groups", [(3, 1), (18, 1), (6, 6)], ids=["few", "many", "depthwise"])
@pytest.mark.parametrize("far", [0, 1, 2], ids=["images", "channels", "rows"])
def test_offsets_beyond_32_bits(channels, groups, far):
    """The last index of one dimension lies 2^31 elements away; the memory between is never touched."""
    torch.manual_seed(0)
    shape = [2, channels, 5, 4]
    strides = [channels * 20, 20, 4, 1]
    strides[far] = -(-(2**31 + 77) // (shape[far] - 1))
    x = torch.empty_strided(shape, strides, dtype=torch.float16)
    x.copy_(torch.randn(shape))
    weight = torch.randn(channels, channels // groups, 3, 3, dtype=torch.float16)
    hyper = {"padding": 1, "groups": groups}
    near = x.clone(memory_format=torch.contiguous_format)
    torch.testing.assert_close(conv2d(x, weight, **hyper), conv2d(near, weight, **hyper), rtol=0, atol=0)
    for op, operand, result in (
        (conv2d_grad_input, weight, shape),
        (conv2d_grad_weight, near, tuple(weight.shape)),
    ):
        torch.testing.assert_close(op(x, operand, result, **hyper), op(near, operand, result, **hyper), rtol=0, atol=0)
    grad = torch.randn(shape, dtype=torch.float16)
    shape = tuple(weight.shape)
    torch.testing.assert_close(
        conv2d_grad_weight(grad, x, shape, **hyper), conv2d_grad_weight(grad, near, shape, **hyper), rtol=0, atol=0
    )


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 1, 4, 5), (1, 3, 1, 1), (2, 1, 1, 1), (2, 3, 1, 5)])
@pytest.mark.parametrize("x_last", [False, True])
@pytest.mark.parametrize("weight_last", [False, True])
def test_the_result_has_the_memory_format_that_torch_gives(shape, x_last, weight_last):
    formats = {False: torch.contiguous_format, True: torch.channels_last}
    x = torch.randn(shape).to(memory_format=formats[x_last])
    weight = torch.randn(6, shape[1], 1, 1).to(memory_format=formats[weight_last])
    assert conv2d(x, weight).stride() == torch.conv2d(x, weight).stride()


def test_gradients_keep_channels_last():
    grad, weight = torch.randn(2, 6, 4, 5).to(memory_format=torch.channels_last), torch.randn(6, 3, 1, 1)
    assert conv2d_grad_input(grad, weight, (2, 3, 4, 5)).is_contiguous(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 6, 7).to(memory_format=torch.channels_last)
    assert conv2d_grad_weight(grad, x, (6, 3, 3, 3)).is_contiguous(memory_format=torch.channels_last)


def test_lists_are_taken_as_tuples():
    x, weight = torch.randn(1, 2, 6, 6), torch.randn(3, 2, 3, 3)
    y = conv2d(x, weight, None, [1, 2], [1, 0], [1, 1])
    assert torch.equal(y, conv2d(x, weight, None, (1, 2), (1, 0), (1, 1)))
    grads = torch.randn_like(y), (1, 2), (1, 0)
    assert torch.equal(
        conv2d_grad_input(grads[0], weight, [1, 2, 6, 6], [1, 2], [1, 0]),
        conv2d_grad_input(grads[0], weight, (1, 2, 6, 6), *grads[1:]),
    )


def test_flops_are_two_for_each_product():
    x, weight, grad = torch.empty(2, 4, 8, 8), torch.empty(6, 2, 3, 3), torch.empty(2, 6, 4, 4)
    expected = 2 * 2 * 6 * 4 * 4 * 2 * 9
    assert OPS["conv2d"].flops(x, weight, None, 2, 1, 1, 2) == expected
    assert OPS["conv2d_grad_input"].flops(grad, weight, (2, 4, 8, 8), 2, 1, 1, 2) == expected
    assert OPS["conv2d_grad_weight"].flops(grad, x, (6, 2, 3, 3), [2, 2], 1, 1, 2) == expected


X, WEIGHT = (2, 4, 8, 8), (6, 4, 3, 3)

ERRORS = [
    ({"x": (4, 8, 8)}, "x is (4, 8, 8); it takes [N, C, H, W]"),
    ({"weight": (6, 4, 3)}, "weight is (6, 4, 3); it takes [K, C // groups, R, S]"),
    ({"weight": (6, 5, 3, 3)}, "weight takes 5 input channels a group and x has 4"),
    ({"weight": (6, 4, 0, 3)}, "its kernel is empty"),
    ({"groups": 3}, "4 input and 6 output channels; both must be divisible by groups 3"),
    ({"groups": 0}, "groups is 0; at least 1 is needed"),
    ({"groups": 2}, "weight takes 4 input channels a group and x has 2"),
    ({"weight": (6, 4, 9, 3)}, "padded height 8 is less than the kernel's 9"),
    ({"weight": (6, 4, 3, 5), "dilation": (1, 3)}, "padded width 8 is less than the kernel's 13"),
    ({"padding": -1}, "padding is -1; at least 0 is needed"),
    ({"padding": (0, -2)}, "padding is (0, -2); at least 0 is needed"),
    ({"padding": "circular"}, 'padding is \'circular\'; it takes an int, two of them, "same" or "valid"'),
    ({"padding": "same", "stride": 2}, 'padding is "same" and stride (2, 2); "same" takes stride 1'),
    ({"padding": (1, 1, 1)}, "padding is (1, 1, 1); it takes an int or two of them"),
    ({"stride": 0}, "stride is 0; at least 1 is needed"),
    ({"stride": (1, 0)}, "stride is (1, 0); at least 1 is needed"),
    ({"stride": 1.5}, "stride is 1.5; it takes an int or two of them"),
    ({"dilation": 0}, "dilation is 0; at least 1 is needed"),
    ({"bias": (5,)}, "bias is (5,) and weight (6, 4, 3, 3); bias must be (6,)"),
    ({"bias": (6, 1)}, "bias must be (6,)"),
]


@pytest.mark.parametrize("arguments, message", ERRORS, ids=[message for _, message in ERRORS])
@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_what_does_not_fit_is_refused(arguments, message, backend):
    hyper = dict(arguments)
    x, weight = torch.empty(hyper.pop("x", X)), torch.empty(hyper.pop("weight", WEIGHT))
    bias = torch.empty(hyper.pop("bias")) if "bias" in hyper else None
    run = conv2d if backend == "triton" else conv2d.reference
    with pytest.raises(ShapeError) as raised:
        run(x, weight, bias, **hyper)
    assert str(raised.value).startswith("conv2d: ") and message in str(raised.value)


@pytest.mark.parametrize("op, operand, shape", [(conv2d_grad_input, WEIGHT, X), (conv2d_grad_weight, X, WEIGHT)])
@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_a_gradient_of_another_shape_is_refused(op, operand, shape, backend):
    run = op if backend == "triton" else op.reference
    with pytest.raises(ShapeError) as raised:
        run(torch.empty(2, 6, 6, 5), torch.empty(operand), shape)
    assert str(raised.value) == f"{op.name}: grad is (2, 6, 6, 5); the result of this convolution is (2, 6, 6, 6)"


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_mixed_dtypes_are_refused(backend):
    run = [op if backend == "triton" else op.reference for op in (conv2d, conv2d_grad_input, conv2d_grad_weight)]
    x, weight, grad = torch.empty(X), torch.empty(WEIGHT, dtype=torch.float16), torch.empty(2, 6, 6, 6)
    with pytest.raises(DtypeError, match="conv2d: x is float32, weight is float16; the operands must have one dtype"):
        run[0](x, weight)
    with pytest.raises(DtypeError, match="conv2d: x is float32, weight is float32, bias is float64"):
        run[0](x, weight.float(), torch.empty(6, dtype=torch.float64))
    with pytest.raises(DtypeError, match="conv2d_grad_input: grad is float32, weight is float16"):
        run[1](grad, weight, X)
    with pytest.raises(DtypeError, match="conv2d_grad_weight: grad is float32, x is float16"):
        run[2](grad, x.half(), WEIGHT)


def test_integers_are_refused():
    with pytest.raises(DtypeError, match="conv2d: x is int64; it takes floating-point tensors"):
        conv2d(torch.ones(X, dtype=torch.int64), torch.ones(WEIGHT, dtype=torch.int64))


def test_tensors_on_two_devices_are_refused():
    with pytest.raises(DeviceError, match="conv2d: tensors on cpu and meta"):
        conv2d(torch.empty(X), torch.empty(WEIGHT, device="meta"))


def test_meta_tensors_give_shapes():
    x, weight = torch.empty(X, device="meta"), torch.empty(WEIGHT, device="meta")
    y = conv2d(x, weight, None, 2, 1)
    assert y.shape == (2, 6, 4, 4)
    assert conv2d_grad_input(y, weight, X, 2, 1).shape == X
    assert conv2d_grad_weight(y, x, WEIGHT, 2, 1).shape == WEIGHT
