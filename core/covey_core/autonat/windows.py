"""How often something may happen within a minute: several bounds at once, counted together.

Owns: one sliding window over what was admitted. Its memory is bounded by its own bounds. Spec: docs/spec/autonat.md.
Never touches: the clock (callers pass `now`), what is counted.
"""

from collections import Counter, deque
from collections.abc import Hashable, Mapping


class SlidingWindow:
    """Admits an event when none of its keys has reached its bound within the last `seconds`."""

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self._admitted: deque[tuple[float, tuple[Hashable, ...]]] = deque()
        self._counts: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        """Return how many events are remembered."""
        return len(self._admitted)

    def admit(self, bounds: Mapping[Hashable, int], *, now: float) -> bool:
        """Count one event under every key of `bounds`, or count nothing and return False when one is at its bound."""
        self._forget(now)
        if any(self._counts[key] >= bound for key, bound in bounds.items()):
            return False
        self._admitted.append((now, tuple(bounds)))
        self._counts.update(bounds.keys())
        return True

    def _forget(self, now: float) -> None:
        while self._admitted and now - self._admitted[0][0] >= self._seconds:
            _, keys = self._admitted.popleft()
            for key in keys:
                self._counts[key] -= 1
                if not self._counts[key]:
                    del self._counts[key]
