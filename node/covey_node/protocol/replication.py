"""What goes to one mailbox of a contact's device next, when it is asked what lies there, and what is enough.

Owns: the order, window, pauses and checks of one replica; the quorum. A replica knows deliveries by ids that grow;
which packets lie where is the store's to remember. Spec: docs/spec/delivery.md, "Mailboxes".
Never touches: sockets, trio, the database, the clock (callers pass `now`), randomness (callers pass `jitter`).

                      ┌──stored──> out of here
    queue──> waiting ─┴─next: Put─> under way ──refused, unreachable──> waiting (after the pause)
                ^                                                            │
                └───lost (a check missed it)      the pause is over: one packet first; once it is stored, a check
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from covey_node import limits
from covey_node.protocol.backoff import OUTBOX, Backoff


def quorum(replicas: int) -> int:
    """Return how many of so many replicas (1 or more) must have a packet before it is called stored."""
    return replicas // 2 + 1


@dataclass(frozen=True, slots=True)
class Copies:
    """How many of a device's `of` replicas have a packet."""

    stored: int
    of: int

    @property
    def enough(self) -> bool:
        """Whether the packet is stored: a quorum has it."""
        return self.of > 0 and self.stored >= quorum(self.of)

    def __str__(self) -> str:
        """Return it as people read it: `2/3`."""
        return f"{self.stored}/{self.of}"


@dataclass(frozen=True, slots=True)
class Put:
    """These deliveries are to be laid down now, in this order."""

    deliveries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """The replica is to be asked now which packets lie there."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until` (None: before something is queued or answered)."""

    until: float | None


@dataclass(slots=True)
class Pause:
    """Failures of a relay, shared by all its replicas, or of one replica alone: when it is tried again."""

    backoff: Backoff = OUTBOX
    failures: int = 0
    not_before: float = 0.0
    refusals: int = 0  # for lack of time or room, one after the other
    busy_until: float = 0.0
    reason: str | None = None

    def failed(self, reason: str, *, now: float, jitter: float) -> bool:
        """Note a failure; False for one of many at once: it counts, and prolongs the pause, only when it was over."""
        self.reason = reason
        if now < self.not_before:
            return False
        self.failures += 1
        self.not_before = now + self.backoff.wait_seconds(self.failures, random=lambda: jitter)
        return True

    def busy(self, reason: str, *, seconds: float, now: float, jitter: float) -> None:
        """Note that it has no time or room for at least `seconds`; what it still does meanwhile does not end that."""
        self.reason = reason
        if now < self.busy_until:
            return
        self.refusals += 1
        wait = self.backoff.wait_seconds(self.refusals, random=lambda: jitter)
        self.busy_until = now + max(wait, min(seconds, limits.DEPOSIT_PAUSE_SECONDS_MAX))

    def over(self, *, now: float) -> bool:
        """It works; True when it had failed before."""
        failed = self.failures > 0
        self.failures, self.not_before = 0, 0.0
        if now >= self.busy_until:
            self.refusals, self.reason = 0, None
        return failed


def own_pause() -> Pause:
    """Return the pause of a queue that refuses: it is full, or is not there; that changes with its owner."""
    return Pause(Backoff(limits.DEPOSIT_REFUSED_SECONDS_MIN, limits.DEPOSIT_PAUSE_SECONDS_MAX))


