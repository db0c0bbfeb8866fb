"""Our own queues at relays: sets of them, one for each contact and for each purpose of its own.

Owns: tables `queue_sets` and `queues`. Functions take a `Tx`. Spec: docs/spec/mailbox.md, "Replicas". Whom a set was
told: queue_told.py. Never touches: relays, which of them are chosen, what lies in a queue.

A set counts its compositions: `number` belongs to the one that was told last, `stale` says that the queues that stand
now are others. The row of a set stays when the set is closed, so that its numbers never begin anew; its secret goes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from covey_core.wire.mailbox import Ids
from covey_node.protocol.mailboxes import Mailboxes, Replica
from covey_node.store.errors import Conflict
from covey_node.store.tx import Row, Tx, Value


class Purpose(StrEnum):
    """Whose mail a set is for."""

    CONTACT = "contact"  # of one contact: a row of `contacts` goes with it
    INVITES = "invites"  # of those who use a one-use invite of ours
    OPEN = "open"  # of anybody, for work


class QueueState(StrEnum):
    """How far a queue is."""

    MAKING = "making"  # its relay has not answered yet
    STANDING = "standing"  # in the set
    LEAVING = "leaving"  # no longer in the set, still read
    ENDING = "ending"  # to be deleted at its relay, not read


@dataclass(frozen=True, slots=True)
class SetRow:
    """One set. Without a secret (32 bytes) it is closed. `number` 0: nothing was told yet."""

    id: int
    purpose: Purpose
    contact_id: int | None
    number: int
    stale: bool
    opened_at: float
    secret: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One queue. `relay`: PeerId as multihash; `recv_seed`: Ed25519, 32 bytes; ids (24 bytes) once it stands."""

    id: int
    set_id: int
    relay: bytes
    state: QueueState
    recv_seed: bytes = field(repr=False)
    recv_id: bytes | None = field(repr=False)
    send_id: bytes | None = field(repr=False)
    max_ttl_seconds: int | None  # this and the quota as its relay told them
    quota_messages: int | None
    quota_bytes: int | None
    left_number: int | None  # of the set's first composition without it
    made_at: float
    stood_at: float | None
    addrs: tuple[str, ...]  # of the relay, as it was known then


_SET = "SELECT id, purpose, contact_id, number, stale, opened_at, secret FROM queue_sets"
_QUEUE = (
    "SELECT id, set_id, relay, state, recv_seed, recv_id, send_id, max_ttl_seconds, quota_messages, quota_bytes, "
    "left_number, made_at, stood_at, addrs FROM queues"
)


# --- sets -------------------------------------------------------------------------------------------------------------


def open_set(tx: Tx, purpose: Purpose, contact_id: int | None, *, secret: bytes, now: float) -> SetRow:
    """Return the open set for a contact (purpose `contact`) or for a purpose; made with this secret if there is none.

    One that was closed is opened again: its numbers go on.
    """
    if (purpose is Purpose.CONTACT) != (contact_id is not None):
        raise ValueError("a contact's set is for a contact, and another set for nobody")
    known = set_for(tx, purpose, contact_id)
    if known is None:
        row_id = tx.insert(
            "INSERT INTO queue_sets (purpose, contact_id, number, stale, opened_at, secret) VALUES (?, ?, 0, 1, ?, ?)",
            (purpose, contact_id, now, secret),
        )
        return SetRow(row_id, purpose, contact_id, number=0, stale=True, opened_at=now, secret=secret)
    if known.secret is None:
        tx.execute("UPDATE queue_sets SET stale = 1, opened_at = ?, secret = ? WHERE id = ?", (now, secret, known.id))
    found = get_set(tx, known.id)
    assert found is not None  # noqa: S101 - it was there a statement ago
    return found


def get_set(tx: Tx, set_id: int) -> SetRow | None:
    """Return one set, or None."""
    row = tx.one(f"{_SET} WHERE id = ?", (set_id,))
    return None if row is None else _set(row)


