"""What holds for every test: threads shared out among pytest-xdist's workers, and a fixed seed."""

import os

import pytest
import torch


def pytest_configure(config: pytest.Config) -> None:
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
