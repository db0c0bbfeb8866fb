"""How often somebody may ask for something that costs us.

Owns: a sliding window a key and one for all keys together.
Never touches: the clock (callers pass `now`), what is asked.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable


class Allowance:
    """At most `per_key` of one key and `in_all` of all keys within `window_seconds`; remembers `keys_max` keys.

    A key that was forgotten for lack of room begins anew; the bound on all of them still holds.
    """

    def __init__(self, *, per_key: int, in_all: int, window_seconds: float, keys_max: int) -> None:
        self._per_key = per_key
        self._window_seconds = window_seconds
        self._keys_max = keys_max
        self._all: deque[float] = deque(maxlen=in_all)
        self._keys: OrderedDict[Hashable, deque[float]] = OrderedDict()

    def take(self, key: Hashable, *, now: float) -> bool:
        """Count one and return True, or return False when that would be over a bound."""
        times = self._keys.pop(key, None) or deque(maxlen=self._per_key)
        self._keys[key] = times
        while len(self._keys) > self._keys_max:
            self._keys.popitem(last=False)
        if self._is_full(times, now) or self._is_full(self._all, now):
            return False
        times.append(now)
        self._all.append(now)
        return True

    def has_room(self, key: Hashable, *, now: float) -> bool:
        """Whether `take` would return True now; nothing is counted."""
        times = self._keys.get(key)
        return not self._is_full(self._all, now) and (times is None or not self._is_full(times, now))

    def _is_full(self, times: deque[float], now: float) -> bool:
        return len(times) == times.maxlen and times[0] > now - self._window_seconds
