"""A run that is cut and resumed is the uninterrupted one to the bit, with dropout, shuffling, schedule and scaler."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from tritonnet import Checkpoints, nn, optim

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]
EXAMPLES, BATCH, EPOCHS = 40, 8, 4


class Run:
    """A small training with all that its course depends on."""

    def __init__(self, device: str, loader: bool) -> None:
        generator = torch.Generator().manual_seed(3)
        inputs = torch.randn(EXAMPLES, 6, generator=generator)
        targets = torch.randint(3, (EXAMPLES,), generator=generator)
        self.device, self.inputs, self.targets = device, inputs, targets
        net = nn.Sequential(
            nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 16), nn.Dropout(0.2), nn.Linear(16, 3)
        )
        self.net = net.to(device)
        self.optimizer = optim.AdamW(net.parameters(), lr=0.02)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, 0.05, total_steps=EPOCHS * EXAMPLES // BATCH
        )
        self.scaler = torch.amp.GradScaler(device, init_scale=64.0, growth_interval=3)
        self.shuffle = torch.Generator().manual_seed(1)
        self.loader = (
            DataLoader(TensorDataset(inputs, targets), BATCH, shuffle=True, generator=self.shuffle) if loader else None
        )
        self.parts = {"scheduler": self.scheduler, "scaler": self.scaler, "shuffle": self.shuffle}
        self.step, self.losses = 0, []

    def batches(self, position: dict[str, Any]) -> Iterator[tuple[Tensor, Tensor]]:
        """The rest of the epoch: of an order that was drawn, or drawn again from the generator as it was."""
        if self.loader is None:
            if "order" not in position:
                position["order"] = torch.randperm(EXAMPLES, generator=self.shuffle)
            rest = [(self.inputs[one], self.targets[one]) for one in position["order"].split(BATCH)]
        else:
            if "drawn_from" in position:
                self.shuffle.set_state(position["drawn_from"])
            position["drawn_from"] = self.shuffle.get_state()
            rest = list(self.loader)
        for batch in rest[position["batch"] :]:
            position["batch"] += 1
            yield batch

    def train(self, until: int, position: dict[str, Any] | None = None) -> dict[str, Any]:
        """Steps up to a number of them, from a position in the data; returns the position then."""
        loss_of = nn.CrossEntropyLoss()
        position = position or {"batch": 0}
        while self.step < until:
            for inputs, targets in self.batches(position):
                loss = loss_of(self.net(inputs.to(self.device)), targets.to(self.device))
                self.optimizer.zero_grad()
                self.scaler.scale(loss).backward()
                self.scaler.step(self.optimizer)
                self.scaler.update()
                self.scheduler.step()
                self.losses.append(loss.item())
                self.step += 1
                if self.step == until:
                    break
            else:
                position = {"batch": 0}
        return position

    def end(self) -> Any:
        rng = torch.get_rng_state().tolist(), self.shuffle.get_state().tolist()
        moments = [value.tolist() for state in self.optimizer.state.values() for value in state.values()]
        weights = [value.tolist() for value in self.net.state_dict().values()]
        return self.losses, weights, moments, rng, self.scheduler.state_dict(), self.scaler.state_dict()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("loader", [False, True], ids=["permutation", "DataLoader"])
@pytest.mark.parametrize("background", [False, True], ids=["plain", "background"])
def test_a_run_cut_anywhere_is_the_same_run(tmp_path: Path, device: str, loader: bool, background: bool) -> None:
    last = EPOCHS * EXAMPLES // BATCH
    torch.manual_seed(5)
    whole = Run(device, loader)
    whole.train(last)
    expected = whole.end()
    assert len(set(expected[0])) > last // 2

    torch.manual_seed(5)
    run = Run(device, loader)
    position = None
    for cut in (3, 5, 12, last):  # within an epoch, at its end, in the third
        position = run.train(cut, position)
        with Checkpoints(tmp_path, keep=2, background=background) as checkpoints:
            checkpoints.load()
            checkpoints.save(cut, run.net, run.optimizer, position=position, losses=run.losses, **run.parts)
            if background:
                run.net[0].weight.data.zero_()  # what comes after the call is not saved
        torch.manual_seed(1000 + cut)
        run = Run(device, loader)
        state = Checkpoints(tmp_path).load(run.net, run.optimizer, **run.parts)
        assert state is not None
        run.step, run.losses, position = state["step"], state["losses"], state["position"]
    assert run.end() == expected