@dataclass(slots=True)
class Replica:
    """One queue of one device: every delivery in here is waiting or under way, once."""

    relay: Pause
    """The pause of its relay, for all queues there."""
    check_at: float
    """When it is asked next what lies there."""
    own: Pause = field(default_factory=own_pause)
    _waiting: OrderedDict[int, float] = field(default_factory=OrderedDict)
    _under_way: set[int] = field(default_factory=set)
    _checking: bool = False

    def __len__(self) -> int:
        """Return how many deliveries wait or are under way."""
        return len(self._waiting) + len(self._under_way)

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._under_way) or self._checking

    @property
    def not_before(self) -> float:
        """When the pause ends; 0 without one."""
        return max(self.relay.not_before, self.relay.busy_until, self.own.not_before)

    @property
    def reason(self) -> str | None:
        """Why it takes nothing, in words; None when it works."""
        return self.own.reason or self.relay.reason

    @property
    def fails(self) -> bool:
        """Whether the last that was heard of it was a failure."""
        return bool(self.relay.failures or self.relay.refusals or self.own.failures)

    # --- what is asked --------------------------------------------------------------------------------------------

    def queue(self, deliveries: Iterable[int], *, due: float) -> None:
        """Let deliveries wait until `due`; one that waits already may become due sooner, never later."""
        for delivery in deliveries:
            if delivery not in self._under_way:
                self._waiting[delivery] = min(due, self._waiting.get(delivery, due))

    def hurry(self, *, now: float) -> None:
        """No other way to the device is left: what waits is due now."""
        for delivery, due in self._waiting.items():
            self._waiting[delivery] = min(due, now)

    def withdraw(self, deliveries: Iterable[int]) -> None:
        """Forget deliveries that are done; what is under way is left to its answer."""
        for delivery in deliveries:
            self._waiting.pop(delivery, None)

    def next(self, *, now: float) -> Put | Check | Wait:
        """Return what to do at `now`. After a failure one packet goes first, alone."""
        if now < self.not_before:
            return Wait(self.not_before)
        room = (1 if self.fails else limits.DEPOSITS_UNDER_WAY) - len(self._under_way)
        due = sorted(delivery for delivery, at in self._waiting.items() if at <= now)[: max(0, room)]
        if due:
            return Put(tuple(due))
        if now >= self.check_at and not self._checking and not (self.fails and self._waiting):
            return Check()
        times = [self.check_at] if not self._checking else []
        if room > 0 and self._waiting:
            times.append(min(self._waiting.values()))
        return Wait(min((at for at in times if at > now), default=None))

    def putting(self, deliveries: Iterable[int]) -> None:
        """These are being laid down."""
        for delivery in deliveries:
            del self._waiting[delivery]
            self._under_way.add(delivery)

    def checking(self) -> None:
        """It is being asked."""
        self._checking = True

    # --- what is answered -----------------------------------------------------------------------------------------

    def stored(self, delivery: int, *, now: float) -> bool:
        """The replica has it. True when the relay had not answered before: then what lay there is asked for at once."""
        self._under_way.discard(delivery)
        return self._works(now=now)

    def done(self, delivery: int) -> None:
        """It is not to be laid down any more."""
        self._under_way.discard(delivery)

    def unreachable(self, deliveries: Iterable[int], reason: str, *, now: float, jitter: float) -> bool:
        """The relay did not answer: what was under way waits again. False for one failure of many."""
        self._put_back(deliveries, now)
        return self.relay.failed(reason, now=now, jitter=jitter)

    def put_off(self, deliveries: Iterable[int], reason: str, *, seconds: float, now: float, jitter: float) -> None:
        """The relay, or one on the way to it, has no time or no room for so long: what was under way waits again."""
        self._put_back(deliveries, now)
        self.relay.busy(reason, seconds=seconds, now=now, jitter=jitter)

    def refused(self, deliveries: Iterable[int], reason: str, *, now: float, jitter: float) -> bool:
        """The queue took nothing: it is full or gone. The relay answers, so others there go on."""
        self._put_back(deliveries, now)
        return self.own.failed(reason, now=now, jitter=jitter)

    def checked(self, *, now: float, jitter: float, answered: bool = True) -> bool:
        """It was asked for everything; what it had lost has been queued. True when it had failed before.

        Where nothing was to be asked for it has not `answered`, and its pause goes on.
        """
        self._checking = False
        self.check_at = next_check(now, jitter=jitter)
        return answered and self._over(now)

    def check_failed(self) -> None:
        """It could not be asked; the failure was told as any other. It is asked once it works."""
        self._checking = False

    def _works(self, *, now: float) -> bool:
        had_failed = self._over(now)
        if had_failed:
            self.check_at = min(self.check_at, now)
        return had_failed

    def _over(self, now: float) -> bool:
        """It works; True when the relay had not answered: it may have been set back. A queue that refused has not."""
        self.own.over(now=now)
        return self.relay.over(now=now)

    def _put_back(self, deliveries: Iterable[int], now: float) -> None:
        for delivery in deliveries:
            self._under_way.discard(delivery)
            self._waiting[delivery] = now


def next_check(last: float, *, jitter: float) -> float:
    """Return when a replica is asked again what lies there: about an hour later, spread by `jitter` (0 to 1)."""
    return last + limits.DEPOSIT_CHECK_SECONDS * (0.75 + jitter / 2)


def missed(asked: Collection[int], held: Collection[int]) -> tuple[int, ...]:
    """Return which of the deliveries that were asked for a replica does not have, in order."""
    return tuple(sorted(set(asked) - set(held)))
