"""Random number generators: the global ones of Python, numpy and torch (CPU and every CUDA device), and any other."""

import random
import warnings
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor


def collect() -> dict[str, Any]:
    """The global states as plain values. CUDA's are taken only where CUDA is in use, so that nothing starts it."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002
        "torch": bytes(torch.get_rng_state().numpy()),
        "cuda": [bytes(state.numpy()) for state in cuda],
    }


def restore(states: dict[str, Any]) -> None:
    """Put the global generators into the states. Warns: where this machine's CUDA devices are not the saved run's."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.set_rng_state(_tensor(states["torch"]))
    saved, here = len(states["cuda"]), torch.cuda.device_count() if states["cuda"] else 0
    for device in range(min(saved, here)):
        torch.cuda.set_rng_state(_tensor(states["cuda"][device]), device)
    if here < saved:
        warnings.warn(
            f"load: the checkpoint has random states of {saved} CUDA devices and {here} are here; "
            "the run goes on with other random numbers than it would have had",
            stacklevel=3,
        )


def is_generator(value: object) -> bool:
    """Whether the two functions below know it."""
    return isinstance(value, Generator | random.Random | np.random.Generator)


def get(generator: Any) -> Any:
    """The state of a generator as a plain value."""
    if isinstance(generator, Generator):
        return bytes(generator.get_state().numpy())
    return generator.getstate() if isinstance(generator, random.Random) else generator.bit_generator.state


def put(generator: Any, state: Any) -> None:
    """Give a generator a state of `get`. Raises: ValueError, TypeError or RuntimeError if it is another's."""
    if isinstance(generator, Generator):
        generator.set_state(_tensor(state))
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.bit_generator.state = state


def _tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
