"""SGD against torch.optim's: curves, momenta that begin, states both ways, GradScaler, storage, errors."""

import copy

import pytest
import torch

import tritonnet
from tests.optim.conftest import distance, parameters, train
from tritonnet import kernels
from tritonnet.errors import DtypeError, ShapeError, StateDictError
from tritonnet.optim import SGD

HYPER = [
    {},
    {"lr": 1e-2, "weight_decay": 0.1, "maximize": True},
    {"lr": 1e-2, "momentum": 0.9},
    {"lr": 1e-2, "momentum": 0.8, "dampening": 0.5, "weight_decay": 0.1},
    {"lr": 1e-2, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05, "maximize": True},
]


@pytest.mark.parametrize("hyper", HYPER, ids=str)
def test_curve(hyper):
    exact = parameters(torch.float64)
    train(torch.optim.SGD(exact, **hyper))
    for dtype, bound in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        params = parameters(dtype)
        train(SGD(params, **hyper))
        assert distance(params, exact) < bound


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_nearer_to_float64_than_torch_is(dtype):
    exact = [p.detach().double().requires_grad_() for p in parameters(dtype)]
    mine, torchs = parameters(dtype), parameters(dtype)
    for params, cls in ((exact, torch.optim.SGD), (mine, SGD), (torchs, torch.optim.SGD)):
        train(cls(params, lr=1e-2, momentum=0.9, dampening=0.2))
    assert distance(mine, exact) <= 1.1 * distance(torchs, exact)


def test_groups_of_all_kinds():
    mine, torchs = parameters(), parameters()
    for params, cls in ((mine, SGD), (torchs, torch.optim.SGD)):
        groups = [
            {"params": params[:2], "lr": 1e-2, "momentum": 0.5},
            {"params": params[2:3], "maximize": True},
            {"params": params[3:4], "momentum": 0.9, "nesterov": True},
        ]
        optimizer = cls(groups, weight_decay=0.1)
        train(optimizer, steps=3)
        optimizer.add_param_group({"params": params[4:], "momentum": 0.2, "dampening": 0.3})
        train(optimizer, steps=3)
        # Momentum that is switched off and on again goes on where it was.
        for momentum in (0.0, 0.5):
            optimizer.param_groups[0]["momentum"] = momentum
            train(optimizer, steps=2)
    assert distance(mine, torchs) < 1e-6


def test_one_launch_a_step(launched):
    names = launched("sgd")
    params = parameters()
    optimizer = SGD([{"params": params[:2], "lr": 1e-2, "dampening": 0.5}, {"params": params[2:]}], momentum=0.9)
    train(optimizer, steps=4)
    assert names == ["_sgd_kernel"] * 4
    assert optimizer._storage.generation == 2  # once more for the parameter whose first gradient came late


@pytest.mark.parametrize("first, second", [(SGD, torch.optim.SGD), (torch.optim.SGD, SGD)])
@pytest.mark.parametrize("hyper", HYPER[2:], ids=str)
def test_state_dicts_go_both_ways(first, second, hyper):
    params = parameters()
    one = first(params, **hyper)
    train(one, steps=5, missing=3)
    others = [p.detach().clone().requires_grad_() for p in params]
    other = second(others)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    train(one, steps=5)
    train(other, steps=5)
    assert distance(params, others) < 1e-6


def test_a_state_dict_looks_like_torchs():
    for hyper in HYPER:
        params, others = parameters(), parameters()
        one, other = SGD(params, **hyper), torch.optim.SGD(others, **hyper)
        for steps in (0, 1, 3):
            train(one, steps)
            train(other, steps)
            torch.testing.assert_close(one.state_dict(), other.state_dict())
            assert all(type(v) is torch.Tensor for state in one.state_dict()["state"].values() for v in state.values())


def test_states_that_were_saved_before_they_began():
    """Those of torch before 1.13, where momentum_buffer is None until a parameter's first step."""
    params, others = parameters(), parameters()
    optimizer, other = SGD(params, momentum=0.9, dampening=0.5), torch.optim.SGD(others, momentum=0.9, dampening=0.5)
    optimizer.state[params[0]]["momentum_buffer"] = None
    train(optimizer, steps=2)
    train(other, steps=2)
    assert distance(params, others) < 1e-6
    params, others = parameters(), parameters()
    optimizer, other = SGD(params, momentum=0.9, dampening=0.5), torch.optim.SGD(others, momentum=0.9, dampening=0.5)
    saved = optimizer.state_dict()
    saved["state"] = {index: {"momentum_buffer": None} for index in range(5)}
    optimizer.load_state_dict(saved)
    assert not optimizer.state
    train(optimizer, steps=3)
    train(other, steps=3)
    assert distance(params, others) < 1e-6
    saved = copy.deepcopy(optimizer.state_dict())
    saved["state"][0]["exp_avg"] = saved["state"][0].pop("momentum_buffer")
    saved["state"][1]["momentum_buffer"] = torch.ones(2)
    with pytest.raises(StateDictError) as caught:
        optimizer.load_state_dict(saved)
    assert str(caught.value).splitlines()[1:] == [
        "  parameter 0: momentum_buffer is missing",
        "  parameter 0: exp_avg is unexpected",
        "  parameter 1: momentum_buffer is (2,), expected (70, 65)",
    ]


