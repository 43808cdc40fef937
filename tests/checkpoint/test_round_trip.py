"""save and load: what goes in comes out, and a run goes on to the bit."""

import json
import os
import random
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import tritonnet
from tests.checkpoint.conftest import Net, generators, same, state_of, train
from tritonnet import Module, Parameter, nn, optim
from tritonnet.errors import CheckpointError

OPTIMIZERS = {
    "torch Adam": torch.optim.Adam,
    "torch SGD": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
    **{f"tritonnet {name}": getattr(optim, name) for name in ("Adam", "AdamW", "SGD")},
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_a_run_goes_on_to_the_bit(tmp_path: Path, make: Any) -> None:
    net = Net()
    optimizer = make(net.parameters())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 5])
    train(net, optimizer, 3)
    scheduler.step()
    tritonnet.save(tmp_path / "run", net, optimizer, step=3, scheduler=scheduler.state_dict())
    losses, end = train(net, optimizer, 4), state_of(net, optimizer)

    torch.manual_seed(99)
    random.seed(99)
    other = Net()
    resumed = make(other.parameters())
    schedule = torch.optim.lr_scheduler.MultiStepLR(resumed, [2, 5])
    state = tritonnet.load(tmp_path / "run", other, resumed)
    schedule.load_state_dict(state["scheduler"])
    assert state["step"] == 3 and schedule.state_dict() == scheduler.state_dict()
    assert train(other, resumed, 4) == losses and state_of(other, resumed) == end
    assert other.first.weight is other.second.weight


def test_optimizer_state_follows_names_not_positions(run: Any) -> None:
    path, net, optimizer = run
    other = Net()
    backwards = torch.optim.Adam(reversed(list(other.parameters())))
    tritonnet.load(path, other, backwards)
    for mine, theirs in zip(other.parameters(), net.parameters(), strict=True):
        assert torch.equal(backwards.state[mine]["exp_avg"], optimizer.state[theirs]["exp_avg"])
    assert backwards.param_groups[0]["lr"] == 0.01


def test_other_programs_read_plain_weights(run: Any) -> None:
    path, net, _ = run
    tritonnet.save(path.with_name("weights"), net)
    weights = safetensors.torch.load_file(path.with_name("weights"))
    assert weights.keys() == {"first.weight", "first.bias", "second.bias", "scale", "seen"}
    assert all(torch.equal(tensor, net.state_dict()[key]) for key, tensor in weights.items())
    others = safetensors.torch.load_file(path).keys() - weights.keys()
    assert others and all(name.startswith(("optimizer/", "rng/")) for name in others)


def test_reads_weights_of_other_programs(tmp_path: Path) -> None:
    net, other = Net(), Net()
    weights = {key: value for key, value in net.state_dict().items() if key != "second.weight"}
    safetensors.torch.save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    assert tritonnet.load(tmp_path / "model.safetensors", other) == {}
    assert torch.equal(other.second.weight, net.second.weight)


def test_without_targets_all_is_returned(run: Any) -> None:
    path, net, optimizer = run
    before = generators()
    state = tritonnet.load(path)
    assert state.keys() == {"step", "module", "optimizer"} and generators() == before
    assert list(state["module"]) == list(net.state_dict())
    assert state["module"]["second.weight"] is state["module"]["first.weight"]
    assert torch.equal(state["optimizer"]["state"]["scale"]["exp_avg"], optimizer.state[net.scale]["exp_avg"])


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(2**70),
        0.1,
        float("inf"),
        "text \u00e9 \U0001f600",
        b"\x00\xff",
        torch.bfloat16,
        [1, [2.5, "x"]],
        (1, (2,), []),
        {"a": {"b": ()}, 3: "int key", (1, 2): None},
        {"@tensor": "not one", "@tuple": [1]},
        {"@dict": 1},
        OrderedDict(b=1, a=2),
        Counter({30: 1, 80: 2}),
        {"a/b": torch.ones(1), "a": {"b": torch.zeros(2)}},
        torch.tensor([]),
        torch.tensor(float("nan")),
        torch.arange(12).reshape(3, 4).t()[::2],
        torch.tensor([1 + 2j]).conj(),
        torch.ones(2, 3).to(torch.float8_e4m3fn),
        torch.tensor([True, False]),
        np.arange(6.0).reshape(2, 3)[:, ::2],
        np.array(["a", "bcd"]),
        np.array(3 + 4j),
        np.empty((0, 2), np.int16),
        np.float32(0.1),
        np.float64("nan"),
        np.bool_(True),
        np.datetime64("2024-02-29"),
        {"losses": [np.float64(1.5)], "order": (np.int64(3),)},
    ],
    ids=repr,
)
def test_state_comes_back_as_it_was(tmp_path: Path, value: Any) -> None:
    tritonnet.save(tmp_path / "x", nn.Identity(), value=value)
    same(tritonnet.load(tmp_path / "x", nn.Identity())["value"], value)


