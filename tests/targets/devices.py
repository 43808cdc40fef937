"""The GPUs that every kernel is compiled for: what a tile is picked for there, and what limits it."""

import re
from dataclasses import dataclass

from triton.backends.compiler import GPUTarget

from tritonnet.kernels import _tune


@dataclass(frozen=True)
class Device:
    """arch: as Triton has it. units, shared: of the model named first in `names`; names: found in those of configs/."""

    name: str
    arch: int | str
    units: int
    shared: int
    names: str

    @property
    def amd(self) -> bool:
        return isinstance(self.arch, str)

    @property
    def compiles_for(self) -> GPUTarget:
        return GPUTarget("hip", self.arch, 64) if self.amd else GPUTarget("cuda", self.arch, 32)

    @property
    def target(self) -> _tune.Target:
        return _tune.Target("gpu", f"no such {self.name}", self.units, self.shared)

    def is_model(self, name: str) -> bool:
        return re.search(rf"(?<![A-Za-z0-9])({self.names})(?![0-9])", name) is not None


DEVICES = (
    Device("sm_80", 80, 108, 166912, "A100|A30|A800"),
    Device("sm_86", 86, 84, 101376, "A10|A10G|A40|A16|A2|A4000|A4500|A5000|A5500|A6000|RTX_30.."),
    Device("sm_89", 89, 142, 101376, "L40|L40S|L4|RTX_40..|RTX_[0-9]*_Ada"),
    Device("sm_90", 90, 132, 232448, "H100|H200|H800|GH200"),
    Device("sm_100", 100, 148, 232448, "B200|GB200|B300"),
    Device("sm_120", 120, 170, 101376, "RTX_50..|RTX_PRO_[0-9]*_Blackwell"),
    Device("gfx90a", "gfx90a", 104, 65536, "MI250X?|MI210"),
    Device("gfx942", "gfx942", 304, 65536, "MI300[AX]?|MI325X"),
)
WHOLE = "sm_90"
"""Where every kernel is compiled in every dtype."""
