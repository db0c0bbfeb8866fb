"""How long to wait before the next attempt.

Owns: jittered exponential backoff. Randomness is injected. Source: "Exponential Backoff
And Jitter" (AWS Architecture Blog, 2015), variant "equal jitter": a network that lost its relay must not
come back in step.
Never touches: the clock, trio.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from covey_node.limits import BACKOFF_FACTOR, BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS


@dataclass(frozen=True, slots=True)
class Backoff:
    """The bounds of a wait: after failed attempt n (from 1) it is at most first * factor^(n-1), and `max_seconds`."""

    first_seconds: float = BACKOFF_FIRST_SECONDS
    max_seconds: float = BACKOFF_MAX_SECONDS
    factor: float = BACKOFF_FACTOR

    def __post_init__(self) -> None:
        """Refuse bounds that would make waits shrink or vanish."""
        if not (0 < self.first_seconds <= self.max_seconds and self.factor >= 1):
            raise ValueError(
                f"backoff from {self.first_seconds} to {self.max_seconds} s by {self.factor} makes no sense"
            )

    def longest_seconds(self, attempts: int) -> float:
        """Return the longest wait after `attempts` failed attempts (1 or more)."""
        wait = self.first_seconds
        for _ in range(attempts - 1):
            wait *= self.factor
            if wait >= self.max_seconds:
                return self.max_seconds
        return wait

    def wait_seconds(self, attempts: int, *, random: Callable[[], float]) -> float:
        """Return the wait after `attempts` failed attempts: between half the longest wait and all of it.

        `random` returns a float in [0, 1), as `random.Random.random` does.
        """
        longest = self.longest_seconds(attempts)
        return longest / 2 + random() * longest / 2


OUTBOX = Backoff()
"""The backoff of packets in the outbox."""
