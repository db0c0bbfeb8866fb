"""What is sent next to one device, what is under way, and when to try again.

Owns: the order, the window and the retry times of one device's deliveries. Spec: docs/spec/delivery.md.
Never touches: sockets, trio, the database, the clock (callers pass `now`), randomness (callers pass `jitter`).

    empty ──queue──> closed ──next: Open──> opening ──opened──> open ──next: Send──> open
                       ^  ^                    │                  ├──moved──> open   (over a better path)
                       │  └──open_failed───────┘                  │
                       └───────────────stream_lost────────────────┘   (what was under way is queued again, in order)
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum

from covey_core.errors import ProtocolViolation
from covey_node import limits
from covey_node.protocol.backoff import OUTBOX, Backoff
from covey_node.protocol.frames import Outcome


class Phase(Enum):
    """Where the lane stands with its stream."""

    CLOSED = "closed"
    OPENING = "opening"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Open:
    """A path and a stream are wanted now."""


@dataclass(frozen=True, slots=True)
class Send:
    """This delivery is to be written now as packet `number`."""

    number: int
    delivery: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until` (None: before something is queued, acknowledged or lost)."""

    until: float | None


@dataclass(frozen=True, slots=True)
class Settled:
    """The other device answered for this delivery."""

    delivery: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _UnderWay:
    delivery: int
    deadline: float


class Lane:
    """The deliveries to one device, by ids that grow. Every one is settled exactly once, or is still in here."""

    def __init__(self, backoff: Backoff = OUTBOX) -> None:
        self.phase = Phase.CLOSED
        self.reason: str | None = None
        self.failures = 0
        self._backoff = backoff
        self._not_before = 0.0
        self._number = 0
        self._waiting: OrderedDict[int, None] = OrderedDict()
        self._under_way: OrderedDict[int, _UnderWay] = OrderedDict()
        self._ids: set[int] = set()

    @property
    def empty(self) -> bool:
        """Whether nothing is waiting and nothing under way."""
        return not self._ids

    @property
    def not_before(self) -> float:
        """The time of the next try, 0 when one may be made at once."""
        return self._not_before

    @property
    def under_way(self) -> int:
        """How many packets were written and are not acknowledged."""
        return len(self._under_way)

    def __contains__(self, delivery: int) -> bool:
        """Whether the delivery waits in here or is under way."""
        return delivery in self._ids

    def __len__(self) -> int:
        """Return how many deliveries wait or are under way."""
        return len(self._ids)

    def queue(self, delivery: int) -> None:
        """Append a delivery; one that is already in here keeps its place."""
        if delivery not in self._ids:
            self._ids.add(delivery)
            self._waiting[delivery] = None

    def withdraw(self, delivery: int) -> None:
        """Forget a delivery that no longer is to be made; one under way is left to its acknowledgement."""
        if delivery in self._waiting:
            del self._waiting[delivery]
            self._ids.discard(delivery)

    def peer_appeared(self, *, now: float) -> None:
        """The peer was seen: a pause ends now."""
        self._not_before = min(self._not_before, now)
        self.failures = 0

    def next(self, *, now: float) -> Open | Send | Wait:
        """Return what to do at `now`."""
        if self.phase is Phase.OPEN:
            return self._next_when_open(now)
        if self.phase is Phase.OPENING or not self._waiting:
            return Wait(None)
        return Open() if now >= self._not_before else Wait(self._not_before)

    def opening(self) -> None:
        """A stream is being opened."""
        self.phase = Phase.OPENING

    def opened(self) -> None:
        """The stream stands."""
        self.phase = Phase.OPEN
        self.reason = None
        self._number = 0

    def open_failed(self, reason: str, *, now: float, jitter: float, at_once: bool = False) -> None:
        """No path or stream could be had, for `reason` in words; `at_once`: another path stands, no pause follows."""
        self._close(reason, now=now, jitter=jitter, at_once=at_once)

    def stream_lost(self, reason: str, *, now: float, jitter: float, at_once: bool = False) -> None:
        """The stream ended: what was not acknowledged is sent again, first, in the old order."""
        self._put_back(*self._under_way.values())
        self._under_way.clear()
        self._close(reason, now=now, jitter=jitter, at_once=at_once)

    def moved(self) -> None:
        """Another stream takes over, on a better path: what was not acknowledged goes over that one, first."""
        self._put_back(*self._under_way.values())
        self._under_way.clear()
        self._number = 0

    def idle_closed(self) -> None:
        """The stream was closed because nothing was to be sent; no pause follows."""
        self.phase = Phase.CLOSED

    def sending(self, send: Send, *, now: float) -> None:
        """Packet `send` is being written."""
        del self._waiting[send.delivery]
        self._number = send.number
        self._under_way[send.number] = _UnderWay(send.delivery, now + limits.ACK_SECONDS)

    def acked(self, number: int, outcome: Outcome, *, now: float, jitter: float) -> Settled | None:
        """Take an acknowledgement; None when the delivery is tried again. ProtocolViolation for a strange number."""
        item = self._under_way.pop(number, None)
        if item is None:
            raise ProtocolViolation(f"acknowledgement of packet {number}, which is not under way")
        if outcome is Outcome.RETRY_LATER:
            self._put_back(item)
            if now >= self._not_before:  # many are put off at once: that is one failure
                self._postpone(now, jitter)
            return None
        if outcome.delivered:  # one who refuses all is not asked again every second
            self.failures = 0
        self._ids.discard(item.delivery)
        return Settled(item.delivery, outcome)

    def _next_when_open(self, now: float) -> Open | Send | Wait:
        if self._waiting and len(self._under_way) < limits.UNACKED_PACKETS_MAX and now >= self._not_before:
            return Send(self._number + 1, next(iter(self._waiting)))
        times = [item.deadline for item in self._under_way.values()][:1]
        if self._waiting and self._not_before > now:
            times.append(self._not_before)
        return Wait(min(times, default=None))

    def _put_back(self, *items: _UnderWay) -> None:
        """Let packets wait again, where they stood: ids grow in the order in which deliveries were queued."""
        self._waiting = OrderedDict.fromkeys(sorted((*self._waiting, *(item.delivery for item in items))))

    def _close(self, reason: str, *, now: float, jitter: float, at_once: bool) -> None:
        self.phase = Phase.CLOSED
        self.reason = reason
        if not at_once:
            self._postpone(now, jitter)

    def _postpone(self, now: float, jitter: float) -> None:
        self.failures += 1
        self._not_before = now + self._backoff.wait_seconds(self.failures, random=lambda: jitter)
