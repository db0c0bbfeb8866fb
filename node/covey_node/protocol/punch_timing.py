"""When to try again to come to a direct connection, while a device is reached through a relay only.

Owns: the time of the next punch to one device. Spec: docs/spec/paths.md, "Punching again".
Never touches: how a punch is made, sockets, trio, the clock (callers pass `now`), randomness (injected).

The first punch on a relayed connection is the puncher's own; this is about the later ones.
"""

from __future__ import annotations

from collections.abc import Callable

from covey_node import limits
from covey_node.protocol.backoff import Backoff

AGAIN = Backoff(limits.PUNCH_AGAIN_SECONDS_MIN, limits.PUNCH_AGAIN_SECONDS_MAX)
"""The waits between punches that fail."""


class PunchTiming:
    """Due at some time while `wanted`: a relayed connection stands that lets us start, and no direct one."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._wanted = False
        self._under_way = False
        self._direct_since: float | None = None
        self.failures = 0
        self.due: float | None = None

    def paths_changed(self, *, direct: bool, startable: bool, now: float) -> None:
        """Tell what stands: any direct connection; a relayed one that lets us start (we received it)."""
        lost_after = None
        if direct and self._direct_since is None:
            self._direct_since = now
        elif not direct and self._direct_since is not None:
            lost_after, self._direct_since = now - self._direct_since, None
        wanted = startable and not direct
        if lost_after is not None and lost_after >= limits.PUNCH_LASTED_SECONDS:
            self.failures = 0
            if wanted:
                self.due = now
        elif lost_after is not None:  # it died as soon as it was there: that is a failure
            self._fail(now)
        elif wanted and not self._wanted:
            self.due = now + self._pause()
        self._wanted = wanted

    def network_changed(self, *, now: float) -> None:
        """Everything may be different: try soon, once the relays have been told."""
        self.failures = 0
        self.due = now + limits.PUNCH_SETTLE_SECONDS

    def next_due(self) -> float | None:
        """Return when the next punch is due, None while none is wanted."""
        return self.due if self._wanted and not self._under_way else None

    def started(self) -> None:
        """A punch is being made."""
        self._under_way = True

    def ended(self, *, now: float) -> None:
        """The punch is over; whether it worked is seen by the direct connection."""
        self._under_way = False
        if self._wanted:
            self._fail(now)

    def _fail(self, now: float) -> None:
        self.failures += 1
        self.due = now + self._pause()

    def _pause(self) -> float:
        return AGAIN.wait_seconds(max(1, self.failures), random=self._random)