def set_for(tx: Tx, purpose: Purpose, contact_id: int | None = None) -> SetRow | None:
    """Return the set of a contact or of a purpose, open or closed, or None."""
    where, values = ("contact_id = ?", (contact_id,)) if contact_id is not None else ("purpose = ?", (purpose,))
    row = tx.one(f"{_SET} WHERE {where}", values)
    return None if row is None else _set(row)


def open_sets(tx: Tx, purpose: Purpose | None = None) -> tuple[SetRow, ...]:
    """Return the open sets, of one purpose or all, in the order in which they were first made."""
    where, values = ("", ()) if purpose is None else (" AND purpose = ?", (purpose,))
    return tuple(_set(row) for row in tx.all(f"{_SET} WHERE secret IS NOT NULL{where} ORDER BY id", values))


def close_set(tx: Tx, set_id: int) -> None:
    """End a set: its secret goes, its queues are to be deleted at their relays, and nobody is told of it any more."""
    tx.execute("UPDATE queue_sets SET secret = NULL, stale = 1 WHERE id = ?", (set_id,))
    tx.execute("DELETE FROM queue_told WHERE set_id = ?", (set_id,))
    tx.execute("DELETE FROM queues WHERE set_id = ? AND recv_id IS NULL", (set_id,))
    tx.execute("UPDATE queues SET state = ? WHERE set_id = ?", (QueueState.ENDING, set_id))


def publish(tx: Tx, set_id: int) -> Mailboxes | None:
    """Count the queues that stand now as the set's next composition; return it, or None when nothing has changed."""
    row = get_set(tx, set_id)
    if row is None or row.secret is None or not row.stale:
        return None
    tx.execute("UPDATE queue_sets SET number = number + 1, stale = 0 WHERE id = ?", (set_id,))
    return current(tx, set_id)


def unchanged(tx: Tx, set_id: int) -> None:
    """Write down that the queues which stand now are again those of the composition that was told last."""
    tx.execute("UPDATE queue_sets SET stale = 0 WHERE id = ? AND number > 0", (set_id,))


def current(tx: Tx, set_id: int) -> Mailboxes | None:
    """Return the set as it is to be told; None when it is closed, or when what stands was not published yet."""
    row = get_set(tx, set_id)
    if row is None or row.secret is None or row.stale or row.number == 0:
        return None
    replicas = tuple(
        Replica(queue.relay, queue.addrs, queue.send_id)
        for queue in of_set(tx, set_id, (QueueState.STANDING,))
        if queue.send_id is not None
    )
    return Mailboxes(row.number, row.secret if replicas else b"", replicas)


# --- queues -----------------------------------------------------------------------------------------------------------


def plan(tx: Tx, set_id: int, *, relay: bytes, addrs: Sequence[str], recv_seed: bytes, now: float) -> QueueRow:
    """Write down a queue that is to be made; `Conflict` when the set has one at that relay."""
    row_id = tx.insert(
        "INSERT INTO queues (set_id, relay, state, recv_seed, made_at, addrs) VALUES (?, ?, ?, ?, ?, ?)",
        (set_id, relay, QueueState.MAKING, recv_seed, now, json.dumps(tuple(addrs))),
    )
    found = get(tx, row_id)
    assert found is not None  # noqa: S101 - it was there a statement ago
    return found


def stood(tx: Tx, queue_id: int, ids: Ids, *, now: float) -> bool:
    """Write down that a relay made a queue; False when it is not wanted any more (it should be deleted there).

    `Conflict` when the relay gave ids that another queue has.
    """
    row = get(tx, queue_id)
    if row is None or row.state is not QueueState.MAKING:
        return False
    same = "SELECT 1 FROM queues WHERE relay = ? AND (recv_id = ? OR send_id = ?)"
    if tx.one(same, (row.relay, ids.recv_id, ids.send_id)) is not None:
        raise Conflict("a relay gave two queues the same id")
    tx.execute(
        "UPDATE queues SET state = ?, recv_id = ?, send_id = ?, max_ttl_seconds = ?, quota_messages = ?, "
        "quota_bytes = ?, stood_at = ? WHERE id = ?",
        (
            QueueState.STANDING,
            ids.recv_id,
            ids.send_id,
            ids.max_ttl_seconds,
            ids.quota_messages,
            ids.quota_bytes,
            now,
            queue_id,
        ),
    )
    _now_stale(tx, row.set_id)
    return True


