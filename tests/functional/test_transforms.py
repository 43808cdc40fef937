"""torch.func's transforms and forward mode are refused by every operation, with what to do instead."""

import pytest
import torch

from tritonnet import functional, kernels, nn
from tritonnet.errors import BackwardError, TransformError
from tritonnet.functional._function import Function

ADVICE = "Call tritonnet.functional_call"


@pytest.mark.parametrize(
    "transformed",
    [
        lambda f, x: torch.func.grad(lambda x: f(x).sum())(x),
        lambda f, x: torch.func.vmap(f)(x),
        lambda f, x: torch.func.jvp(f, (x,), (x,)),
        lambda f, x: torch.func.jacrev(f)(x),
        lambda f, x: torch.func.functionalize(f)(x),
    ],
    ids=["grad", "vmap", "jvp", "jacrev", "functionalize"],
)
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # by torch.func.jvp's own imports
def test_transforms_are_refused(transformed):
    x = torch.randn(3, 4)
    for f, name in ((nn.Linear(4, 4), "Linear"), (functional.relu, "Activation"), (functional.softmax, "Softmax")):
        with pytest.raises(TransformError, match=f"^{name}: .*torch.func.*{ADVICE}"):
            transformed(lambda x, f=f: f(x, dim=-1) if f is functional.softmax else f(x), x)


def test_a_kernel_by_itself_is_refused_too():
    with pytest.raises(TransformError, match=f"relu: .*{ADVICE}"):
        torch.func.vmap(kernels.relu)(torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="no such launch"):
        failing(torch.ones(1))


@kernels._op.op(reference=torch.clone)
def failing(x):
    raise RuntimeError("no such launch")


del kernels.OPS["failing"]


def test_forward_mode_is_refused():
    x = torch.ones(3)
    with torch.autograd.forward_ad.dual_level(), pytest.raises(BackwardError, match="Activation: .* forward mode"):
        functional.relu(torch.autograd.forward_ad.make_dual(x, x))


def subclasses(cls):
    return [cls, *(below for one in cls.__subclasses__() for below in subclasses(one))]


def test_every_operation_has_this_base():
    ours = [one for one in subclasses(torch.autograd.function._SingleLevelFunction) if "tritonnet" in one.__module__]
    assert len(ours) > 30 and all(issubclass(one, Function) for one in ours)
