"""At which relays our queues are, when one is replaced, and when a set is told.

Owns: the choice, how long a relay has been away, the moment to tell. Spec: docs/spec/mailbox.md, "Choice of relays".
Never touches: sockets, trio, the database, the clock (callers pass `now`), randomness: the order of equals is the
caller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from covey_core.peers import PeerId
from covey_node import limits
from covey_node.protocol.relay_choice import Candidate, clashes
from covey_node.protocol.replication import quorum

_DOUBLINGS = 32
"""Most of a pause: far beyond its bound, and no overflow."""

# --- how a relay behaves ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What we saw of a relay. Times are Unix seconds, None for never.

    `away_seconds`: how long it did not answer while another relay did, since it last answered. `lost_at`: when it said
    that a queue of ours is gone. `left_at`: since when the user wants no queue there. `losses`: how often it lost, in
    this run, a queue that was made after the loss before.
    """

    away_seconds: float = 0.0
    failures: int = 0
    failed_at: float | None = None
    reached_at: float | None = None
    lost_at: float | None = None
    left_at: float | None = None
    reason: str | None = None  # why it did not answer last, in words; None when it did
    losses: int = 0

    @property
    def gone(self) -> bool:
        """Whether it was away for so long that it is to be replaced."""
        return self.away_seconds >= limits.MAILBOX_GONE_SECONDS

    def answered(self, *, now: float) -> Behaviour:
        """Return what is known after it answered."""
        return replace(self, away_seconds=0.0, failures=0, failed_at=None, reached_at=now, reason=None)

    def silent(self, reason: str, *, now: float, online: bool) -> Behaviour:
        """Return what is known after it did not answer. `online`: another relay answered lately.

        Only time between two looks counts, and only when we were online, so neither our own sleep nor our own line that
        is down makes a relay gone.
        """
        passed = 0.0 if self.failed_at is None or not online else now - self.failed_at
        away = self.away_seconds + min(max(passed, 0.0), limits.MAILBOX_AWAY_STEP_SECONDS)
        return replace(self, away_seconds=away, failures=self.failures + 1, failed_at=now, reason=reason)

    def lost_queue(self, *, made_at: float, now: float) -> Behaviour:
        """Return what is known after it said that it has no such queue, which was planned at `made_at`.

        Queues that were there before, or that show while none is made, went with those of the loss that is known.
        """
        if self.lost_at is not None and (made_at < self.lost_at or self.held_back_until(now=now) is not None):
            return self
        return replace(self, lost_at=now, losses=(self.losses if self.unreliable(now=now) else 0) + 1)

    def held_back_until(self, *, now: float) -> float | None:
        """Return until when no queue is made there, because it loses what is made; None when one may be made."""
        if self.lost_at is None or self.losses <= 1:
            return None
        doubled = limits.MAILBOX_LOST_PAUSE_SECONDS_MIN * 2.0 ** min(self.losses - 2, _DOUBLINGS)
        pause = min(doubled, limits.MAILBOX_LOST_PAUSE_SECONDS_MAX)
        return self.lost_at + pause if abs(now - self.lost_at) < pause else None

    def quiet(self, *, now: float) -> bool:
        """Whether it did not answer lately; after a while it may be tried again in place of another silent one."""
        recent = self.failed_at is not None and abs(now - self.failed_at) < limits.MAILBOX_QUIET_SECONDS
        return self.failures > 0 and recent

    def unreliable(self, *, now: float) -> bool:
        """Whether it lost a queue of ours lately."""
        return self.lost_at is not None and abs(now - self.lost_at) < limits.MAILBOX_LOST_SECONDS


# --- the choice -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Held:
    """A queue of the set: it stands, or its relay has not answered yet."""

    queue: int
    relay: PeerId
    stands: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """What to change: relays at which to make a queue, queues that leave the set. `again_at`: a relay's pause ends."""

    make: tuple[PeerId, ...] = ()
    leave: tuple[int, ...] = ()
    again_at: float | None = None