@pytest.mark.parametrize(
    "value",
    [{1, 2}, object(), [lambda: 0], np.array([{}]), torch.ones(2, device="meta"), Parameter],
    ids=["set", "object", "function", "array", "meta", "class"],
)
def test_what_cannot_be_stored_is_named_and_the_old_file_kept(run: Any, value: Any) -> None:
    path, net, _ = run
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="state/values/0"):
        tritonnet.save(path, net, values=[value])
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_a_module_keeps_its_devices_dtypes_and_memory_format(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Linear(2, 2))
    tritonnet.save(tmp_path / "x", net)
    other = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Linear(2, 2)).to(memory_format=torch.channels_last).double()
    tritonnet.load(tmp_path / "x", other)
    assert other[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(other[0].weight, net[0].weight.double())


def test_extra_state_is_kept(tmp_path: Path) -> None:
    class Counting(Module):
        count: Any = 0

        def get_extra_state(self) -> Any:
            return {"count": self.count, "sum": torch.ones(2)}

        def set_extra_state(self, state: Any) -> None:
            self.count = state["count"]

    net, other = nn.Sequential(Counting()), nn.Sequential(Counting())
    net[0].count = (3, "x")
    tritonnet.save(tmp_path / "x", net)
    tritonnet.load(tmp_path / "x", other)
    assert other[0].count == (3, "x")


def test_the_same_state_gives_the_same_header_and_bytes(run: Any) -> None:
    path, net, optimizer = run
    contents = []
    for _ in range(2):
        tritonnet.save(path, net, optimizer, step=3)
        whole = path.read_bytes()
        end = 8 + int.from_bytes(whole[:8], "little")
        contents.append((json.loads(whole[8:end]), whole[end:]))
    assert contents[0] == contents[1]


def test_random_states_are_restored_on_request_only(run: Any) -> None:
    path, net, optimizer = run
    other = Net()
    tritonnet.save(path, net, optimizer)
    saved = generators()
    torch.rand(1)
    random.random()
    moved_on = generators()
    tritonnet.load(path, other)
    tritonnet.load(path, net, optimizer, rng=False)
    assert generators() == moved_on
    tritonnet.load(path, other, rng=True)
    assert generators() == saved


def test_objects_with_a_state_and_generators_come_back(run: Any) -> None:
    path, net, optimizer = run

    def things() -> dict[str, Any]:
        return {
            "scheduler": torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 7),
            "scaler": torch.amp.GradScaler("cpu", init_scale=8.0),
            "ema": nn.Linear(2, 2),
            "second": torch.optim.SGD([Parameter(torch.ones(2))], lr=0.1),
            "generators": {
                "torch": torch.Generator(),
                "numpy": [np.random.default_rng(0), np.random.Generator(np.random.MT19937(0))],
                "python": random.Random(0),
            },
        }

    saved = things()
    for _ in range(3):
        saved["scheduler"].step()
    saved["scaler"].scale(torch.ones(1))
    saved["scaler"].update(16.0)
    saved["second"].param_groups[0]["lr"] = 0.7
    generators = saved["generators"]
    drawn = torch.rand(3, generator=generators["torch"]), generators["python"].random()
    tritonnet.save(path, net, optimizer, step=3, **saved)

    fresh = things()
    assert tritonnet.load(path, net, optimizer, **fresh) == {"step": 3}
    for name in ("scheduler", "scaler", "second"):
        assert fresh[name].state_dict() == saved[name].state_dict()
    assert torch.equal(fresh["ema"].weight, saved["ema"].weight)
    ours = fresh["generators"]
    assert torch.equal(torch.rand(3, generator=ours["torch"]), torch.rand(3, generator=generators["torch"]))
    assert ours["python"].random() == generators["python"].random()
    for one, two in zip(ours["numpy"], generators["numpy"], strict=True):
        assert one.random() == two.random()
    assert not torch.equal(drawn[0], torch.rand(3, generator=ours["torch"])) and drawn[1] != ours["python"].random()

    state = tritonnet.load(path, net)
    assert state["scheduler"]["T_cur"] == 3 and state["scaler"]["scale"] == 16.0


