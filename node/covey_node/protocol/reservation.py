"""When to ask a relay for a slot, when to ask again, and how long to pause after a failure.

Owns: the timetable of one relay. Spec: docs/spec/circuit.md (client side).
Never touches: sockets, trio, the clock (callers pass `now`), randomness (callers pass `jitter`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from covey_node import limits


class Phase(Enum):
    """Where we stand with the relay."""

    WANTED = "wanted"
    HELD = "held"
    PAUSED = "paused"


@dataclass(slots=True)
class ReservationTimetable:
    """The timetable of one relay: `wait_until` says when the next request is due.

    A relay that refuses to renew a slot leaves it as it was: the phase is PAUSED then, and the slot `held` to its end.
    """

    phase: Phase = Phase.WANTED
    expires_at: float | None = None
    reason: str | None = None
    failures: int = 0
    wait_until: float = 0.0

    def held(self, *, now: float) -> bool:
        """Whether the relay keeps a slot for us at `now`."""
        return self.expires_at is not None and now < self.expires_at

    def granted(self, expires_at: float, *, now: float) -> None:
        """The relay keeps a slot until `expires_at`; ask again before."""
        self.phase = Phase.HELD
        self.expires_at = expires_at
        self.reason = None
        self.failures = 0
        lifetime = max(0.0, expires_at - now)
        self.wait_until = now + max(1.0, lifetime * limits.RESERVATION_REFRESH_SHARE)

    def failed(self, reason: str, *, now: float, jitter: float) -> None:
        """A request failed; `jitter` is uniform in 0..1 and spreads the next tries of many clients."""
        self.phase = Phase.PAUSED
        self.reason = reason
        pause = min(limits.RELAY_RETRY_SECONDS_MAX, limits.RELAY_RETRY_SECONDS_MIN * 2.0 ** min(self.failures, 20))
        self.failures += 1
        self.wait_until = now + pause * (0.5 + 0.5 * jitter)

    def lost(self) -> None:
        """The connection to the relay ended, and with it the slot."""
        self.expires_at = None
        if self.phase is Phase.HELD:
            self.phase = Phase.WANTED

    def released(self, reason: str) -> None:
        """The slot is not renewed: others are kept instead. It ends by itself."""
        self.phase = Phase.WANTED
        self.reason = reason
        self.wait_until = 0.0

    def start_afresh(self) -> None:
        """What failed before says nothing any more: a pause ends."""
        self.failures = 0
        if self.phase is Phase.PAUSED:
            self.phase = Phase.WANTED
            self.wait_until = 0.0

    def is_settled(self, *, now: float) -> bool:
        """Whether the relay keeps a slot and has not refused to renew it."""
        return self.phase is Phase.HELD and self.held(now=now)
