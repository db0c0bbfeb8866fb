"""One path to a device: when it was heard, asked, used up, and how good it is.

Owns: the state of one connection in path_table.py. Spec: docs/spec/paths.md.
Never touches: other paths, the clock (callers pass `now`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from covey_node import limits
from covey_node.protocol.path_facts import PathFacts
from covey_node.protocol.paths import PathKind


@dataclass(slots=True)
class PathState:
    """A path in the table."""

    facts: PathFacts
    opened_at: float
    heard_at: float = -math.inf  # the last answer or acknowledgement that came over it
    probed_at: float = -math.inf  # the last probe that began a question (not the second after a miss)
    asked_at: float | None = None  # since when a question is open
    misses: int = 0
    rtt: float | None = None
    dead: bool = False
    dropped: bool = False
    ask_now: bool = False
    sent_bytes: int = 0
    renewed_at: float = -math.inf

    def is_stale(self, now: float) -> bool:
        """Whether it is a circuit that ends soon."""
        facts = self.facts
        return (
            now >= self.opened_at + facts.lasts_seconds * limits.CIRCUIT_RENEW_SHARE
            or self.sent_bytes >= facts.carries_bytes * limits.CIRCUIT_RENEW_SHARE
        )

    def rank(self, now: float) -> int:
        """Return how good the path is, lower is better: LAN, direct over TCP, over QUIC, relayed, ending soon."""
        if self.facts.relayed:
            return 4 if self.is_stale(now) else 3
        if self.facts.kind is PathKind.LAN:
            return 0
        return 2 if self.facts.via == "quic" else 1

    @property
    def is_proven(self) -> bool:
        """Whether something came over it, and it is not in doubt."""
        return self.heard_at >= self.opened_at and not self.misses and not self.dead

    def is_silent(self, now: float) -> bool:
        """Whether a probe has been without an answer for longer than answers take; it is no miss yet."""
        return self.asked_at is not None and now - self.asked_at >= limits.PATH_FIRST_PROBE_SECONDS

    @property
    def miss_due(self) -> float:
        """When the open question kills the path; infinite while none is open."""
        if self.asked_at is None:
            return math.inf
        return self.asked_at + limits.PATH_FIRST_MISS_SECONDS + limits.PATH_SECOND_MISS_SECONDS

    @property
    def renew_due(self) -> float:
        """When a circuit in use is to be replaced. Who dialed it comes first, who was called only if that failed."""
        facts = self.facts
        if not facts.relayed:
            return math.inf
        share = limits.CIRCUIT_RENEW_SHARE if facts.ours else (1 + limits.CIRCUIT_RENEW_SHARE) / 2
        due = self.opened_at + facts.lasts_seconds * share
        if self.sent_bytes >= facts.carries_bytes * limits.CIRCUIT_RENEW_SHARE:
            due = -math.inf
        return max(due, self.renewed_at + limits.CIRCUIT_RENEW_RETRY_SECONDS)

    def word(self, *, used: bool) -> str:
        """Return the state in a word: new, standby, used, doubted, dead."""
        if self.dead:
            return "dead"
        if self.misses:
            return "doubted"
        if used:
            return "used"
        return "standby" if self.is_proven else "new"
