"""The digits network with torch.nn in place of tritonnet.nn learns the same: one script, two losses, step by step."""

import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import tritonnet

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SCRIPT = Path(__file__).parent.parent / "examples" / "digits.py"
STEPS, BATCH = 50, 128
# A small eps would be zero in float16, where torch keeps Adam's moments; larger ones are as good for a comparison.
ADAM = {"lr": 1e-3, "eps": 1e-3}


@cache
def script(library: str) -> SimpleNamespace:
    """The definitions of examples/digits.py, with its one import of layers naming `library`."""
    pytest.importorskip("sklearn", reason="the digits are scikit-learn's")
    pytest.importorskip("rich", reason="imported by the example")
    pytest.importorskip("matplotlib", reason="imported by the example")
    source, changed = re.subn(
        r"^import tritonnet\.nn as nn$", f"import {library} as nn", SCRIPT.read_text(), flags=re.M
    )
    assert changed == 1
    names: dict[str, object] = {"__name__": "digits"}
    exec(compile(source, str(SCRIPT), "exec"), names)
    return SimpleNamespace(**names)


@cache
def losses(library: str, dtype: torch.dtype, device: str = "cpu") -> list[float]:
    """Of 50 steps from the same weights on the same batches, without dropout."""
    example = script(library)
    images, labels, _, _ = example.digits(torch.device(device), dtype)
    torch.manual_seed(0)
    start = script("torch.nn").Digits(dropout=0.0).to(device).state_dict()
    net = example.Digits(dropout=0.0).to(device)
    net.load_state_dict(start)
    net.to(dtype)
    optimizer = (torch.optim if library == "torch.nn" else tritonnet.optim).Adam(net.parameters(), **ADAM)
    loss_of = example.nn.CrossEntropyLoss()
    batches = [torch.randint(len(labels), (BATCH,)).to(device) for _ in range(STEPS)]
    curve = []
    for batch in batches:
        optimizer.zero_grad()
        loss = loss_of(net(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return curve


def distance(curve: list[float], reference: list[float]) -> float:
    """Root mean square of the relative differences."""
    return sum(((a - b) / b) ** 2 for a, b in zip(curve, reference, strict=True)) ** 0.5 / len(curve) ** 0.5


def test_the_network_learns():
    curve = losses("torch.nn", torch.float64)
    assert curve[-1] < 0.5 * curve[0]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=GPU)])
def device(request):
    """Where ours runs; torch's curves are always the CPU's. A convolution in float32 would be TF32 on a GPU."""
    convolutions = torch.backends.cudnn.conv
    before, convolutions.fp32_precision = convolutions.fp32_precision, "ieee"
    yield request.param
    convolutions.fp32_precision = before


def test_float32_follows_torch(device):
    curves = losses("tritonnet.nn", torch.float32, device), losses("torch.nn", torch.float32)
    for step, (ours, theirs) in enumerate(zip(*curves, strict=True)):
        assert abs(ours - theirs) <= 1e-3 * theirs, f"step {step}: {ours} against {theirs}"


def test_float64_follows_torch(device):
    for ours, theirs in zip(
        losses("tritonnet.nn", torch.float64, device), losses("torch.nn", torch.float64), strict=True
    ):
        assert abs(ours - theirs) <= 1e-10 * theirs


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_close_to_float64_as_torch(dtype, device):
    truth = losses("torch.nn", torch.float64)
    ours, theirs = losses("tritonnet.nn", dtype, device), losses("torch.nn", dtype)
    off, torchs = distance(ours, truth), distance(theirs, truth)
    assert off <= 2 * torchs, f"{off:.2e} from float64, torch {torchs:.2e}"
