"""A wake-up call that is not lost when nobody sleeps yet.

Owns: one event, set until the next wait. Never touches: anything else.
"""

from __future__ import annotations

import math

import trio


class Alarm:
    """Many may ring, one waits; a ring before the wait ends it at once."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """End the wait that runs, or the next one."""
        self._event.set()

    async def wait(self, until: float = math.inf) -> None:
        """Return when it rang, or at `until` on trio's clock."""
        with trio.move_on_at(until):
            await self._event.wait()
        self._event = trio.Event()