SCHEDULERS = {
    "LambdaLR": lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9**epoch),
    "StepLR": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 2),
    "OneCycleLR": lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20),
    "CyclicLR": lambda optimizer: torch.optim.lr_scheduler.CyclicLR(optimizer, 0.1, 1.0, cycle_momentum=False),
    "SequentialLR": lambda optimizer: torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=2),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 9),
        ],
        [3],
    ),
    "ReduceLROnPlateau": lambda optimizer: torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1),
}


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS.keys())
def test_schedulers_go_on(tmp_path: Path, make: Any) -> None:
    def begin() -> tuple[Net, Any, Any]:
        net = Net()
        optimizer = optim.AdamW(net.parameters(), lr=0.1)
        return net, optimizer, make(optimizer)

    def follow(optimizer: Any, scheduler: Any, steps: int) -> list[float]:
        rates = []
        for _ in range(steps):
            optimizer.step()
            scheduler.step(*([1.0] if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau) else []))
            rates.append(optimizer.param_groups[0]["lr"])
        return rates

    net, optimizer, scheduler = begin()
    follow(optimizer, scheduler, 4)
    tritonnet.save(tmp_path / "x", net, optimizer, scheduler=scheduler)
    went_on = follow(optimizer, scheduler, 6)
    net, optimizer, scheduler = begin()
    tritonnet.load(tmp_path / "x", net, optimizer, scheduler=scheduler)
    assert follow(optimizer, scheduler, 6) == went_on


def torchs_optimizers() -> list[str]:
    rest = {"Optimizer", "SparseAdam", "Muon"}  # the base; sparse gradients; matrices alone
    return [name for name in torch.optim.__all__ if isinstance(getattr(torch.optim, name), type) and name not in rest]


@pytest.mark.parametrize("name", torchs_optimizers())
def test_every_optimizer_of_torch_goes_on(tmp_path: Path, name: str) -> None:
    def begin() -> tuple[Net, Any]:
        torch.manual_seed(0)
        net = Net().double()
        return net, getattr(torch.optim, name)(net.parameters())

    def steps(net: Net, optimizer: Any) -> list[list[float]]:
        x = torch.randn(8, 4, dtype=torch.float64)

        def closure() -> Any:
            optimizer.zero_grad()
            loss = (net(x) ** 2).mean()
            loss.backward()
            return loss

        for _ in range(2):
            optimizer.step(closure)
        return [param.tolist() for param in net.parameters()]

    net, optimizer = begin()
    steps(net, optimizer)
    tritonnet.save(tmp_path / "x", net, optimizer)
    end = steps(net, optimizer)
    net, optimizer = begin()
    tritonnet.load(tmp_path / "x", net, optimizer)
    assert steps(net, optimizer) == end


@pytest.mark.parametrize("verify", ["full", "header"])
def test_how_much_is_verified(run: Any, verify: Any) -> None:
    path, net, _ = run
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    if verify == "full":
        with pytest.raises(CheckpointError, match="is damaged; its SHA-256 is not the one recorded"):
            tritonnet.load(path, net, verify=verify)
    else:
        assert tritonnet.load(path, net, verify=verify)["step"] == 3
    path.write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match="truncated"):
        tritonnet.load(path, net, verify=verify)
    with pytest.raises(ValueError, match="verify is 'none'; it is one of 'full', 'header'"):
        tritonnet.load(path, net, verify="none")  # type: ignore[arg-type]
