"""What is damaged or does not fit is refused by name, and nothing in memory is changed."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tritonnet
from tests.checkpoint.conftest import Net, refused, train
from tritonnet import Parameter, nn, optim
from tritonnet.checkpoint import _file, _rng
from tritonnet.errors import CheckpointError


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
    refused(tmp_path, "could not be read, it is a folder; tritonnet.Checkpoints and load_weights read folders")
    torch.save(net.state_dict(), tmp_path / "model.pt")
    refused(tmp_path / "model.pt", "written by torch.save; read it with tritonnet.load_weights")
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
    document = json.dumps(json.loads(header["__metadata__"]["tritonnet"]) | {"version": 3})
    header["__metadata__"]["tritonnet"] = document
    header["__metadata__"]["tritonnet.sha256"] = hashlib.sha256(document.encode()).hexdigest()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + length :])
    refused(path, "format version 3; this tritonnet reads version 2")


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


class Refusing:
    """Takes no state but its own, which is empty."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            raise KeyError("unknown")


def test_an_object_that_refuses_leaves_all_others_as_they_were(run: Any) -> None:
    path, net, optimizer = run
    generator = torch.Generator().manual_seed(3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    optimizer.step()
    scheduler.step()
    parts = {"generators": [generator], "scheduler": scheduler, "own": Refusing()}
    tritonnet.save(path, net, optimizer, **{**parts, "own": {"a": 1}})
    other = Net()
    resumed = torch.optim.Adam(other.parameters())
    parts |= {
        "generators": [torch.Generator().manual_seed(4)],
        "scheduler": torch.optim.lr_scheduler.StepLR(resumed, 2),
    }
    before = parts["generators"][0].get_state(), parts["scheduler"].state_dict()
    refused(path, r"own does not fit this Refusing \(KeyError: 'unknown'\)", other, resumed, **parts)
    assert torch.equal(parts["generators"][0].get_state(), before[0]) and parts["scheduler"].state_dict() == before[1]
    refused(path, "generators was saved as something of other keys or another length", other, resumed, generators=[])
    refused(path, r"scheduler does not fit this Generator", other, resumed, scheduler=torch.Generator())
    refused(path, r"holds no scaler; beside the weights there is generators, scheduler, own", scaler=Refusing())


def test_what_has_no_state_cannot_be_restored(run: Any) -> None:
    path, net, _ = run
    for value in (3, "text", torch.ones(2), [3], {"a": None}):
        with pytest.raises(TypeError, match=r"load: step.* is a \w+, and has no state to restore"):
            tritonnet.load(path, net, step=value)


def test_a_disk_that_cannot_read_is_a_damaged_file(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path, *_ = run

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(_file.safetensors, "safe_open", fail)
    refused(path, "could not be read .*Input/output error")
    with pytest.raises(_file.DamagedError):
        tritonnet.load(path)


def test_fewer_gpus_than_when_it_was_saved_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    states = _rng.collect()
    states["cuda"] = [b"\0" * 16] * 2
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.warns(UserWarning, match="random states of 2 CUDA devices and 0 are here"):
        _rng.restore(states)


@pytest.mark.parametrize("make", [torch.optim.Adam, optim.Adam], ids=["torch", "tritonnet"])
def test_extra_state_that_is_refused_takes_the_optimizer_back(tmp_path: Path, make: Any) -> None:
    class Strict(Net):
        extra = 1

        def get_extra_state(self) -> torch.Tensor:
            return torch.tensor(self.extra)

        def set_extra_state(self, state: torch.Tensor) -> None:
            if state != self.extra:
                raise ValueError(f"extra is {state.item()}")

    def begin() -> tuple[Net, Any, torch.Generator]:
        net = Strict()
        optimizer = make(net.parameters(), lr=torch.tensor(0.01))
        train(net, optimizer, 2)
        return net, optimizer, torch.Generator().manual_seed(1)

    net, optimizer, generator = begin()
    generator.manual_seed(2)
    net.extra = 2
    tritonnet.save(tmp_path / "x", net, optimizer, generator=generator)
    other, resumed, generator = begin()
    before = generator.get_state()
    entries = [(key, value) for entry in resumed.state.values() for key, value in entry.items()]
    refused(tmp_path / "x", "extra is 2", other, resumed, generator=generator)
    assert torch.equal(generator.get_state(), before)
    assert all(
        key == name and value is tensor
        for (key, value), (name, tensor) in zip(
            entries, [item for entry in resumed.state.values() for item in entry.items()], strict=True
        )
    )
    train(other, resumed, 1)


def test_a_lazy_parameter_is_named(tmp_path: Path) -> None:
    for save in (tritonnet.save, tritonnet.save_weights):
        with pytest.raises(CheckpointError, match="0.weight: .*before the tensor has a shape"):
            save(tmp_path / "x.safetensors", nn.Sequential(nn.LazyLinear(2)))