def choose(
    held: Sequence[Held], known: Sequence[Candidate], behaviour: Mapping[PeerId, Behaviour], *, now: float
) -> Choice:
    """Return what brings a set (its queues oldest first) closer to three queues at relays that answer.

    Queues that stand stay where they are, also when a more different relay becomes known. One at a relay that is gone
    leaves when three others stand, one at a relay that the user left when as many others stand as there can be. New
    ones go to relays that answer, then to those with a name (spare ones have none), those that lost no queue, those of
    other operators, those in other networks; none to one that loses what is made there, until its pause has passed.
    """
    seen = {relay: behaviour.get(relay, Behaviour()) for relay in {*(one.peer for one in known), *_relays(held)}}
    usable = {relay for relay, one in seen.items() if one.left_at is None and not one.gone}
    until = {relay: seen[relay].held_back_until(now=now) for relay in usable - _relays(held)}
    pauses = {relay: at for relay, at in until.items() if at is not None}
    wanted = min(limits.MAILBOX_REPLICAS, len(usable) - len(pauses))
    good = sorted((one for one in held if one.relay in usable), key=lambda one: not one.stands)
    failing = [one for one in good if not one.stands and seen[one.relay].failures]
    kept = [one for one in good if one not in failing][: limits.MAILBOX_REPLICAS]
    by_relay = {one.peer: one for one in known}
    chosen = [by_relay[one.relay] for one in kept if one.relay in by_relay]
    free = [one for one in known if one.peer in usable and one.peer not in {*pauses, *_relays(held)}]
    make: list[PeerId] = []
    while len(kept) + len(make) < wanted and (best := _best(free, chosen, seen, failing, now=now)) is not None:
        free.remove(best)
        chosen.append(best)
        make.append(best.peer)
    spared = failing[: max(0, wanted - len(kept) - len(make))]
    stand = sum(one.stands for one in kept)
    leave = [one.queue for one in good if one not in kept and one not in spared]
    for one in held:
        if one.relay in usable:
            continue
        enough = limits.MAILBOX_REPLICAS if seen[one.relay].left_at is None else max(1, wanted)
        if not one.stands or stand >= enough:
            leave.append(one.queue)
    lacking = len(kept) + len(make) < limits.MAILBOX_REPLICAS
    return Choice(tuple(make), tuple(leave), min(pauses.values(), default=None) if lacking else None)


def _best(
    free: Sequence[Candidate],
    chosen: Sequence[Candidate],
    seen: Mapping[PeerId, Behaviour],
    failing: Sequence[Held],
    *,
    now: float,
) -> Candidate | None:
    """Return the best relay for a further queue; none that was silent lately in place of another that is silent."""
    able = [one for one in free if not failing or not seen[one.peer].quiet(now=now)]
    return min(
        able,
        key=lambda one: (
            seen[one.peer].quiet(now=now),
            one.spare,
            seen[one.peer].unreliable(now=now),
            clashes(one, chosen),
            seen[one.peer].failures,
            one.order,
        ),
        default=None,
    )


def _relays(held: Iterable[Held]) -> set[PeerId]:
    return {one.relay for one in held}


# --- telling ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Telling:
    """When sets are told. Kept for a run; what it forgets with that is patience, and numbers that came before."""

    _standing: dict[int, float] = field(default_factory=dict)  # since when something of a stale set stands
    _told: dict[int, frozenset[int]] = field(default_factory=dict)  # the queues that were told last
    _even: dict[int, float] = field(default_factory=dict)  # when the numbers of a set are back to one in a minute

    def tell_at(self, set_id: int, *, stand: int, making: int, now: float) -> float | None:
        """Return when a stale set, of which `stand` queues stand and `making` do not, is to be told, or None.

        None while none stands, at once when all do; a quorum waits a moment for the others, fewer wait for longer, from
        when the first of them stood. A set whose queues come and go gets one number in a minute, after the first few.
        """
        if stand == 0:
            self._standing.pop(set_id, None)
            return None
        since = self._standing[set_id] = min(self._standing.get(set_id, now), now)
        slack = (limits.MAILBOX_NUMBERS_AT_ONCE - 1) * limits.MAILBOX_NUMBER_SECONDS
        longest = slack + limits.MAILBOX_NUMBER_SECONDS
        paced = min(self._even.get(set_id, now), now + longest) - slack  # a clock that was set back holds up nobody
        if not making:
            return max(now, paced)
        few = stand < quorum(stand + making)
        return max(since + (limits.MAILBOX_FEW_SECONDS if few else limits.MAILBOX_SETTLE_SECONDS), paced)

    def known(self, set_id: int, stand: frozenset[int]) -> bool:
        """Return whether these queues that stand are those that were told last: one came and went again."""
        return self._told.get(set_id) == stand

    def told(self, set_id: int, stand: frozenset[int], *, now: float) -> None:
        """A set with these queues was told just now."""
        self._standing.pop(set_id, None)
        self._told[set_id] = stand
        self._even[set_id] = max(self._even.get(set_id, now), now) + limits.MAILBOX_NUMBER_SECONDS

    def ended(self, set_id: int) -> None:
        """A set is not told any more."""
        self._standing.pop(set_id, None)
        self._told.pop(set_id, None)
        self._even.pop(set_id, None)
