"""Our mailboxes as a person sees them.

Owns: the views that the local API gives, and how they are put together from rows. Spec: docs/spec/api.md, section 5.
Never touches: relays, HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from covey_core.peers import PeerId, peer_id_from_bytes
from covey_node.protocol.queue_choice import Behaviour
from covey_node.store import contacts, queue_told, queues
from covey_node.store.queues import QueueRow, SetRow
from covey_node.store.tx import Tx


@dataclass(frozen=True, slots=True)
class MailboxQueueView:
    """One queue: `state` is making, standing, leaving (read until it is empty and left by all) or ending.

    `waiting`: messages that came and lie there until they are stored here; None while the relay is not listened to.
    """

    relay: str
    operator: str
    state: str
    listening: bool
    waiting: int | None
    waiting_bytes: int | None
    quota_messages: int | None
    quota_bytes: int | None
    keeps_seconds: int | None


@dataclass(frozen=True, slots=True)
class MailboxSetView:
    """The queues for one contact, or for strangers: `purpose` is contact, invites or open.

    `number` counts the set's changes; of the contact's `devices`, so many `confirmed` the last one.
    """

    purpose: str
    contact: str | None
    number: int
    devices: int
    confirmed: int
    queues: tuple[MailboxQueueView, ...]


@dataclass(frozen=True, slots=True)
class MailboxRelayView:
    """One relay: `state` is listening, silent, left (by the user), or idle (nothing of ours is there).

    `away_seconds`: how long it has not answered while others did. It is replaced after a day.
    """

    relay: str
    operator: str
    state: str
    queues: int
    reached_at: float | None
    away_seconds: float
    reason: str | None


@dataclass(frozen=True, slots=True)
class MailboxesView:
    """All mailboxes of this device. `warning` says in words what makes them less safe than they could be."""

    on: bool
    relays: tuple[MailboxRelayView, ...] = ()
    sets: tuple[MailboxSetView, ...] = ()
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What collecting knows of relays: names of operators, behaviour, who is listened to, what waits in a queue."""

    operators: dict[PeerId, str]
    behaviour: dict[PeerId, Behaviour]
    listening: frozenset[PeerId]
    usage: Callable[[PeerId, bytes], tuple[int, int] | None]


_TOO_FEW = {
    0: "no relay that keeps mail is known: what is written to you while you are away waits at its writer",
    1: "only one relay that keeps mail is known: when it fails, what waits there waits for it, or is written again",
}


def mailboxes_view(tx: Tx, seen: Seen) -> MailboxesView:
    """Return the view of all open sets, and of the relays that are known or have queues of ours."""
    sets = tuple(_set_view(tx, row, seen) for row in queues.open_sets(tx))
    counts: dict[PeerId, int] = {}
    for raw, _addrs in queues.relays(tx):
        counts[peer_id_from_bytes(raw)] = len(queues.at_relay(tx, raw))
    names = sorted({*seen.operators, *counts}, key=lambda relay: (seen.operators.get(relay, ""), relay))
    relays = tuple(_relay_view(relay, counts.get(relay, 0), seen) for relay in names)
    usable = sum(seen.behaviour.get(relay, Behaviour()).left_at is None for relay in seen.operators)
    return MailboxesView(on=True, relays=relays, sets=sets, warning=_TOO_FEW.get(usable))


def _set_view(tx: Tx, row: SetRow, seen: Seen) -> MailboxSetView:
    told = queue_told.state(tx, row.id)
    return MailboxSetView(
        purpose=row.purpose.value,
        contact=None if row.contact_id is None else contacts.alias_of(tx, row.contact_id),
        number=row.number,
        devices=len(told),
        confirmed=sum(number >= row.number for number in told.values()),
        queues=tuple(_queue_view(queue, seen) for queue in queues.of_set(tx, row.id)),
    )


def _queue_view(row: QueueRow, seen: Seen) -> MailboxQueueView:
    relay = peer_id_from_bytes(row.relay)
    usage = None if row.recv_id is None else seen.usage(relay, row.recv_id)
    return MailboxQueueView(
        relay=relay,
        operator=seen.operators.get(relay, ""),
        state=row.state.value,
        listening=usage is not None,
        waiting=None if usage is None else usage[0],
        waiting_bytes=None if usage is None else usage[1],
        quota_messages=row.quota_messages,
        quota_bytes=row.quota_bytes,
        keeps_seconds=row.max_ttl_seconds,
    )


def _relay_view(relay: PeerId, count: int, seen: Seen) -> MailboxRelayView:
    behaviour = seen.behaviour.get(relay, Behaviour())
    if behaviour.left_at is not None:
        state = "left"
    elif behaviour.failures:
        state = "silent"
    else:
        state = "listening" if relay in seen.listening else "idle"
    return MailboxRelayView(
        relay=relay,
        operator=seen.operators.get(relay, ""),
        state=state,
        queues=count,
        reached_at=behaviour.reached_at,
        away_seconds=behaviour.away_seconds,
        reason=behaviour.reason,
    )
