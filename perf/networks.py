"""The networks whose training steps are timed, built from either library's `nn`."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any


def digits(nn: ModuleType) -> Any:
    """The network of examples/digits.py."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(64, 10),
    )


def mlp(nn: ModuleType) -> Any:
    """784-1024-1024-10."""
    return nn.Sequential(nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))


def lenet(nn: ModuleType) -> Any:
    """LeNet-5 on 28x28 grey levels, with maxima and relu."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def autoencoder(nn: ModuleType) -> Any:
    """The network of examples/autoencoder.py: 8x8 grey levels to eight numbers and back."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(512, 8),
        nn.Linear(8, 512),
        nn.GELU(),
        nn.Unflatten(1, (32, 4, 4)),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(32, 1, 3, padding=1),
    )


@dataclass(frozen=True)
class Network:
    """sizes: of one input. batch: how many inputs a step takes. classifies: else it learns to give back its inputs."""

    build: Callable[[ModuleType], Any]
    sizes: tuple[int, ...]
    batch: int = 128
    classifies: bool = True


NETWORKS = {
    "digits": Network(digits, (1, 8, 8)),
    "mlp": Network(mlp, (784,)),
    "lenet": Network(lenet, (1, 28, 28), batch=64),
    "autoencoder": Network(autoencoder, (1, 8, 8), classifies=False),
}
