"""Who is told of new messages: one stream a queue.

Owns: the subscriptions of all streams, and which of them have something to fetch. Spec: docs/spec/mailbox.md, "A
stream". Never touches: streams, the store, who may subscribe.

Queues are known by their owner's key here, which both lookups of the store give: a deposit knows only the sending id.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final


@dataclass(slots=True, eq=False)
class Subscription:
    """A queue of which a stream hears: `after` is the last number pushed, `request_id` the SUB's."""

    feed: "Feed"
    recv_key: bytes
    recv_id: bytes
    request_id: int
    after: int


class Subscriptions:
    """The subscriptions of all streams. A queue has one at most; the latest wins."""

    def __init__(self) -> None:
        self._by_key: Final[dict[bytes, Subscription]] = {}

    def __len__(self) -> int:
        """Return how many queues are subscribed to."""
        return len(self._by_key)

    def wake(self, recv_key: bytes) -> None:
        """Something was deposited in this queue."""
        found = self._by_key.get(recv_key)
        if found is not None:
            found.feed.is_due(found)

    def wake_all(self) -> None:
        """Something may have been deposited anywhere."""
        for one in self._by_key.values():
            one.feed.is_due(one)

    def begin(self, subscription: Subscription) -> None:
        """Put a subscription in the place of the one that the queue had, on whatever stream."""
        former = self._by_key.get(subscription.recv_key)
        if former is not None:
            former.feed.lost(former)
        self._by_key[subscription.recv_key] = subscription

    def end(self, subscription: Subscription) -> None:
        """Forget a subscription, unless another has taken its place."""
        if self._by_key.get(subscription.recv_key) is subscription:
            del self._by_key[subscription.recv_key]


class Feed:
    """The subscriptions of one stream. `changed` is called when something is due, or their number has changed."""

    def __init__(self, everywhere: Subscriptions, *, changed: Callable[[], None]) -> None:
        self._everywhere = everywhere
        self._changed = changed
        self._mine: Final[set[Subscription]] = set()
        self._due: Final[dict[Subscription, None]] = {}  # in the order in which they became due

    def __len__(self) -> int:
        """Return how many queues this stream is subscribed to."""
        return len(self._mine)

    @property
    def has_due(self) -> bool:
        """Whether there may be something to push."""
        return bool(self._due)

    def begin(self, *, recv_key: bytes, recv_id: bytes, request_id: int, after: int) -> None:
        """Subscribe to a queue; what lies in it behind `after` is due at once."""
        subscription = Subscription(self, recv_key, recv_id, request_id, after)
        self._everywhere.begin(subscription)
        self._mine.add(subscription)
        self.is_due(subscription)

    def take_due(self, most: int) -> list[Subscription]:
        """Return up to `most` subscriptions to look after, those that became due first; they are due no longer."""
        taken = list(islice(self._due, most))
        for one in taken:
            del self._due[one]
        return taken

    def holds(self, subscription: Subscription) -> bool:
        """Whether the subscription still stands."""
        return subscription in self._mine

    def is_due(self, subscription: Subscription) -> None:
        """There may be something to push for this subscription."""
        if subscription in self._mine:
            self._due[subscription] = None
            self._changed()

    def end(self, subscription: Subscription) -> None:
        """End a subscription: its queue is gone."""
        self._everywhere.end(subscription)
        self.lost(subscription)

    def lost(self, subscription: Subscription) -> None:
        """Take note that another stream has the queue now."""
        self._mine.discard(subscription)
        self._due.pop(subscription, None)
        self._changed()

    def close(self) -> None:
        """End all: the stream is over."""
        for one in self._mine:
            self._everywhere.end(one)
        self._mine.clear()
        self._due.clear()
