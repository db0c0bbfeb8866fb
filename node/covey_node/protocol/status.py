"""Where a message stands, and that it never goes back.

Owns: the words for the state of a message and of a contact, and the rule by which a status moves.
Spec: docs/spec/store.md "Message status" (DESIGN 5: a status never lies and never goes back).
Never touches: the database, the clock, the network.

The order is `queued < sent < stored < delivered < read`. `sent` and `stored` are two ways on which a message may be:
written to the device itself, or lying at enough of its mailboxes; `stored` is the better word, for it outlives our
connection, so a message that is sent may become stored and not the other way round. `expired` and `failed` end a
message that was not delivered. A message that the other side has can no longer expire or fail, and one that ended
stays ended. `received` is the one status of an incoming message.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final


class ContactState(StrEnum):
    """How far two people are in getting to know each other, seen from this node."""

    REQUESTING = "requesting"  # we used a link; the request has not been acknowledged by the other side
    REQUESTED = "requested"  # the other side has our request and has not answered
    INCOMING = "incoming"  # they asked; our user has not decided
    ACCEPTED = "accepted"  # both may write
    REFUSED = "refused"  # they refused, or the invite was used or has expired
    BLOCKED = "blocked"


class Status(StrEnum):
    """A message's status. It only moves forward; `expired` and `failed` are ends."""

    QUEUED = "queued"
    SENT = "sent"
    STORED = "stored"  # at a quorum of the mailboxes of the other side; how many copies lie there may rise and fall
    DELIVERED = "delivered"
    READ = "read"
    EXPIRED = "expired"
    FAILED = "failed"
    RECEIVED = "received"  # the one status of an incoming message


_ENDS: Final = frozenset({Status.DELIVERED, Status.READ, Status.EXPIRED, Status.FAILED})
_NEXT: Final[dict[Status, frozenset[Status]]] = {
    Status.QUEUED: _ENDS | {Status.SENT, Status.STORED},
    Status.SENT: _ENDS | {Status.STORED},
    Status.STORED: _ENDS,
    Status.DELIVERED: frozenset({Status.READ}),
    Status.READ: frozenset(),
    Status.EXPIRED: frozenset(),
    Status.FAILED: frozenset(),
    Status.RECEIVED: frozenset(),
}

_BEST_FIRST: Final = (
    Status.READ,
    Status.DELIVERED,
    Status.STORED,
    Status.SENT,
    Status.QUEUED,
    Status.FAILED,
    Status.EXPIRED,
)

OPEN: Final = frozenset({Status.QUEUED, Status.SENT, Status.STORED})
"""The statuses in which a packet still has to reach its device."""


def advance(current: Status, new: Status) -> Status:
    """Return the status after `new` was reported: `new` where the order allows it, else `current` unchanged."""
    return new if new in _NEXT[current] else current


def is_final(status: Status) -> bool:
    """Tell whether nothing can change this status any more."""
    return not _NEXT[status]


def derive(deliveries: Iterable[Status]) -> Status | None:
    """Return what the states of a message's packets, one a device, say about the message.

    The best packet speaks for the message: one device of the other side that has it makes it `delivered`, one packet
    still open keeps it open. Only when every packet has ended has the message ended: `failed` if one failed, else
    `expired`. Without packets there is nothing to say: None.
    """
    states = set(deliveries)
    return next((status for status in _BEST_FIRST if status in states), None)
