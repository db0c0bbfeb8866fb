"""Whether a QUIC connection's peer is still there: probes, their answers, how long they took.

Owns: when a probe is due, and the verdict. Spec: RFC 9000, 10.1.2 and 19.2; docs/spec/host.md.
Never touches: packets, streams; the connection sends the probes and is told to end.
"""

from collections.abc import Callable
from typing import Final

import trio


class QuicLiveness:
    """The probes of one connection. `ping` sends one that carries a number."""

    def __init__(self, ping: Callable[[int], None], *, interval_seconds: float, timeout_seconds: float) -> None:
        self._ping: Final = ping
        self._interval_seconds: Final = interval_seconds
        self._timeout_seconds: Final = timeout_seconds
        self._number = 0
        self._answered = trio.Event()
        self._doubted = trio.Event()
        self.rtt_seconds = 0.0
        """How long the last probe took, 0.0 before the first."""

    def doubt(self) -> None:
        """Probe the peer now: somebody waited for it in vain."""
        self._doubted.set()

    def answered(self, number: int) -> None:
        """A probe was answered."""
        if number == self._number:
            self._answered.set()

    async def run(self) -> None:
        """Probe the peer, which also keeps the NAT's mapping, and return when it does not answer."""
        while True:
            with trio.move_on_after(self._interval_seconds):
                await self._doubted.wait()
            self._doubted = trio.Event()
            if not await self._answers():
                return

    async def _answers(self) -> bool:
        self._number += 1
        self._answered = trio.Event()
        began = trio.current_time()
        self._ping(self._number)
        with trio.move_on_after(self._timeout_seconds):
            await self._answered.wait()
            self.rtt_seconds = trio.current_time() - began
            return True
        return False
