"""save and load: whole files or clear refusals, nothing changed by a failure, runs that go on to the bit."""

import hashlib
import json
import os
import random
import stat
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

import tritonnet
from tritonnet import Module, Parameter, nn, optim
from tritonnet.errors import CheckpointError

OPTIMIZERS = {
    "torch Adam": torch.optim.Adam,
    "torch SGD": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
    **{f"tritonnet {name}": getattr(optim, name) for name in ("Adam", "AdamW") if hasattr(optim, name)},
}


class Net(Module):
    """Two layers with a tied weight, a buffer, a non-persistent buffer; computes without a kernel."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.second.weight = self.first.weight
        self.scale = Parameter(torch.ones(width, dtype=torch.bfloat16))
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("cache", torch.zeros(2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        x = torch.tanh(x @ self.first.weight + self.first.bias) * self.scale
        return x @ self.second.weight + self.second.bias


def train(net: Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    """Steps on data and noise from the global generators, so that their states matter."""
    losses = []
    for _ in range(steps):
        x = torch.randn(8, 4) + random.random() + np.random.rand()  # noqa: NPY002
        loss = (net(x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def state_of(net: Module, optimizer: torch.optim.Optimizer) -> Any:
    weights = [(key, value.tolist(), value.dtype) for key, value in net.state_dict().items()]
    moments = [
        (index, key, value.tolist() if isinstance(value, Tensor) else value)
        for index, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
    ]
    return weights, moments, [{**group, "params": None} for group in optimizer.state_dict()["param_groups"]]


def generators() -> Any:
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, Net, torch.optim.Optimizer]:
    """A file of a run after three steps, with the run."""
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    train(net, optimizer, 3)
    path = tmp_path / "run.safetensors"
    tritonnet.save(path, net, optimizer, step=3)
    return path, net, optimizer


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
    assert others and all(name.startswith("optimizer/") for name in others)


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
    ],
    ids=repr,
)
def test_state_comes_back_as_it_was(tmp_path: Path, value: Any) -> None:
    tritonnet.save(tmp_path / "x", nn.Identity(), value=value)
    same(tritonnet.load(tmp_path / "x", nn.Identity())["value"], value)


def same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(b, Tensor):
        assert a.dtype == b.dtype and a.shape == b.shape and repr(a.tolist()) == repr(b.tolist())
    elif isinstance(b, dict):
        assert list(a) == list(b)
        for key in b:
            same(a[key], b[key])
    elif isinstance(b, list | tuple):
        for one, two in zip(a, b, strict=True):
            same(one, two)
    else:
        assert a == b


@pytest.mark.parametrize(
    "value",
    [{1, 2}, object(), [lambda: 0], np.ones(2), torch.ones(2, device="meta")],
    ids=["set", "object", "function", "array", "meta"],
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


def refused(path: Path, message: str, net: Module | None = None, optimizer: Any = None, **options: Any) -> None:
    """load raises a CheckpointError that names the file, and module, optimizer and generators stay as they were."""
    net = Net() if net is None else net
    optimizer = torch.optim.Adam(net.parameters()) if optimizer is None else optimizer
    before, randoms = state_of(net, optimizer), generators()
    with pytest.raises(CheckpointError, match=message) as caught:
        tritonnet.load(path, net, optimizer, **options)
    assert str(path) in str(caught.value)
    assert state_of(net, optimizer) == before and generators() == randoms


def test_a_truncated_file_is_refused(run: Any) -> None:
    path, *_ = run
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    net = Net()
    optimizer = torch.optim.Adam(net.parameters())
    for length in [0, 3, 8, 9, header // 2, header + 7, header + 8, len(whole) - 9, len(whole) - 1]:
        path.write_bytes(whole[:length])
        refused(path, "truncated|damaged", net, optimizer)
    path.write_bytes(whole + b"x")
    refused(path, "not fully covered", net, optimizer)


def test_an_altered_byte_is_refused(run: Any) -> None:
    path, *_ = run
    whole = path.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    places = [*range(8), *range(8, end, 61), *range(end, len(whole), 17), len(whole) - 1]
    net = Net()
    optimizer = torch.optim.Adam(net.parameters())
    for place in places:
        for flip in (1, 0x80):
            altered = bytearray(whole)
            altered[place] ^= flip
            path.write_bytes(altered)
            refused(path, ".", net, optimizer)


def test_each_kind_of_wrong_file_is_named(tmp_path: Path, run: Any) -> None:
    _, net, _ = run
    refused(tmp_path / "nothing", "there is no such file")
    refused(tmp_path, "could not be read")
    torch.save(net.state_dict(), tmp_path / "model.pt")
    refused(tmp_path / "model.pt", "written by torch.save; .*weights_only=True")
    (tmp_path / "text").write_text("a text of more than eight bytes")
    refused(tmp_path / "text", "not a safetensors file")
    tritonnet.save(tmp_path / "weights", net)
    refused(tmp_path / "weights", "holds no optimizer state")
    with pytest.raises(CheckpointError, match="holds no random states"):
        tritonnet.load(tmp_path / "weights", net, rng=True)


def test_another_format_version_is_refused(run: Any) -> None:
    path, *_ = run
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    document = json.dumps(json.loads(header["__metadata__"]["tritonnet"]) | {"version": 2})
    header["__metadata__"]["tritonnet"] = document
    header["__metadata__"]["tritonnet.sha256"] = hashlib.sha256(document.encode()).hexdigest()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + length :])
    refused(path, "format version 2; this tritonnet reads version 1")


def test_a_checkpoint_of_another_model_is_refused(run: Any) -> None:
    path, *_ = run
    refused(path, r"(?s)does not fit Net.*first.weight +size mismatch +\(5, 5\) float32 +\(4, 4\) float32", Net(5))
    net = Net()
    net.extra = nn.Linear(1, 1)
    optimizer = torch.optim.Adam(p for name, p in net.named_parameters() if not name.startswith("extra"))
    refused(path, "extra.weight +missing key", net, optimizer)
    tritonnet.load(path, net, optimizer, strict=False)


def test_a_checkpoint_of_another_optimizer_is_refused(run: Any) -> None:
    path, *_ = run
    net = Net()
    params = list(net.parameters())
    refused(path, "the state of Adam, not of SGD", net, torch.optim.SGD(params))
    refused(path, "only one of the two has scale", net, torch.optim.Adam(params[1:]))
    groups = [{"params": params[:1]}, {"params": params[1:]}]
    refused(path, "the optimizer has 2 parameter groups, the file 1", net, torch.optim.Adam(groups))


def test_an_optimizer_that_refuses_leaves_the_module_alone(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path, *_ = run
    net = Net()
    optimizer = torch.optim.Adam(net.parameters())

    def refuse(state: Any) -> None:
        raise ValueError("no")

    monkeypatch.setattr(optimizer, "load_state_dict", refuse)
    refused(path, "no", net, optimizer)


def test_arguments_that_make_no_sense(run: Any) -> None:
    path, net, _ = run
    stranger = torch.optim.Adam([Parameter(torch.ones(2))])
    with pytest.raises(CheckpointError, match="parameter 0 of group 0, .*is not one of Net's"):
        tritonnet.save(path, net, stranger)
    with pytest.raises(ValueError, match="give the module too"):
        tritonnet.load(path, None, stranger)
    with pytest.raises(TypeError, match="not a tritonnet Module"):
        tritonnet.save(path, torch.nn.Linear(1, 1))


@pytest.mark.parametrize("broken", ["replace", "fsync", "fdopen", "open"])
def test_a_failed_save_leaves_the_old_file(run: Any, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    path, net, optimizer = run
    before = path.read_bytes()
    train(net, optimizer, 1)

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, fail)
        with pytest.raises(CheckpointError, match="run.safetensors: could not be written.*No space left"):
            tritonnet.save(path, net, optimizer, step=4)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]
    tritonnet.save(path, net, optimizer, step=4)
    assert tritonnet.load(path)["step"] == 4


def test_an_interrupted_save_leaves_the_old_file(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path, net, _ = run
    before = path.read_bytes()

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tritonnet.save(path, net)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_files_are_synced_before_and_after_the_rename(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path, net, _ = run
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def rename(*names: Any) -> None:
        calls.append("rename")
        replace(*names)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", rename)
    tritonnet.save(path, net)
    assert calls == ["file", "rename", "folder"]


def test_mode_of_the_file_and_links(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        tritonnet.save(tmp_path / "real", nn.Linear(1, 1))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640
    (tmp_path / "link").symlink_to("real")
    tritonnet.save(tmp_path / "link", nn.Linear(2, 2))
    assert (tmp_path / "link").is_symlink()
    tritonnet.load(tmp_path / "real", nn.Linear(2, 2))


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
