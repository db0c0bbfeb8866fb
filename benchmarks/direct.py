"""How long a relayed connection takes to become a direct one, by pair of NAT kinds, in the namespace lab.

Owns: the figures. What a run is: tests/nat/lab/runs.py. Targets: docs/benchmarks.md.
"""

from __future__ import annotations

from benchmarks.report import AtLeast, AtMost, Row, load, median, note, percentile
from tests.nat.lab.runs import Meeting, Run, meeting
from tests.nat.lab.topology import LabUnavailable

DIRECT = {
    (1, 1): 0.5,
    (3, 3): 0.6,
    (1, 3): 0.6,
}  # pairs that must become direct, and the aim of their median in seconds
RELAYED = ((2, 1), (2, 2))
P95_SECONDS = 1.0
DELIVERED_SECONDS = 1.0
RUNS = 100


def run(*, quick: bool) -> list[Row]:
    """Let every pair meet a hundred times."""
    runs = 3 if quick else RUNS
    try:
        with meeting() as pair:
            rows = [row for kinds in DIRECT for row in _direct(pair, kinds, runs)]
            return rows + [row for kinds in RELAYED for row in _relayed(pair, kinds, runs)]
    except LabUnavailable as problem:
        note(f"not measured: {problem}")
        return [Row(f"kinds {a}/{b}: median time to direct", None, "s", AtMost(aim)) for (a, b), aim in DIRECT.items()]


def _direct(pair: Meeting, kinds: tuple[int, int], runs: int) -> list[Row]:
    name = f"kinds {kinds[0]}/{kinds[1]}"
    found = _meet(pair, kinds, runs, wait_for_direct=True)
    times = [one.direct_seconds for one in found if one.direct_seconds is not None]
    over = {transport: sum(one.transport == transport for one in found) for transport in ("tcp", "quic")}
    note(f"{name}: {over['tcp']} over TCP, {over['quic']} over QUIC; {load()}")
    return [
        Row(f"{name}: direct", len(times), f"of {runs}", AtLeast(runs)),
        Row(f"{name}: median time to direct", median(times) if times else None, "s", AtMost(DIRECT[kinds])),
        Row(f"{name}: p95 time to direct", percentile(times, 0.95) if times else None, "s", AtMost(P95_SECONDS)),
    ]


def _relayed(pair: Meeting, kinds: tuple[int, int], runs: int) -> list[Row]:
    name = f"kinds {kinds[0]}/{kinds[1]}"
    found = _meet(pair, kinds, runs, wait_for_direct=False)
    times = [one.delivered_seconds for one in found]
    note(f"{name}: {sum(one.path == 'relayed' for one in found)} paths are relayed; {load()}")
    return [
        Row(f"{name}: delivered through a relay within {DELIVERED_SECONDS:g} s",
            sum(one <= DELIVERED_SECONDS for one in times), f"of {runs}", AtLeast(runs)),
        Row(f"{name}: send until delivered, median", median(times), "s"),
        Row(f"{name}: send until delivered, p95", percentile(times, 0.95), "s"),
    ]  # fmt: skip


def _meet(pair: Meeting, kinds: tuple[int, int], runs: int, *, wait_for_direct: bool) -> list[Run]:
    pair.be(*kinds)
    return [pair.run(wait_for_direct=wait_for_direct) for _ in range(runs)]
