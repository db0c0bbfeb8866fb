"""Which packets lie in which mailboxes of their device.

Owns: table `deposits`, and what its rows do to deliveries and messages: `stored` from a quorum of copies on. A packet
stays in the outbox until its device has it, so a lost copy can always be laid down again. Spec: docs/spec/delivery.md,
"Mailboxes". Never touches: relays, keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from covey_node.protocol.replication import Copies, quorum
from covey_node.protocol.status import Status
from covey_node.store import deliveries, messages, peer_mailboxes
from covey_node.store.messages import MessageRow
from covey_node.store.tx import Tx

_WAITING: Final = (
    "SELECT d.id, d.packet, d.packet_hash, min(d.expires_at, coalesce(m.expires_at, d.expires_at)) "
    "FROM deliveries AS d LEFT JOIN messages AS m ON m.id = d.message_row"
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A packet as it is laid down or asked for; `expires_at` ends its time at the relay."""

    delivery: int
    packet: bytes = field(repr=False)
    packet_hash: bytes
    expires_at: float


@dataclass(frozen=True, slots=True)
class ReplicaCopy:
    """What is known of one packet at one replica of its device."""

    relay: bytes
    stored_at: float | None  # it lies there since
    lost_at: float | None  # it lay there once, and was missed then
    reason: str | None  # why it does not lie there
    next_attempt_at: float | None


@dataclass(frozen=True, slots=True)
class Place:
    """One queue of one device: what answers of a relay are about."""

    contact_id: int
    device_key: bytes
    relay: bytes
    send_id: bytes = field(repr=False)


def missing(tx: Tx, place: Place, *, after: int, limit: int) -> tuple[tuple[int, float], ...]:
    """Return up to `limit` (delivery, queued at) with ids over `after` that do not lie at this replica, in order."""
    rows = tx.all(
        "SELECT id, created_at FROM deliveries WHERE contact_id = ? AND device_key = ? AND id > ? "
        "AND packet IS NOT NULL AND NOT EXISTS (SELECT 1 FROM deposits WHERE delivery = deliveries.id AND relay = ? "
        "AND stored_at IS NOT NULL) ORDER BY id LIMIT ?",
        (place.contact_id, place.device_key, after, place.relay, limit),
    )
    return tuple((int(row[0]), float(row[1])) for row in rows)


def lying(tx: Tx, place: Place, *, after: int, limit: int) -> tuple[tuple[int, bytes], ...]:
    """Return up to `limit` (delivery, packet hash) with ids over `after` that were stored at this replica, in order."""
    rows = tx.all(
        "SELECT id, packet_hash FROM deliveries WHERE contact_id = ? AND device_key = ? AND id > ? "
        "AND packet IS NOT NULL AND EXISTS (SELECT 1 FROM deposits WHERE delivery = deliveries.id AND relay = ? "
        "AND stored_at IS NOT NULL) ORDER BY id LIMIT ?",
        (place.contact_id, place.device_key, after, place.relay, limit),
    )
    return tuple((int(row[0]), bytes(row[1])) for row in rows)


def packets(tx: Tx, row_ids: Sequence[int]) -> tuple[Waiting, ...]:
    """Return the packets of these deliveries in this order; those that are done or not sealed are left out.

    A message that is to disappear before its packet expires takes the packet with it.
    """
    marks = ", ".join("?" * len(row_ids))
    rows = tx.all(f"{_WAITING} WHERE d.packet IS NOT NULL AND d.id IN ({marks})", row_ids)
    found = {int(row[0]): Waiting(int(row[0]), bytes(row[1]), bytes(row[2]), float(row[3])) for row in rows}
    return tuple(found[row_id] for row_id in row_ids if row_id in found)


def stored(tx: Tx, place: Place, laid: Sequence[tuple[int, bytes]], *, now: float) -> tuple[MessageRow | int, ...]:
    """Write down that a replica has (delivery, packet hash); return the messages that read differently now.

    One whose status changed is returned as its row, one whose copies did as its row id. An answer about a queue or a
    packet that is not the one of now says nothing. A content that is never acknowledged (a receipt) ends at a quorum.
    """
    found = _replicas(tx, place)
    if found == 0:
        return ()
    changed: list[MessageRow | int] = []
    for delivery, packet_hash in laid:
        row = tx.one("SELECT message_row, content_id, packet_hash FROM deliveries WHERE id = ?", (delivery,))
        if row is None or row[2] != packet_hash:
            continue
        tx.execute(
            "INSERT INTO deposits (delivery, relay, stored_at) VALUES (?, ?, ?) ON CONFLICT (delivery, relay) "
            "DO UPDATE SET stored_at = excluded.stored_at, lost_at = NULL, reason = NULL",
            (delivery, place.relay, now),
        )
        moved = _reconsider(tx, delivery, row[0], row[1], found, now=now)
        if moved is not None:
            changed.append(moved)
    return tuple(changed)


