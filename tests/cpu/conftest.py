"""What several files of tests of the CPU backend ask for."""

from collections.abc import Iterator

import pytest

from tritonnet.kernels import cpu


@pytest.fixture
def activated() -> Iterator[None]:
    """Other people's `kernel[grid](...)` on CPU tensors goes to the backend."""
    cpu.activate()
    yield
    cpu.deactivate()
