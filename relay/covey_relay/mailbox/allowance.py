"""How fast a peer, and everybody behind one address, may go on asking.

Owns: the token buckets and who is remembered. Spec: docs/spec/mailbox.md, "Limits". Never touches: the clock (callers
pass `now`), sockets, what is asked.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable

from covey_relay import limits


class Buckets:
    """A bucket of `burst` tokens for each key, refilled by `rate` a second; one that is full again is forgotten.

    When `keys_max` are remembered and none of them may be forgotten, somebody new waits: no use is forgotten early.
    """

    def __init__(self, *, rate: float, burst: float, keys_max: int = limits.MAILBOX_SEEN) -> None:
        self._rate = rate
        self._burst = burst
        self._keys_max = keys_max
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # least recently used first

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._levels)

    def wait_seconds(self, key: Hashable, *, now: float) -> float:
        """Return how long the key has to wait for its next token; 0.0 when one is there."""
        if key not in self._levels:
            return self._wait_for_room(now)
        return max(0.0, (1.0 - self._level(key, now)) / self._rate)

    def take(self, key: Hashable, *, now: float) -> None:
        """Take a token, after `wait_seconds` said that one is there."""
        level = self._level(key, now)
        self._levels[key] = (level - 1.0, now)
        self._levels.move_to_end(key)

    def _level(self, key: Hashable, now: float) -> float:
        level, at = self._levels.get(key, (self._burst, now))
        return min(self._burst, level + max(0.0, now - at) * self._rate)

    def _wait_for_room(self, now: float) -> float:
        while len(self._levels) >= self._keys_max:
            oldest = next(iter(self._levels))
            missing = self._burst - self._level(oldest, now)
            if missing > 0.0:
                return missing / self._rate
            del self._levels[oldest]
        return 0.0


class Allowance:
    """Buckets of peers and, `factor` times as large, of their addresses; all of them have a token or none is taken."""

    def __init__(
        self,
        *,
        rate: float,
        burst: float,
        factor: float = limits.MAILBOX_ADDRESS_FACTOR,
        keys_max: int = limits.MAILBOX_SEEN,
    ) -> None:
        self._peers = Buckets(rate=rate, burst=burst, keys_max=keys_max)
        self._addresses = Buckets(rate=rate * factor, burst=burst * factor, keys_max=keys_max)

    def take(self, peer: Hashable, addresses: Iterable[Hashable], *, now: float) -> float:
        """Count one command and return 0.0, or count nothing and return the seconds after which to ask again."""
        groups = tuple(addresses)
        wait = max(
            self._peers.wait_seconds(peer, now=now),
            *(self._addresses.wait_seconds(group, now=now) for group in groups),
            0.0,
        )
        if wait > 0.0:
            return wait
        self._peers.take(peer, now=now)
        for group in groups:
            self._addresses.take(group, now=now)
        return 0.0