def lost(tx: Tx, place: Place, gone: Sequence[int], *, now: float, reason: str) -> tuple[int, ...]:
    """Write down that these packets lie no more at a replica; return the row ids of messages that lost a copy."""
    if _replicas(tx, place) == 0:
        return ()
    changed = []
    for delivery in gone:
        if tx.execute(
            "UPDATE deposits SET stored_at = NULL, lost_at = ?, reason = ? "
            "WHERE delivery = ? AND relay = ? AND stored_at IS NOT NULL",
            (now, reason, delivery, place.relay),
        ):
            row = tx.one("SELECT message_row FROM deliveries WHERE id = ?", (delivery,))
            if row is not None and row[0] is not None:
                changed.append(int(row[0]))
    return tuple(changed)


def of_delivery(tx: Tx, delivery: int) -> tuple[ReplicaCopy, ...]:
    """Return what is known of a packet at each replica of its device, in the set's order; empty without mailboxes."""
    rows = tx.all(
        "SELECT r.relay, p.stored_at, p.lost_at, p.reason, r.reason, r.next_attempt_at FROM deliveries AS d "
        "JOIN peer_replicas AS r ON r.contact_id = d.contact_id AND r.device_key = d.device_key "
        "LEFT JOIN deposits AS p ON p.delivery = d.id AND p.relay = r.relay WHERE d.id = ? ORDER BY r.position",
        (delivery,),
    )
    return tuple(
        ReplicaCopy(bytes(relay), at, lost_at, None if at is not None else why or lost_why, due if at is None else None)
        for relay, at, lost_at, lost_why, why, due in rows
    )


def of_message(tx: Tx, message_row: int) -> tuple[Copies, tuple[ReplicaCopy, ...]] | None:
    """Return the copies of the packet of a message that lies at most replicas, and what is known of each replica.

    None when no device for which it waits has mailboxes.
    """
    rows = tx.all("SELECT id FROM deliveries WHERE message_row = ? ORDER BY id", (message_row,))
    found = [replicas for (row_id,) in rows if (replicas := of_delivery(tx, row_id))]
    if not found:
        return None
    best = max(found, key=lambda replicas: sum(one.stored_at is not None for one in replicas))
    return Copies(sum(one.stored_at is not None for one in best), len(best)), best


def messages_at(tx: Tx, place: Place, *, limit: int) -> tuple[int, ...]:
    """Return row ids of up to `limit` open messages that have no copy at a replica, the newest first."""
    rows = tx.all(
        "SELECT message_row FROM deliveries WHERE contact_id = ? AND device_key = ? AND message_row IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM deposits WHERE delivery = deliveries.id AND relay = ? "
        "AND stored_at IS NOT NULL) ORDER BY id DESC LIMIT ?",
        (place.contact_id, place.device_key, place.relay, limit),
    )
    return tuple(int(row[0]) for row in rows)


def _replicas(tx: Tx, place: Place) -> int:
    """Return how many replicas the device has; 0 when this queue is none of them (any more)."""
    found = peer_mailboxes.load(tx, place.contact_id, place.device_key)
    ours = found is not None and any(
        one.relay == place.relay and one.send_id == place.send_id for one in found.replicas
    )
    return len(found.replicas) if ours and found is not None else 0


def _reconsider(
    tx: Tx, delivery: int, message_row: int | None, content_id: bytes | None, replicas: int, *, now: float
) -> MessageRow | int | None:
    copies = tx.number("SELECT count(*) FROM deposits WHERE delivery = ? AND stored_at IS NOT NULL", (delivery,))
    if copies < quorum(replicas):
        return message_row
    if message_row is None and content_id is None:
        deliveries.finish(tx, delivery, Status.DELIVERED, now=now)
        return None
    tx.execute("UPDATE deliveries SET state = ? WHERE id = ?", (Status.STORED, delivery))
    if message_row is None:
        return None
    return messages.move(tx, message_row, Status.STORED, now=now) or message_row
