"""What a benchmark found: rows, a table for people, build/bench/NAME.json for scripts.

Owns: the form of a result and of a target, medians and percentiles. Never touches: what is measured.
"""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench"


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A target: the value or more."""

    bound: float

    def met(self, value: float) -> bool:
        return value >= self.bound

    def __str__(self) -> str:
        return f">= {_shown(self.bound)}"


@dataclass(frozen=True, slots=True)
class AtMost:
    """A target: the value or less."""

    bound: float

    def met(self, value: float) -> bool:
        return value <= self.bound

    def __str__(self) -> str:
        return f"<= {_shown(self.bound)}"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `value` is None when it could not be measured; the benchmark printed why."""

    name: str
    value: float | None
    unit: str
    target: AtLeast | AtMost | None = None

    @property
    def met(self) -> bool | None:
        if self.target is None or self.value is None:
            return None
        return self.target.met(self.value)

    def as_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "value": None if self.value is None else float(f"{self.value:.6g}"),
            "unit": self.unit,
            "target": None if self.target is None else str(self.target),
            "met": self.met,
        }


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def load() -> str:
    """Return how busy the machine is, in words."""
    one, five, _ = os.getloadavg()
    return f"load {one:.1f} (1 min), {five:.1f} (5 min) on {os.cpu_count()} CPUs"


def note(text: str) -> None:
    """Say something about the run."""
    print(f"  {text}", flush=True)


def write(name: str, rows: Sequence[Row], folder: Path = OUT) -> Path:
    """Print the table of one benchmark and write its JSON file; return where it is."""
    width = max([len(row.name) for row in rows], default=0)
    print(f"\n{name}")
    for row in rows:
        value = "skipped" if row.value is None else _shown(row.value)
        target = "" if row.target is None else f"target {row.target}"
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        print(f"  {row.name:{width}}  {value:>10} {row.unit:16} {target:18} {verdict}".rstrip(), flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps([row.as_dict() for row in rows], indent=2) + "\n")
    return path


def _shown(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
