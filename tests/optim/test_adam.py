"""Adam and AdamW against torch.optim's: curves, states both ways, GradScaler, errors."""

import copy

import pytest
import torch

from tests.optim.conftest import distance, parameters, train
from tritonnet import kernels
from tritonnet.errors import DtypeError, ShapeError, StateDictError
from tritonnet.optim import Adam, AdamW

PAIRS = [(Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW)]
HYPER = [
    {},
    {"lr": 1e-2, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.1},
    {"amsgrad": True, "maximize": True, "weight_decay": 0.05},
    {"betas": (0.0, 0.0)},
]


@pytest.mark.parametrize("hyper", HYPER, ids=str)
@pytest.mark.parametrize("ours, theirs", PAIRS, ids=["Adam", "AdamW"])
def test_curve(ours, theirs, hyper):
    exact = parameters(torch.float64)
    train(theirs(exact, **hyper))
    for dtype, bound in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        params = parameters(dtype)
        train(ours(params, **hyper))
        assert distance(params, exact) < bound


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_nearer_to_float64_than_torch_is(dtype):
    exact = [p.detach().double().requires_grad_() for p in parameters(dtype)]
    mine, torchs = parameters(dtype), parameters(dtype)
    for params, cls in ((exact, torch.optim.AdamW), (mine, AdamW), (torchs, torch.optim.AdamW)):
        train(cls(params, lr=1e-2))
    assert distance(mine, exact) <= 1.1 * distance(torchs, exact)


def test_a_group_added_later():
    mine, torchs = parameters(), parameters()
    for params, cls in ((mine, Adam), (torchs, torch.optim.Adam)):
        optimizer = cls(params[:2])
        train(optimizer, steps=3)
        optimizer.add_param_group({"params": params[2:], "lr": 1e-2, "maximize": True})
        train(optimizer, steps=3)
    assert distance(mine, torchs) < 1e-6


def test_the_references_take_the_same_steps():
    mine, plain = parameters(), parameters()
    train(AdamW(mine, amsgrad=True), steps=4)
    with kernels.use("reference"):
        train(AdamW(plain, amsgrad=True), steps=4)
    assert distance(mine, plain) < 1e-6


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("ours, theirs", PAIRS, ids=["Adam", "AdamW"])
def test_state_dicts_go_both_ways(ours, theirs, amsgrad):
    for first, second in ((ours, theirs), (theirs, ours)):
        params, others = parameters(), parameters()
        one, other = first(params, lr=1e-2, weight_decay=0.1, amsgrad=amsgrad), second(others)
        train(one, steps=5, missing=3)
        saved = copy.deepcopy(one.state_dict())
        others = [p.detach().clone().requires_grad_() for p in params]
        other = second(others)
        other.load_state_dict(saved)
        assert other.param_groups[0]["lr"] == 1e-2 and other.param_groups[0]["amsgrad"] == amsgrad
        train(one, steps=5)
        train(other, steps=5)
        assert distance(params, others) < 1e-6


def test_a_state_dict_looks_like_torchs():
    params, others = parameters(), parameters()
    one, other = Adam(params), torch.optim.Adam(others)
    assert one.state_dict() == other.state_dict()
    train(one, steps=2)
    train(other, steps=2)
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    for index, state in theirs["state"].items():
        mine = ours["state"][index]
        assert {key: (v.dtype, v.shape) for key, v in mine.items()} == {
            key: (v.dtype, v.shape) for key, v in state.items()
        }
        assert all(type(value) is torch.Tensor for value in mine.values())


def test_states_are_matched_by_name():
    params = parameters()
    named = list(zip("abcde", params, strict=True))
    optimizer = Adam(named)
    train(optimizer, steps=3)
    turned = Adam([(name, p.detach().clone().requires_grad_()) for name, p in reversed(named)])
    turned.load_state_dict(optimizer.state_dict())
    assert turned.param_groups[0]["param_names"] == list("edcba")
    for p, q in zip(params, reversed(turned.param_groups[0]["params"]), strict=True):
        assert torch.equal(optimizer.state[p]["exp_avg"], turned.state[q]["exp_avg"])
    with pytest.raises(StateDictError, match="missing: z\n  unexpected: a"):
        Adam([("z" if name == "a" else name, p) for name, p in named]).load_state_dict(optimizer.state_dict())


def test_a_state_dict_that_does_not_fit_changes_nothing():
    params = parameters(shapes=((3,), (4,)))
    optimizer = Adam(params)
    train(optimizer, steps=2, missing=None)
    saved = copy.deepcopy(optimizer.state_dict())
    broken = copy.deepcopy(saved)
    broken["param_groups"][0]["lr"] = 7.0
    broken["state"][0]["exp_avg"] = torch.ones(5)
    del broken["state"][1]["exp_avg_sq"]
    broken["state"][1]["momentum_buffer"] = torch.ones(4)
    with pytest.raises(StateDictError) as caught:
        optimizer.load_state_dict(broken)
    assert str(caught.value).splitlines() == [
        "Adam: the state dict does not fit; nothing was loaded",
        "  parameter 0: exp_avg is (5,), expected (3,)",
        "  parameter 1: exp_avg_sq is missing",
        "  parameter 1: momentum_buffer is unexpected",
    ]
    torch.testing.assert_close(optimizer.state_dict(), saved, rtol=0, atol=0)
    for wrong, message in (
        ({"state": {}}, "it has no 'param_groups'"),
        ({"state": {}, "param_groups": []}, "it has 0 parameter groups, the optimizer has 1"),
        ({"state": {}, "param_groups": [{"params": [0]}]}, "group 0 has 1 parameters, the optimizer's has 2"),
        ({"state": {}, "param_groups": [{"params": [0, 1], "lr": -1.0}]}, "group 0: Adam: lr is -1.0"),
    ):
        with pytest.raises(StateDictError, match=message):
            optimizer.load_state_dict(wrong)


