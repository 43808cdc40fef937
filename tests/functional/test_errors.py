"""Every function refuses what does not fit, by its name, on either backend, and has written nothing by then."""

import inspect
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tritonnet import functional as F
from tritonnet.errors import BackwardError, DeviceError, DtypeError, ShapeError
from tritonnet.kernels import use

# Of deprecated names, and of sizes that broadcast.
pytestmark = pytest.mark.filterwarnings("ignore")


class Call(NamedTuple):
    """A call that raises `error`, for `of` is wrong with it: "dtype", "shape", "value" or "device"."""

    of: str
    error: type[Exception]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def dtype(*args: Any, **kwargs: Any) -> Call:
    return Call("dtype", DtypeError, args, kwargs)


def shape(*args: Any, error: type[Exception] = ShapeError, **kwargs: Any) -> Call:
    return Call("shape", error, args, kwargs)


def value(*args: Any, error: type[Exception] = ShapeError, **kwargs: Any) -> Call:
    return Call("value", error, args, kwargs)


def device(*args: Any, **kwargs: Any) -> Call:
    return Call("device", DeviceError, args, kwargs)


def x(*sizes: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    return torch.ones(sizes, dtype=dtype, device=device)


def i(*sizes: int) -> Tensor:
    return x(*sizes, dtype=torch.int64)


def c(*sizes: int) -> Tensor:
    return x(*sizes, dtype=torch.complex64)


def d(*sizes: int) -> Tensor:
    return x(*sizes, dtype=torch.float64)


def meta(*sizes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return x(*sizes, dtype=dtype, device="meta")


ELEMENTWISE = """
    celu celu_ elu elu_ gelu hardshrink hardsigmoid hardswish hardtanh hardtanh_ leaky_relu leaky_relu_ logsigmoid mish
    relu relu6 relu_ selu selu_ sigmoid silu softplus softshrink softsign tanh tanhshrink threshold threshold_
""".split()  # noqa: SIM905
LOSSES = """
    binary_cross_entropy binary_cross_entropy_with_logits huber_loss kl_div l1_loss mse_loss poisson_nll_loss
    smooth_l1_loss soft_margin_loss
""".split()  # noqa: SIM905
SOFTMAXES = ["softmax", "log_softmax", "softmin"]
RESIZES = ["interpolate", "upsample", "upsample_nearest", "upsample_bilinear"]
MORE = {name: (0.0, 1.0) if name.startswith("threshold") else () for name in ELEMENTWISE}


def pools(d: int) -> dict[str, list[Call]]:
    """The poolings of d dimensions."""
    of = (2, 3, *(6,) * d)
    window = [value(x(*of), 2, 0), value(x(*of), 2, 1, 2), value(x(*of), 2, padding=-1)]
    bad = [shape(x(3), 2), shape(x(*of), 9), value(x(*of), 0), value(x(*of), (2,) * (d + 1)), *window]
    adaptive = [dtype(i(*of), 2), shape(x(3), 2), value(x(*of), -1), value(x(*of), (2,) * (d + 1)), value(x(*of), 1.5)]
    maxima = [dtype(c(*of), 2), value(x(*of), 2, dilation=0), *bad]
    return {
        f"max_pool{d}d": maxima,
        f"max_pool{d}d_with_indices": maxima,
        f"avg_pool{d}d": [dtype(c(*of), 2), *bad],
        f"adaptive_max_pool{d}d": adaptive,
        f"adaptive_max_pool{d}d_with_indices": adaptive,
        f"adaptive_avg_pool{d}d": adaptive,
    }


def dropouts(*of: int) -> list[Call]:
    return [dtype(i(*of)), dtype(c(*of)), value(x(*of), 1.5), value(x(*of), -0.5), value(x(*of), float("nan"))]


def convolutions() -> list[Call]:
    of, w = x(2, 4, 5, 5), x(6, 4, 3, 3)
    return [
        dtype(i(2, 4, 5, 5), i(6, 4, 3, 3)), dtype(of, w.double()), dtype(of, w, d(6)),
        shape(x(5, 5), w), shape(of, x(6, 3, 3, 3)), shape(of, x(6, 4, 3)), shape(of, w, x(5)),
        shape(of, x(6, 4, 7, 7)),
        value(of, w, stride=0), value(of, w, stride=(1, 2, 3)), value(of, w, padding=-1), value(of, w, padding="full"),
        value(of, w, padding="same", stride=2), value(of, w, dilation=0), value(of, w, groups=0),
        value(of, w, groups=3), device(of, w.to("meta")), device(of, w, meta(6)),
    ]  # fmt: skip


def resizes() -> list[Call]:
    of = x(2, 3, 4, 4)
    return [
        shape(x(4), 2, error=NotImplementedError), shape(x(2, 3, 0, 4), 2), value(of), value(of, 4, 2.0), value(of, 0),
        value(of, (2, 3, 4)), value(of, None, -1.0),
    ]  # fmt: skip


REFUSED: dict[str, list[Call]] = {
    **{name: [dtype(c(3), *MORE[name])] for name in ELEMENTWISE},
    **{
        name: [
            dtype(c(3), c(3)), dtype(i(3), i(3)), shape(x(3), x(2)), value(x(3), x(3), reduction="max"),
            device(x(3), meta(3)),
        ]
        for name in LOSSES
    },
    **{
        name: [
            dtype(c(3, 3), 0), dtype(i(3, 3), 0), dtype(x(3, 3), 0, dtype=torch.int64), value(x(3, 3), 2),
            value(x(3, 3), -3),
        ]
        for name in SOFTMAXES
    },
    **{name: resizes() for name in RESIZES},
    **pools(1),
    **pools(2),
    "add": [dtype(c(3), c(3)), shape(x(3), x(2)), device(x(3), meta(3))],
    "mul": [dtype(c(3), c(3)), shape(x(3), x(2)), device(x(3), meta(3))],
    "prelu": [
        dtype(c(3), c(1)), dtype(x(3), d(1)), dtype(i(3), x(1)), shape(x(2, 3), x(2)), shape(x(2, 3), x(3, 1)),
        device(x(3), meta(1)),
    ],
    "matmul": [
        dtype(i(3, 3), i(3, 3)), dtype(x(3, 3), d(3, 3)), shape(x(3, 2), x(3, 2)), shape(x(), x(3)),
        shape(x(2, 3, 3), x(4, 3, 3)), device(x(3, 3), meta(3, 3)),
    ],
    "linear": [
        dtype(i(2, 3), i(4, 3)), dtype(x(2, 3), d(4, 3)), shape(x(2, 3), x(4, 2)), shape(x(2, 3), x(4, 3), x(3)),
        value(x(2, 3), x(4, 3), activation="swish"), device(x(2, 3), meta(4, 3)), device(x(2, 3), x(4, 3), meta(4)),
    ],
    "conv2d": convolutions(),
    "dropout": dropouts(3),
    "dropout1d": [*dropouts(2, 3, 4), shape(x(3))],
    "dropout2d": [*dropouts(2, 3, 4, 4), shape(x(3))],
    "dropout3d": [*dropouts(2, 3, 2, 2, 2), shape(x())],
    "cross_entropy": [
        dtype(c(2, 3), i(2)), dtype(i(2, 3), i(2)), dtype(x(2, 3), i(2).int()), dtype(x(2, 3), i(2), i(3)),
        shape(x(2, 3), i(3)), shape(x(2, 3), x(2, 2)), shape(x(2, 3), i(2), x(2)), shape(x(), i()),
        value(x(2, 3), i(2), reduction="max"), value(x(2, 3), i(2), label_smoothing=2.0),
        value(x(2, 3), 3 * i(2), error=IndexError), device(x(2, 3), i(2).to("meta")), device(x(2, 3), i(2), meta(3)),
    ],
    "nll_loss": [
        dtype(c(2, 3), i(2)), dtype(i(2, 3), i(2)), dtype(x(2, 3), x(2)), dtype(x(2, 3), i(2), i(3)),
        shape(x(2, 3), i(3)), shape(x(2, 3), i(2), x(2)), shape(x(), i()), value(x(2, 3), i(2), reduction="max"),
        value(x(2, 3), 3 * i(2), error=IndexError), device(x(2, 3), i(2).to("meta")), device(x(2, 3), i(2), meta(3)),
    ],
    "pad": [
        shape(x(2, 3), (1,) * 6), shape(x(2), (1, 1), "replicate"), shape(x(2, 3, 4), (4, 4), "reflect"),
        shape(x(2, 3, 4), (5, 5), "circular"), value(x(2, 3), (1,)), value(x(2, 3), (-4, 0)),
        value(x(2, 3, 4), (1, 1), "reflect", 2.0), value(x(2, 3), (1, 1), "mirror", error=NotImplementedError),
    ],
    "flatten": [value(x(2, 3), 2, error=IndexError), value(x(2, 3), 1, 0, error=RuntimeError)],
    "one_hot": [value(i(3), 1, error=RuntimeError), value(-i(3), error=RuntimeError)],
    "pixel_shuffle": [shape(x(3, 4), 2), shape(x(3, 4, 4), 2), value(x(4, 4, 4), 0), value(x(4, 4, 4), -2)],
    "pixel_unshuffle": [shape(x(3, 4), 2), shape(x(3, 5, 4), 2), value(x(4, 4, 4), 0), value(x(4, 4, 4), -2)],
    "channel_shuffle": [shape(x(3, 4), 2), shape(x(2, 3, 5), 2), value(x(4, 4, 4), 0)],
}  # fmt: skip
REFUSED["gelu"].append(value(x(3), approximate="erf"))
REFUSED["celu"].append(value(x(3), 0.0))
REFUSED["celu_"].append(value(x(3), 0.0))
REFUSED["hardtanh"].append(value(x(3), 2.0, 1.0))
REFUSED["hardtanh_"].append(value(x(3), 2.0, 1.0))
REFUSED["softshrink"].append(value(x(3), -1.0))
REFUSED["smooth_l1_loss"].append(value(x(3), x(3), beta=-1.0))
REFUSED["avg_pool2d"].append(value(x(2, 3, 6, 6), 2, divisor_override=0))
REFUSED["interpolate"].append(value(x(2, 3, 4, 4), 2, mode="cubic", error=NotImplementedError))
REFUSED["interpolate"].append(value(x(2, 3, 4, 4), 2, mode="nearest", align_corners=True))
REFUSED["upsample_bilinear"].append(dtype(i(2, 3, 4, 4), 2))
REFUSED["huber_loss"].append(value(x(3), x(3), delta=0.0))
for loss in ("mse_loss", "l1_loss", "huber_loss"):
    REFUSED[loss] += [shape(x(3), x(3), weight=x(2)), device(x(3), x(3), weight=meta(3))]
for loss in ("binary_cross_entropy", "binary_cross_entropy_with_logits"):
    REFUSED[loss] += [shape(x(3), x(3), x(2)), device(x(3), x(3), meta(3))]
REFUSED["binary_cross_entropy"].append(value(2 * x(3), x(3), error=RuntimeError))
REFUSED["binary_cross_entropy_with_logits"].append(device(x(3), x(3), pos_weight=meta(3)))


# Views, copies and integers are torch's own, and so are the errors of the first two.
TORCHS = ["flatten", "one_hot"]
MOVES = [*TORCHS, "pad", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", *RESIZES[:-1]]
ANY_SHAPE = [*ELEMENTWISE, *SOFTMAXES, *TORCHS, "dropout"]
BOUNDED = ["gelu", "celu", "celu_", "hardtanh", "hardtanh_", "softshrink"]
ANY_VALUE = [*(name for name in ELEMENTWISE if name not in BOUNDED), "add", "mul", "prelu", "matmul"]
# The function that one hands its arguments to, whose name its errors may bear.
MADE_OF = {
    "relu6": "hardtanh",
    "linear": "matmul",
    **dict.fromkeys(SOFTMAXES, "softmax"),
    **dict.fromkeys(RESIZES, "interpolate"),
    **{f"dropout{d}d": "channel_dropout" for d in (1, 2, 3)},
    **{name: name.replace("1d", "2d").removesuffix("_with_indices") for name in (*pools(1), *pools(2))},
}


def parameters_of(name: str) -> dict[str, str]:
    """Parameters and their annotations."""
    return {key: str(one.annotation) for key, one in inspect.signature(getattr(F, name)).parameters.items()}


@pytest.mark.parametrize("name", F.__all__)
def test_whatever_may_be_wrong_is_tried(name):
    assert name in REFUSED, f"no call of {name} that it refuses is listed in REFUSED"
    tensors = sum("Tensor" in annotation for annotation in parameters_of(name).values())
    may = {"dtype": name not in MOVES, "device": tensors > 1, "shape": name not in ANY_SHAPE}
    may["value"] = name not in ANY_VALUE
    assert {call.of for call in REFUSED[name]} == {what for what, does in may.items() if does}


@pytest.mark.parametrize("backend", ["triton", "reference"])
@pytest.mark.parametrize("name", F.__all__)
def test_what_does_not_fit_is_refused(name, backend):
    for call in REFUSED[name]:
        refuses(name, call, backend)
        if "inplace" in parameters_of(name):
            refuses(name, call._replace(kwargs={**call.kwargs, "inplace": True}), backend)


@pytest.mark.parametrize("name", [name for name in F.__all__ if name.endswith("_") or "inplace" in parameters_of(name)])
def test_what_cannot_be_overwritten_is_refused(name):
    more = {} if name.endswith("_") else {"inplace": True}
    of = (2, 3, 4, 4)[: 3 if name == "dropout1d" else 4]
    rest = MORE.get(name, ())
    refuses(name, Call("value", BackwardError, (x(*of).requires_grad_(), *rest), more))
    refuses(name, Call("value", BackwardError, (x(*of).requires_grad_()[:1], *rest), more))
    refuses(name, Call("shape", ShapeError, (x(*of[:-1], 1).expand(of), *rest), more))


def refuses(name: str, call: Call, backend: str = "triton") -> None:
    tensors = [one for one in tree_leaves((call.args, call.kwargs)) if isinstance(one, Tensor)]
    before = [(one._version, one.detach().clone()) for one in tensors]
    with use(backend), pytest.raises(call.error) as caught:
        getattr(F, name)(*call.args, **call.kwargs)
    message = str(caught.value)
    if name not in TORCHS:
        plain = name.removesuffix("_with_indices").rstrip("_")
        assert message.startswith((plain, MADE_OF.get(name, plain))), f"{call}: {message}"
    for one, (version, kept) in zip(tensors, before, strict=True):
        assert one._version == version, f"{call}: {message}"
        assert one.is_meta or torch.equal(one, kept), f"{call}: {message}"
