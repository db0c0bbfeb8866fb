"""Outcomes of hole punches on their way to a relay: delayed, mixed, and only where they cannot be tied to a pair.

Owns: what is reported when. Spec: docs/spec/report.md, section "When a node reports".
Never touches: streams, trio, the clock (callers pass `now`), the source of randomness (callers pass `random`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from covey_core.wire.report import PunchKind
from covey_node import limits


@dataclass(frozen=True, slots=True)
class _Waiting:
    peer: Hashable
    kind: PunchKind
    ended_at: float
    ready_at: float


class ReportBatch:
    """What waits to be reported. `random` gives numbers uniform in 0..1."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._waiting: deque[_Waiting] = deque(maxlen=limits.REPORTS_WAITING)  # the oldest goes when it is full
        self._not_before = 0.0

    def __len__(self) -> int:
        """Return the number of outcomes that wait."""
        return len(self._waiting)

    def add(self, peer: Hashable, kind: PunchKind, *, now: float) -> None:
        """Take the outcome of a punch with `peer`; the peer is only told apart from others, and never reported."""
        span = limits.REPORT_DELAY_SECONDS_MAX - limits.REPORT_DELAY_SECONDS_MIN
        delay = limits.REPORT_DELAY_SECONDS_MIN + span * self._random()
        self._waiting.append(_Waiting(peer, kind, now, now + delay))

    def due(self, *, now: float) -> dict[PunchKind, int] | None:
        """Return the report to send now, None for none: outcomes whose time has come, of enough different peers."""
        self._forget(now)
        ready = [one for one in self._waiting if one.ready_at <= now]
        if now < self._not_before or len({one.peer for one in ready}) < limits.REPORT_PEERS_MIN:
            return None
        self._waiting = deque((one for one in self._waiting if one.ready_at > now), maxlen=limits.REPORTS_WAITING)
        self._not_before = now + limits.REPORT_PAUSE_SECONDS * (1.0 + self._random())
        return dict(Counter(one.kind for one in ready))

    def next_deadline(self) -> float | None:
        """Return when `due` may have something, None while too few peers are waiting for it."""
        first_ready: dict[Hashable, float] = {}
        for one in self._waiting:
            first_ready[one.peer] = min(one.ready_at, first_ready.get(one.peer, one.ready_at))
        if len(first_ready) < limits.REPORT_PEERS_MIN:
            return None
        return max(self._not_before, sorted(first_ready.values())[limits.REPORT_PEERS_MIN - 1])

    def _forget(self, now: float) -> None:
        while self._waiting and self._waiting[0].ended_at <= now - limits.REPORT_KEEP_SECONDS:
            self._waiting.popleft()
