"""Which tile a launch takes: what the device can hold, and what was measured on it (configs/<device>.json)."""

import functools
import json
import math
import pathlib
import re
from dataclasses import dataclass
from typing import Any

import torch

from ._errors import dtype_name

_CONFIGS = pathlib.Path(__file__).parent / "configs"


@dataclass(frozen=True)
class Target:
    """What a tile is chosen for.

    kind: "cpu" or "gpu", the key of a kernel file's table of default tiles.
    name: the device's name, and of its table under configs/.
    units: programs that run at the same time (streaming multiprocessors, cores).
    shared: bytes of fast memory that one program may fill (shared memory; half of a core's L2 cache).
    """

    kind: str
    name: str
    units: int
    shared: int


@functools.cache
def target(device: torch.device) -> Target:
    """The Target behind a torch device."""
    if device.type == "cpu":
        from .cpu import features

        return Target("cpu", features.name(), torch.get_num_threads(), features.l2_bytes() // 2)
    properties = torch.cuda.get_device_properties(device)
    name = re.sub(r"\W+", "_", properties.name)
    shared = getattr(properties, "shared_memory_per_block_optin", 48 << 10)
    return Target("gpu", name, properties.multi_processor_count, shared)


@functools.cache
def table(name: str) -> dict[str, list[dict[str, Any]]]:
    """The measured entries of a device by operation: `{"matmul": [{"dtype", "sizes", "tile", ...}, ...]}`."""
    path = _CONFIGS / f"{name}.json"
    return json.loads(path.read_text())["ops"] if path.exists() else {}


def measured(
    op: str, target: Target, dtype: torch.dtype, sizes: tuple[int, ...], layout: str = ""
) -> dict[str, int] | None:
    """The tile measured for the nearest sizes (in log2, at most one octave away in each), or None."""
    key = dtype_name(dtype)
    best, best_distance = None, math.inf
    for entry in table(target.name).get(op, []):
        if entry["dtype"] != key or entry.get("layout", "") != layout or len(entry["sizes"]) != len(sizes):
            continue
        steps = [abs(math.log2(max(a, 1) / max(b, 1))) for a, b in zip(sizes, entry["sizes"], strict=True)]
        if max(steps) <= 1 and sum(steps) < best_distance:
            best, best_distance = entry["tile"], sum(steps)
    return best