def leave(tx: Tx, queue_id: int) -> None:
    """Take a queue out of its set; it is still read. One that was never made is forgotten."""
    row = get(tx, queue_id)
    if row is None:
        return
    if row.state is QueueState.MAKING:
        remove(tx, queue_id)
    elif row.state is QueueState.STANDING:
        tx.execute(
            "UPDATE queues SET state = ?, left_number = "
            "1 + (SELECT number FROM queue_sets WHERE id = queues.set_id) WHERE id = ?",
            (QueueState.LEAVING, queue_id),
        )
        _now_stale(tx, row.set_id)


def end(tx: Tx, queue_id: int) -> None:
    """Have a queue deleted at its relay; it is read no more. One that was never made is forgotten."""
    leave(tx, queue_id)
    tx.execute("UPDATE queues SET state = ? WHERE id = ?", (QueueState.ENDING, queue_id))


def remove(tx: Tx, queue_id: int) -> None:
    """Forget a queue: it is deleted at its relay, or its relay lost it. If it stood, the set is another one now."""
    row = get(tx, queue_id)
    if row is None:
        return
    tx.execute("DELETE FROM queues WHERE id = ?", (queue_id,))
    if row.state is QueueState.STANDING:
        _now_stale(tx, row.set_id)


def get(tx: Tx, queue_id: int) -> QueueRow | None:
    """Return one queue, or None."""
    row = tx.one(f"{_QUEUE} WHERE id = ?", (queue_id,))
    return None if row is None else _queue(row)


def of_set(tx: Tx, set_id: int, states: Sequence[QueueState] = tuple(QueueState)) -> tuple[QueueRow, ...]:
    """Return a set's queues in these states, oldest first."""
    return _in_states(tx, "set_id = ?", set_id, states)


def at_relay(tx: Tx, relay: bytes, states: Sequence[QueueState] = tuple(QueueState)) -> tuple[QueueRow, ...]:
    """Return our queues at a relay in these states, oldest first."""
    return _in_states(tx, "relay = ?", relay, states)


def relays(tx: Tx) -> tuple[tuple[bytes, tuple[str, ...]], ...]:
    """Return the relays at which we have queues or mean to, with the addresses last known."""
    rows = tx.all("SELECT relay, addrs FROM queues WHERE id IN (SELECT max(id) FROM queues GROUP BY relay)")
    return tuple((bytes(relay), tuple(json.loads(addrs))) for relay, addrs in rows)


def by_recv_id(tx: Tx, relay: bytes, recv_id: bytes) -> QueueRow | None:
    """Return the queue that a relay knows by this id, or None."""
    row = tx.one(f"{_QUEUE} WHERE relay = ? AND recv_id = ?", (relay, recv_id))
    return None if row is None else _queue(row)


def for_contact(tx: Tx, contact_id: int) -> Mailboxes | None:
    """Return the set to tell a contact now, or None."""
    row = set_for(tx, Purpose.CONTACT, contact_id)
    return None if row is None else current(tx, row.id)


def _in_states(tx: Tx, where: str, value: Value, states: Sequence[QueueState]) -> tuple[QueueRow, ...]:
    marks = ", ".join("?" * len(states))
    rows = tx.all(f"{_QUEUE} WHERE {where} AND state IN ({marks}) ORDER BY id", (value, *states))
    return tuple(_queue(row) for row in rows)


def _now_stale(tx: Tx, set_id: int) -> None:
    tx.execute("UPDATE queue_sets SET stale = 1 WHERE id = ?", (set_id,))


def _set(values: Row) -> SetRow:
    row_id, purpose, contact_id, number, stale, opened_at, secret = values
    return SetRow(row_id, Purpose(purpose), contact_id, number, bool(stale), opened_at, secret)


def _queue(values: Row) -> QueueRow:
    fields = list(values)
    fields[3] = QueueState(fields[3])
    fields[13] = tuple(json.loads(fields[13]))
    return QueueRow(*fields)
