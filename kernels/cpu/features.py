"""What this machine's CPU is: its name for tile tables, its cache, and the flags that compiled code depends on."""

import functools
import os
import pathlib
import platform

_DEFAULT_L2 = 1 << 20


@functools.cache
def _cpuinfo() -> dict[str, str]:
    """The first processor's entries in /proc/cpuinfo; empty where there is no such file."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    lines = text.split("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def machine() -> str:
    """The architecture: "x86_64", "aarch64", ..."""
    return platform.machine()


@functools.cache
def flags() -> tuple[str, ...]:
    """The instruction set extensions that the kernel reports, sorted; "flags" on x86, "Features" on ARM."""
    found = _cpuinfo().get("flags") or _cpuinfo().get("Features") or ""
    return tuple(sorted(found.split()))


@functools.cache
def instruction_set() -> str:
    """The widest vector extension, as a word for names: "avx512", "avx2", "neon", ... or the machine's own name."""
    have = set(flags())
    if {"avx512f", "avx512bw", "avx512vl"} <= have:
        return "avx512"
    for flag, name in (("avx2", "avx2"), ("avx", "avx"), ("sse2", "sse2"), ("sve", "sve"), ("asimd", "neon")):
        if flag in have:
            return name
    return machine() or "unknown"


@functools.cache
def cores() -> int:
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def name() -> str:
    """Instruction set and cores, fit for a file name: "cpu_avx512_2c"."""
    return f"cpu_{instruction_set()}_{cores()}c"


@functools.cache
def l2_bytes() -> int:
    """Bytes of one core's L2 cache; 1 MiB where the system does not say."""
    for index in pathlib.Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            if (index / "level").read_text().strip() == "2":
                return _bytes((index / "size").read_text().strip())
        except (OSError, ValueError):
            continue
    return _DEFAULT_L2


def _bytes(size: str) -> int:
    """Sysfs's "1024K" as a number."""
    scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(size[-1:], 1)
    return int(size.rstrip("KMG")) * scale


@functools.cache
def fingerprint() -> tuple[str, ...]:
    """All that code compiled for this very CPU may depend on."""
    model = ("vendor_id", "cpu family", "model", "stepping", "CPU implementer", "CPU part", "CPU variant")
    return (machine(), *(_cpuinfo().get(key, "") for key in model), *flags())
