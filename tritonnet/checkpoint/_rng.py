"""States of the random number generators: Python's, numpy's, torch's on the CPU and on every CUDA device."""

import random
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor


def collect() -> dict[str, Any]:
    """The states as plain values. CUDA's are taken only where CUDA is in use, so that nothing starts it."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {
        "python": random.getstate(),
        "numpy": [kind, keys.tolist(), position, has_gauss, gauss],  # type: ignore[union-attr,attr-defined]
        "torch": bytes(torch.get_rng_state().numpy()),
        "cuda": [bytes(state.numpy()) for state in cuda],
    }


def restore(states: dict[str, Any]) -> None:
    """Put the generators into the states. Warns: where this machine's CUDA devices are not the saved run's."""
    random.setstate(states["python"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(_state(states["torch"]))
    saved, here = len(states["cuda"]), torch.cuda.device_count() if states["cuda"] else 0
    for device in range(min(saved, here)):
        torch.cuda.set_rng_state(_state(states["cuda"][device]), device)
    if here < saved:
        warnings.warn(
            f"load: the checkpoint has random states of {saved} CUDA devices and {here} are here; "
            "the run goes on with other random numbers than it would have had",
            stacklevel=3,
        )


def _state(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
