"""Every optimizer refuses, by its name, what it cannot train with; by then nothing has changed."""

import pytest
import torch

from tests.optim.conftest import parameters
from tritonnet import optim
from tritonnet.errors import DtypeError, ShapeError

NAMES = [name for name in optim.__all__ if isinstance(getattr(optim, name), type) and name != "Optimizer"]
HYPER = [
    ({"lr": -1.0}, "lr is -1.0; it must not be negative"),
    ({"lr": float("nan")}, "lr is nan"),
    ({"lr": torch.ones(2)}, r"lr is a tensor \(2,\); it holds one element"),
    ({"weight_decay": -0.1}, "weight_decay is -0.1; it must not be negative"),
    ({"differentiable": True}, "differentiable is True"),
]
DTYPES = [torch.complex64, torch.int64]


@pytest.fixture(params=NAMES)
def named(request):
    return request.param, getattr(optim, request.param)


def test_hyper_parameters(named):
    name, cls = named
    optimizer = cls(parameters(shapes=((3,),)))
    for keywords, message in HYPER:
        with pytest.raises(ShapeError, match=f"{name}: {message}"):
            cls(parameters(), **keywords)
        with pytest.raises(ShapeError, match=f"{name}: {message}"):
            optimizer.add_param_group({"params": parameters(shapes=((4,),)), **keywords})
    with pytest.raises(TypeError, match=rf"{name}: unexpected keyword 'learning_rate' \(use lr=\)"):
        cls(parameters(), learning_rate=1e-3)
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(named, dtype):
    name, cls = named
    optimizer = cls(parameters(shapes=((3,),)))
    for make in (cls, lambda params: optimizer.add_param_group({"params": params})):
        with pytest.raises(DtypeError, match=rf"{name}: a parameter \(3,\) is {dtype}; it takes float32, float16"):
            make([torch.ones(3, dtype=dtype)])
    assert len(optimizer.param_groups) == 1


def test_a_sparse_gradient(named):
    name, cls = named
    params = parameters(shapes=((5,), (4, 3)))
    before = [p.detach().clone() for p in params]
    optimizer = cls(params)
    params[0].grad, params[1].grad = torch.ones(5), torch.eye(4, 3).to_sparse()
    with pytest.raises(DtypeError, match=rf"{name}: the gradient of a parameter \(4, 3\) is torch.sparse_coo, not den"):
        optimizer.step()
    assert all(map(torch.equal, params, before))
    assert all(float(state.get("step", 0)) == 0 for state in optimizer.state.values())
