"""What became of a kernel on a GPU: registers, shared memory, spills, and what is wrong with it."""

import pathlib
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from typing import Any

import triton

from .builds import Build

# The product of a warp group of Hopper, and of Blackwell's tensor memory, has at least 64 rows.
GROUP_ROWS = 64
DOT = re.compile(r"tt\.dot .*?: tensor<(\d+)x(\d+)x(\w+)> \* tensor<\d+x(\d+)x\w+>")


@dataclass
class Report:
    """registers: of a thread, on AMD vector registers; spilled: bytes of local memory, on AMD registers."""

    kernel: str
    device: str
    build: str
    registers: int = 0
    shared: int = 0
    spilled: int = 0
    problems: list[str] = field(default_factory=list)


def report(build: Build) -> Report:
    """Compiles it and looks at the result."""
    made = Report(build.name, build.device.name, str(build))
    try:
        compiled = triton.compile(build.source, target=build.device.compiles_for, options=build.options)
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        made.problems.append(f"does not compile: {type(error).__name__}: {' '.join(lines[-2:])}")
        return made
    made.shared = compiled.metadata.shared
    made.registers, made.spilled = _usage_amd(compiled) if build.device.amd else _usage_nvidia(compiled)
    if made.spilled > 0:
        made.problems.append(f"spills {made.spilled} {'registers' if build.device.amd else 'bytes'}")
    if made.shared > build.device.shared:
        made.problems.append(f"{made.shared} bytes of shared memory, of {build.device.shared}")
    assembly = compiled.asm["amdgcn" if build.device.amd else "ptx"]
    made.problems += [
        f"no {wanted} for a product of {dot[3]} {dot[1]} x {dot[2]} x {dot[4]}"
        for dot in DOT.finditer(compiled.asm["ttir"])
        if (wanted := product(build, int(dot[1]), dot[3])) and wanted not in assembly
    ]
    return made


def product(build: Build, rows: int, dtype: str) -> str:
    """The instruction that multiplies tiles of half types, in assembly; "" for others."""
    if dtype not in ("f16", "bf16"):
        return ""
    if build.device.amd:
        return "v_mfma"
    large = rows >= GROUP_ROWS and build.options["num_warps"] >= 4
    return {"sm_90": "wgmma", "sm_100": "tcgen05.mma"}.get(build.device.name if large else "", "mma.sync")


def _usage_nvidia(compiled: Any) -> tuple[int, int]:
    tool = pathlib.Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [tool, "--dump-resource-usage", file.name]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    stack = re.search(r"STACK:(\d+)", usage)
    local = re.search(r"LOCAL:(\d+)", usage)
    registers = re.search(r"REG:(\d+)", usage)
    assert stack and local and registers, usage
    return int(registers[1]), int(stack[1]) + int(local[1])


def _usage_amd(compiled: Any) -> tuple[int, int]:
    def number(name: str) -> int:
        found = re.search(rf"\.{name}:\s*(\d+)", compiled.asm["amdgcn"])
        assert found, name
        return int(found[1])

    # Scalar registers that are kept in lanes of vector registers go to no memory.
    in_memory = int(number("private_segment_fixed_size") > 0)
    return number("vgpr_count"), in_memory * max(number("vgpr_spill_count") + number("sgpr_spill_count"), 1)
