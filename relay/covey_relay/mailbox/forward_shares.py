"""How much of the forwarding one asker, and relays that nobody vouched for, may take up.

Owns: who has how much under way, and for how long a relay that did not answer is left alone. Spec:
docs/spec/mailbox.md, "Limits". Never touches: the clock (callers pass `now`, seconds that never go back), streams,
what is forwarded.
"""

from collections import Counter, OrderedDict
from collections.abc import Collection, Hashable

from covey_core.peers import PeerId
from covey_relay import limits


class Shares:
    """What is under way: in all, for relays that are not listed, and for each address that asks."""

    def __init__(self) -> None:
        self._all = 0
        self._unlisted = 0
        self._of_address: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        """Return how much is under way."""
        return self._all

    def take(self, groups: Collection[Hashable], *, listed: bool) -> bool:
        """Take up one place for who asks from these `groups`, for a `listed` target or another; False when none is."""
        if self._all >= limits.FORWARDS or _most(self._of_address, groups) >= limits.FORWARDS_PER_ADDRESS:
            return False
        if not listed:
            if self._unlisted >= limits.FORWARDS_UNLISTED:
                return False
            self._unlisted += 1
        self._all += 1
        self._of_address.update(groups)
        return True

    def leave(self, groups: Collection[Hashable], *, listed: bool) -> None:
        """Give a place back that was taken with the same words."""
        self._all -= 1
        for group in groups:
            self._of_address[group] -= 1
            if not self._of_address[group]:
                del self._of_address[group]
        if not listed:
            self._unlisted -= 1


class Pauses:
    """Relays that did not answer. One that is not listed is left alone for twice as long each time.

    That it answered in between counts for nothing: one that wants to be waited for would answer now and then.
    """

    def __init__(self) -> None:
        self._failed: OrderedDict[PeerId, tuple[float, int]] = OrderedDict()  # when last, how often; the oldest first

    def __len__(self) -> int:
        """Return how many relays are remembered."""
        return len(self._failed)

    def failed(self, relay: PeerId, *, now: float) -> None:
        """Take note that a relay could not be reached, or was silent."""
        _, times = self._failed.pop(relay, (now, 0))
        self._failed[relay] = (now, times + 1)
        while len(self._failed) > limits.KNOWN_RELAYS:
            self._failed.popitem(last=False)

    def lasts(self, relay: PeerId, *, listed: bool, now: float) -> bool:
        """Whether the relay is to be left alone still."""
        while self._failed:
            oldest, (at, _) = next(iter(self._failed.items()))
            if now < at + limits.FORWARD_FORGET_SECONDS:
                break
            del self._failed[oldest]
        if relay not in self._failed:
            return False
        at, times = self._failed[relay]
        doublings = 0 if listed else min(times - 1, limits.FORWARD_PAUSE_DOUBLINGS)
        return now < at + limits.FORWARD_PAUSE_SECONDS * (1 << doublings)


def _most(counts: Counter[Hashable], groups: Collection[Hashable]) -> int:
    return max((counts[group] for group in groups), default=0)