def test_loading_writes_in_place_and_keeps_float32_moments():
    (p,) = parameters(torch.bfloat16, ((4, 5),))
    (q,) = parameters(torch.bfloat16, ((4, 5),))
    mine, torchs = Adam([p]), torch.optim.Adam([q])
    train(mine, steps=2)
    train(torchs, steps=3)
    before = dict(mine.state[p])
    mine.load_state_dict(torchs.state_dict())
    assert all(mine.state[p][key] is value for key, value in before.items())
    assert mine.state[p]["exp_avg"].dtype == torch.float32
    assert torch.equal(mine.state[p]["exp_avg"], torchs.state[q]["exp_avg"].float())
    assert float(mine.state[p]["step"]) == 3


def test_closure():
    (p,) = parameters(shapes=((3,),))
    optimizer = Adam([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    losses = [float(optimizer.step(closure).detach()) for _ in range(5)]
    assert losses == sorted(losses, reverse=True)


def test_a_learning_rate_on_the_device():
    mine, torchs = parameters(), parameters()
    lr = torch.tensor(1e-2)
    optimizer = Adam(mine, lr=lr)
    train_one = {"steps": 1, "missing": None}
    for step, value in enumerate((1e-2, 1e-3, 1e-1)):
        lr.fill_(value)
        train(optimizer, seed=step, **train_one)
    other = torch.optim.Adam(torchs)
    for step, value in enumerate((1e-2, 1e-3, 1e-1)):
        other.param_groups[0]["lr"] = value
        train(other, seed=step, **train_one)
    assert distance(mine, torchs) < 1e-6
    optimizer.load_state_dict(other.state_dict())
    assert optimizer.param_groups[0]["lr"] is lr and float(lr) == pytest.approx(0.1)


def test_grad_scaler():
    mine, torchs = parameters(shapes=((5, 4), (3,))), parameters(shapes=((5, 4), (3,)))
    scales = []
    for params, optimizer in ((mine, Adam(mine)), (torchs, torch.optim.Adam(torchs))):
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
        for step in range(8):
            optimizer.zero_grad()
            factor = torch.inf if step in (2, 5) else 1.0 + step
            scaler.scale(sum((p * p).sum() * factor for p in params)).backward()
            if step == 4:
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
        scales.append(scaler.get_scale())
        assert {float(state["step"]) for state in optimizer.state.values()} == {6.0}
    assert distance(mine, torchs) < 1e-6
    assert scales[0] == scales[1]


def test_autograd_sees_the_step():
    (p,) = parameters(shapes=((4,),))
    idle = torch.ones(4, requires_grad=True)
    optimizer = Adam([p, idle])
    loss = (p * p * idle * idle).sum()
    p.grad = torch.ones(4)
    versions = p._version, idle._version
    optimizer.step()
    assert p.is_leaf and p.requires_grad and p.grad_fn is None
    assert (p._version, idle._version) == (versions[0] + 1, versions[1])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize(
    "keywords, message",
    [
        ({"learning_rate": 1e-3}, r"Adam: unexpected keyword 'learning_rate' \(use lr=\)"),
        ({"beta1": 0.9, "epsilon": 1e-8}, r"'beta1' \(use betas=\), 'epsilon' \(use eps=\)"),
        ({"weight_deacy": 0.1}, r"'weight_deacy' \(use weight_decay=\)"),
        ({"momentum": 0.9}, r"'momentum' \(there are lr, betas, eps, "),
    ],
)
def test_wrong_keywords(keywords, message):
    with pytest.raises(TypeError, match=message):
        Adam(parameters(), **keywords)


@pytest.mark.parametrize(
    "keywords, message",
    [
        ({"lr": -1.0}, "Adam: lr is -1.0; it must not be negative"),
        ({"lr": float("nan")}, "Adam: lr is nan"),
        ({"lr": torch.ones(2)}, r"Adam: lr is a tensor \(2,\); it holds one element"),
        ({"betas": (0.9, 1.0)}, r"Adam: betas are \(0.9, 1.0\); they are two numbers in \[0, 1\)"),
        ({"betas": (0.9,)}, r"Adam: betas are \(0.9,\)"),
        ({"eps": -1e-8}, "Adam: eps is -1e-08; it must not be negative"),
        ({"weight_decay": -0.1}, "Adam: weight_decay is -0.1; it must not be negative"),
        ({"differentiable": True}, "Adam: differentiable is True; the step is not recorded by autograd"),
        ({"foreach": True, "fused": True}, "Adam: foreach and fused are both True"),
    ],
)
def test_hyper_parameters_out_of_range(keywords, message):
    with pytest.raises(ShapeError, match=message) as caught:
        Adam(parameters(), **keywords)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(ShapeError, match=message):
        Adam([{"params": parameters(), **keywords}])


def test_wrong_parameters():
    with pytest.raises(ValueError, match="empty parameter list"):
        Adam([])
    with pytest.raises(TypeError, match="torch.FloatTensor"):
        Adam(torch.ones(3))
    with pytest.raises(ValueError, match="can't optimize a non-leaf Tensor"):
        Adam([torch.ones(3, requires_grad=True) * 2])
    with pytest.raises(DtypeError, match=r"Adam: a parameter \(3,\) is torch.complex64; it takes float32, float16"):
        Adam([torch.ones(3, dtype=torch.complex64, requires_grad=True)])
    optimizer = Adam(parameters())
    with pytest.raises(DtypeError, match="torch.int64"):
        optimizer.add_param_group({"params": [torch.ones(3, dtype=torch.int64)]})
    assert len(optimizer.param_groups) == 1
