"""A model to train: parameters, random gradients, and how far apart two models are."""

import importlib

import pytest
import torch

SHAPES = ((3,), (70, 65), (1,), (), (0, 4))


def parameters(dtype=torch.float32, shapes=SHAPES, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def train(optimizer, steps=50, seed=2, missing=2):
    """Steps with random gradients, those of one parameter missing in every third, with two changes of lr."""
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for at, p in enumerate(p for group in optimizer.param_groups for p in group["params"]):
            grad = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            p.grad = None if at == missing and step % 3 == 0 else grad.to(p.dtype)
        if step in (20, 30):
            for group in optimizer.param_groups:
                group["lr"] *= 0.5
        optimizer.step()


def distance(params, others):
    return max(
        float((a.detach().double() - b.detach().double()).abs().max())
        for a, b in zip(params, others, strict=True)
        if a.numel()
    )


@pytest.fixture
def launched(monkeypatch):
    """launched("adam") is a list to which kernels/adam.py adds the name of every kernel that it launches."""

    def listen(stem):
        names = []
        module = importlib.import_module(f"tritonnet.kernels.{stem}")
        launch = module.launch
        monkeypatch.setattr(
            module,
            "launch",
            lambda kernel, *args, **more: (names.append(kernel.__name__), launch(kernel, *args, **more)),
        )
        return names

    return listen
