"""What earlier runs found, so that nothing is compiled twice."""

import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

import torch
import triton

from .reports import Report

ROOT = pathlib.Path(__file__).parents[2]
PATH = ROOT / ".targets" / "ledger.json"


@dataclass
class Ledger:
    """reports: by the key of a build. wanted: for each device the keys of what was to be compiled for it.

    checks, sources: of the files as they were when the run began, and not as they may have become meanwhile.
    """

    checks: str
    sources: str
    reports: dict[str, Report] = field(default_factory=dict)
    wanted: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls) -> "Ledger":
        """The one of the run before: without reports where the checks have changed since, or without what was wanted
        where anything has that this is recorded from."""
        kept = json.loads(PATH.read_text()) if PATH.exists() else {}
        ledger = cls(checks(), sources())
        if kept.get("checks") == ledger.checks:
            ledger.reports = {key: Report(**report) for key, report in kept["reports"].items()}
        if kept.get("sources") == ledger.sources:
            ledger.wanted = kept["wanted"]
        return ledger

    def write(self) -> None:
        PATH.parent.mkdir(exist_ok=True)
        unfinished = PATH.with_suffix(f".{os.getpid()}")
        reports = {key: asdict(report) for key, report in self.reports.items()}
        kept = {"checks": self.checks, "sources": self.sources, "wanted": self.wanted, "reports": reports}
        unfinished.write_text(json.dumps(kept))
        unfinished.replace(PATH)

    def complete(self, device: str) -> bool:
        """Whether all that is wanted for a device is known, and was compiled."""
        return device in self.wanted and self.reports.keys() >= set(self.wanted[device])

    def forget_others(self) -> None:
        """Drops the reports that no device wants any more."""
        wanted = {key for keys in self.wanted.values() for key in keys}
        self.reports = {key: report for key, report in self.reports.items() if key in wanted}


def checks() -> str:
    """A digest of what is looked for in a compiled kernel."""
    return _digest([pathlib.Path(__file__).with_name("reports.py")])


def sources() -> str:
    """A digest of all that decides what is compiled: the kernels, their tiles, the examples, the choice among them."""
    here, kernels = pathlib.Path(__file__).parent, ROOT / "kernels"
    files = [*kernels.rglob("*.py"), *kernels.glob("configs/*.json"), *here.glob("*.py")]
    return _digest([*files, *(ROOT / "tests/kernels/examples").glob("*.py")])


def _digest(files: Iterable[pathlib.Path]) -> str:
    digest = hashlib.sha256(repr((triton.__version__, torch.__version__, sys.version)).encode())
    for path in sorted(files):
        digest.update(f"{path.relative_to(ROOT)}".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
