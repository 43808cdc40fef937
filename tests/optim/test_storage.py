"""The storage of an optimizer: launches shared, tables kept while nothing moves, any memory layout."""

import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.optim.conftest import distance, parameters, train
from tritonnet.optim import Adam, AdamW


def test_groups_share_a_launch(launched):
    names = launched("adam")
    mine, torchs = parameters(), parameters()
    for params, cls in ((mine, Adam), (torchs, torch.optim.Adam)):
        groups = [{"params": params[:2], "lr": 1e-2}, {"params": params[2:], "betas": (0.5, 0.9), "weight_decay": 0.1}]
        train(cls(groups), steps=5)
    assert distance(mine, torchs) < 1e-6
    assert names == ["_advance_kernel", "_adam_kernel"] * 5


def test_memory_layouts():
    base = torch.randn(8, 6, 3, 3)
    leaves = (
        lambda: base.to(memory_format=torch.channels_last),
        lambda: base.clone()[:, ::2],
        lambda: base[0, :, :, 0].t().contiguous().t(),
        lambda: base[:, :, :1, :1].to(memory_format=torch.channels_last, copy=True),
    )
    mine, torchs = ([make().detach().requires_grad_() for make in leaves] for _ in range(2))
    for params, cls in ((mine, AdamW), (torchs, torch.optim.AdamW)):
        optimizer = cls(params, lr=1e-2)
        for step in range(4):
            generator = torch.Generator().manual_seed(step)
            for p in params:
                # Of the dimensions in reverse order in memory: unlike any of the parameters.
                p.grad = torch.randn(p.shape[::-1], generator=generator).permute(*reversed(range(p.dim())))
            optimizer.step()
    assert distance(mine, torchs) < 1e-6
    assert [p.stride() for p in mine] == [p.stride() for p in torchs]


def test_tables_are_made_anew_only_where_something_moved():
    params = parameters(shapes=((30,), (4, 5)))
    others = parameters(shapes=((30,), (4, 5)))
    optimizer, other = Adam(params), torch.optim.Adam(others)
    storage = optimizer._storage

    def steps():
        for one in (optimizer, other):
            train(one, steps=4, missing=None)
        return storage.generation

    assert steps() == steps() == 1
    for p in (params[0], others[0]):
        p.data = p.data.clone()
    assert steps() == 2
    for one, (p, _) in ((optimizer, params), (other, others)):
        one.state[p]["exp_avg"] = one.state[p]["exp_avg"] * 2
    assert steps() == 3
    for p in (params[1], others[1]):
        p.data = p.data.half()
        p.grad = None
    optimizer.state.pop(params[1]), other.state.pop(others[1])
    assert steps() == 4
    optimizer.state.clear(), other.state.clear()
    assert steps() == 5
    assert distance(params[:1], others[:1]) < 1e-5


def test_gradients_are_not_kept():
    (p,) = parameters(shapes=((4,),))
    optimizer = Adam([p])
    p.grad = torch.ones(4)
    grad = p.grad
    optimizer.step()
    optimizer.zero_grad()
    assert sys.getrefcount(grad) == 2
    optimizer.step()
    assert float(optimizer.state[p]["step"]) == 1


def test_a_parameter_twice_takes_one_step():
    (p,), (q,) = parameters(shapes=((4,),)), parameters(shapes=((4,),))
    with pytest.warns(UserWarning, match="duplicate parameters"):
        twice = Adam([p, p])
    once = torch.optim.Adam([q])
    p.grad = q.grad = torch.ones(4)
    twice.step()
    once.step()
    assert distance([p], [q]) < 1e-6


def test_a_gradient_with_a_pending_sign():
    (p,), (q,) = parameters(shapes=((4,),)), parameters(shapes=((4,),))
    p.grad = torch.conj(torch.complex(torch.zeros(4), torch.tensor([1.0, -2.0, 3.0, -4.0]))).imag
    assert p.grad.is_neg()
    q.grad = p.grad.resolve_neg()
    Adam([p]).step()
    torch.optim.Adam([q]).step()
    assert distance([p], [q]) < 1e-6


def test_a_parameter_put_in_the_place_of_another():
    params, others = parameters(shapes=((4,), (5,))), parameters(shapes=((4,), (5,)))
    optimizer, other = Adam(params), torch.optim.Adam(others)
    for one, of_one in ((optimizer, params), (other, others)):
        train(one, steps=2, missing=None)
        (of_one[0],) = parameters(shapes=((3,),), seed=7)
        one.param_groups[0]["params"][0] = of_one[0]
        train(one, steps=2, missing=None)
        # Idle parameters are members too.
        idle = parameters(shapes=((2,), (2,)), seed=8)
        one.add_param_group({"params": idle[:1]})
        one.step()
        one.param_groups[1]["params"][0] = idle[1]
        train(one, steps=2, missing=None)
        of_one += idle
    assert distance(params, others) < 1e-6


@pytest.mark.parametrize("cls", [Adam, AdamW])
def test_another_default_device(cls):
    params, others = parameters(), parameters()
    optimizer = cls(others, lr=torch.tensor(1e-3, dtype=torch.float64))
    train(cls(params), steps=5)
    step = optimizer.step

    def step_elsewhere():
        with torch.device("meta"):
            step()

    optimizer.step = step_elsewhere
    train(optimizer, steps=5)
    assert distance(params, others) < 1e-6


def test_a_state_dict_loaded_where_another_device_is_the_default():
    params, others = parameters(), parameters()
    optimizer, other = Adam(params), Adam(others)
    train(optimizer, steps=2)
    with torch.device("meta"):
        other.load_state_dict(optimizer.state_dict())
    for p, q in zip(params, others, strict=True):
        assert torch.equal(optimizer.state[p]["exp_avg"], other.state[q]["exp_avg"])


def test_what_a_captured_graph_copies_from_is_kept(monkeypatch):
    (p,) = parameters(shapes=((4,),))
    optimizer = Adam([p])
    p.grad = torch.ones(4)
    optimizer.step()
    (launch,) = optimizer._storage._launches
    assert launch._captured == []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.step()
    (host,) = launch._captured
    assert host.tolist() == [[0.5, 0.9, 0.999, 1e-8, 0.0]]


def step_without_memory(device):
    params = [torch.randn(4, 6, device=device).requires_grad_(), torch.randn(6, 4, device=device).t().requires_grad_()]
    params.append(torch.randn(8, 2, device=device)[:, ::2].detach().requires_grad_())
    optimizer = AdamW(params, amsgrad=True)
    for _ in range(2):
        for p in params[:2]:
            p.grad = torch.ones_like(p)
        optimizer.step()
    params[2].grad = torch.ones_like(params[2])
    optimizer.step()
    for p in params:
        state = optimizer.state[p]
        assert state["step"].device == p.device and state["max_exp_avg_sq"].shape == p.shape


def test_meta_and_fake_parameters():
    step_without_memory(device="meta")
    with FakeTensorMode():
        step_without_memory(device="cpu")