def test_loading_writes_in_place_and_keeps_float32_momenta():
    (p,), (q,) = parameters(torch.bfloat16, ((4, 5),)), parameters(torch.bfloat16, ((4, 5),))
    mine, torchs = SGD([p], momentum=0.9), torch.optim.SGD([q], momentum=0.9)
    train(mine, steps=2)
    train(torchs, steps=3)
    before = mine.state[p]["momentum_buffer"]
    mine.load_state_dict(torchs.state_dict())
    assert mine.state[p]["momentum_buffer"] is before
    assert before.dtype == torch.float32
    assert torch.equal(before, torchs.state[q]["momentum_buffer"].float())
    torchs.load_state_dict(mine.state_dict())
    assert torchs.state[q]["momentum_buffer"].dtype == torch.bfloat16


def test_a_checkpoint_goes_on_to_the_bit(tmp_path):
    nets = [tritonnet.nn.Linear(4, 3) for _ in range(2)]
    one, other = (SGD(net.parameters(), lr=0.1, momentum=0.9, dampening=0.5) for net in nets)
    train(one, steps=2)
    tritonnet.save(tmp_path / "net.safetensors", nets[0], one)
    tritonnet.load(tmp_path / "net.safetensors", nets[1], other)
    for optimizer in (one, other):
        train(optimizer, steps=2, seed=5)
    assert distance(nets[0].parameters(), nets[1].parameters()) == 0


@pytest.mark.parametrize("overflows", [(0, 1, 4), (3,)])
def test_grad_scaler(overflows):
    """A momentum begins with the first step that does not overflow, undampened, as torch's does."""
    mine, torchs = parameters(shapes=((5, 4), (3,))), parameters(shapes=((5, 4), (3,)))
    scales = []
    for params, cls in ((mine, SGD), (torchs, torch.optim.SGD)):
        optimizer = cls(params, momentum=0.9, dampening=0.5)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
        for step in range(8):
            optimizer.zero_grad()
            factor = torch.inf if step in overflows else 1.0 + step
            scaler.scale(sum((p * p).sum() * factor for p in params)).backward()
            if step == 5:
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
            assert len(optimizer.state) == (0 if 0 in overflows and step < 2 else 2)
        scales.append(scaler.get_scale())
    assert distance(mine, torchs) < 1e-6
    assert scales[0] == scales[1]


def test_the_references_take_the_same_steps():
    mine, plain = parameters(), parameters()
    hyper = {"momentum": 0.9, "dampening": 0.5}
    train(SGD(mine, **hyper), steps=4)
    with kernels.use("reference"):
        train(SGD(plain, **hyper), steps=4)
    assert distance(mine, plain) < 1e-6


def test_parameters_without_memory():
    p = torch.randn(4, 6, device="meta", requires_grad=True)
    optimizer = SGD([p], momentum=0.9, nesterov=True)
    for _ in range(2):
        p.grad = torch.ones_like(p)
        optimizer.step()
    assert optimizer.state[p]["momentum_buffer"].is_meta


def test_a_sparse_gradient_changes_nothing():
    (p,) = parameters(shapes=((4, 3),))
    before = p.detach().clone()
    optimizer = SGD([p], momentum=0.9, dampening=0.5)
    p.grad = torch.eye(4, 3).to_sparse()
    with pytest.raises(DtypeError, match=r"the gradient of a parameter \(4, 3\) is torch.sparse_coo, not dense"):
        optimizer.step()
    assert torch.equal(p, before)
    p.grad = torch.ones(4, 3)
    optimizer.step()
    torch.testing.assert_close(p, before - 1e-3)


@pytest.mark.parametrize(
    "keywords, message",
    [
        ({"lr": -1.0}, "SGD: lr is -1.0; it must not be negative"),
        ({"lr": torch.ones(2)}, r"SGD: lr is a tensor \(2,\); it holds one element"),
        ({"momentum": -0.5}, "SGD: momentum is -0.5; it must not be negative"),
        ({"weight_decay": float("nan")}, "SGD: weight_decay is nan; it must not be negative"),
        ({"nesterov": True}, "SGD: nesterov is True, momentum 0 and dampening 0; it needs momentum"),
        ({"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "momentum 0.9 and dampening 0.1; it needs momentum"),
        ({"differentiable": True}, "SGD: differentiable is True; the step is not recorded by autograd"),
        ({"foreach": True, "fused": True}, "SGD: foreach and fused are both True"),
    ],
)
def test_hyper_parameters_out_of_range(keywords, message):
    with pytest.raises(ShapeError, match=message):
        SGD(parameters(), **keywords)
    with pytest.raises(ShapeError, match=message):
        SGD([{"params": parameters(), **keywords}])


def test_wrong_keywords_and_parameters():
    with pytest.raises(TypeError, match=r"SGD: unexpected keyword 'wd' \(use weight_decay=\), 'momentun' \(use mom"):
        SGD(parameters(), wd=0.1, momentun=0.9)
    with pytest.raises(DtypeError, match=r"SGD: a parameter \(3,\) is torch.complex64; it takes float32, float16"):
        SGD([torch.ones(3, dtype=torch.complex64, requires_grad=True)])
