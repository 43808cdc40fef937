"""A small run, what it consists of, and what `load` must leave alone: shared by the tests of this folder."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tritonnet
from tritonnet import Module, Parameter, nn
from tritonnet.errors import CheckpointError


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


def same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(b, Tensor):
        assert a.dtype == b.dtype and a.shape == b.shape and repr(a.tolist()) == repr(b.tolist())
    elif isinstance(b, np.ndarray | np.generic):
        assert a.dtype == b.dtype and a.shape == b.shape and repr(a.tolist()) == repr(b.tolist())
        assert not isinstance(b, np.ndarray) or a.flags.writeable
    elif isinstance(b, dict):
        assert list(a) == list(b)
        for key in b:
            same(a[key], b[key])
    elif isinstance(b, list | tuple):
        for one, two in zip(a, b, strict=True):
            same(one, two)
    else:
        assert a == b


def refused(path: Path, message: str, net: Module | None = None, optimizer: Any = None, **options: Any) -> None:
    """load raises a CheckpointError that names the file, and module, optimizer and generators stay as they were."""
    net = Net() if net is None else net
    optimizer = torch.optim.Adam(net.parameters()) if optimizer is None else optimizer
    before, randoms = state_of(net, optimizer), generators()
    with pytest.raises(CheckpointError, match=message) as caught:
        tritonnet.load(path, net, optimizer, **options)
    assert str(path) in str(caught.value)
    assert state_of(net, optimizer) == before and generators() == randoms


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, Net, torch.optim.Optimizer]:
    """A file of a run after three steps, with the run."""
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    train(net, optimizer, 3)
    path = tmp_path / "run.safetensors"
    tritonnet.save(path, net, optimizer, step=3)
    return path, net, optimizer
