"""At which relays our queues are, when one is replaced, and when a set is told.

Owns: the choice, how long a relay has been away, the moment to tell. Spec: docs/spec/mailbox.md, "Choice of relays".
Never touches: sockets, trio, the database, the clock (callers pass `now`), randomness: the order of equals is the
caller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from covey_core.peers import PeerId
from covey_node import limits
from covey_node.protocol.relay_choice import Candidate, clashes
from covey_node.protocol.replication import quorum

# --- how a relay behaves ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What we saw of a relay. Times are Unix seconds, None for never.

    `away_seconds`: how long it did not answer while another relay did, since it last answered. `lost_at`: when it said
    that a queue of ours is gone. `left_at`: since when the user wants no queue there.
    """

    away_seconds: float = 0.0
    failures: int = 0
    failed_at: float | None = None
    reached_at: float | None = None
    lost_at: float | None = None
    left_at: float | None = None
    reason: str | None = None  # why it did not answer last, in words; None when it did

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

    def lost_queue(self, *, now: float) -> Behaviour:
        """Return what is known after it said that it has no such queue."""
        return replace(self, lost_at=now)

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
    """What to change: relays at which to make a queue, queues that leave the set."""

    make: tuple[PeerId, ...] = ()
    leave: tuple[int, ...] = ()


def choose(
    held: Sequence[Held], known: Sequence[Candidate], behaviour: Mapping[PeerId, Behaviour], *, now: float
) -> Choice:
    """Return what brings a set (its queues oldest first) closer to three queues at relays that answer.

    Queues that stand stay where they are, also when a more different relay becomes known. One at a relay that is gone
    leaves when three others stand, one at a relay that the user left when as many others stand as there can be. New
    ones go to relays that answer, then to those with a name (spare ones have none), those that lost no queue, those of
    other operators, those in other networks.
    """
    seen = {relay: behaviour.get(relay, Behaviour()) for relay in {*(one.peer for one in known), *_relays(held)}}
    usable = {relay for relay, one in seen.items() if one.left_at is None and not one.gone}
    wanted = min(limits.MAILBOX_REPLICAS, len(usable))
    good = sorted((one for one in held if one.relay in usable), key=lambda one: not one.stands)
    failing = [one for one in good if not one.stands and seen[one.relay].failures]
    kept = [one for one in good if one not in failing][: limits.MAILBOX_REPLICAS]
    by_relay = {one.peer: one for one in known}
    chosen = [by_relay[one.relay] for one in kept if one.relay in by_relay]
    free = [one for one in known if one.peer in usable and one.peer not in _relays(held)]
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
    return Choice(tuple(make), tuple(leave))


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


def tell_at(*, stand: int, making: Sequence[float]) -> float | None:
    """Return when a set of which `stand` queues stand is to be told; `making`: when the others were begun.

    At once when all stand; a quorum waits a moment for the others, fewer wait for longer. None while none stands.
    """
    if stand == 0:
        return None
    if not making:
        return 0.0
    patience = limits.MAILBOX_SETTLE_SECONDS if stand >= quorum(stand + len(making)) else limits.MAILBOX_FEW_SECONDS
    return max(making) + patience
