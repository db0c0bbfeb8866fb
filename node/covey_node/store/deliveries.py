"""The outbox: what still has to reach a device of a contact.

Owns: table `deliveries`, and a message's status as far as its packets decide it. A packet is made once and kept as
ciphertext until it is delivered, so that a repeated send repeats the same bytes; then its row is deleted.
Spec: docs/spec/store.md "Outbox". Never touches: the network, the wait between attempts (protocol/backoff.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from covey_node.limits import DUE_DELIVERIES, MESSAGE_LIFETIME_SECONDS, OUTBOX_PER_DEVICE
from covey_node.protocol.status import OPEN, Status, derive
from covey_node.store import messages
from covey_node.store.errors import StoreError
from covey_node.store.messages import MessageRow
from covey_node.store.tx import Row, Tx


class OutboxFull(StoreError):
    """Too much waits for one device already."""

    def __init__(self, *, waiting: int, limit: int) -> None:
        super().__init__(f"{waiting} packets wait for this device already (limit {limit}); wait until it is reachable")
        self.waiting = waiting
        self.limit = limit


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One content on its way to one device: `packet` once it is encrypted, `content` until then."""

    contact_id: int
    device_key: bytes  # Ed25519, 32 bytes
    created_at: float
    expires_at: float
    message_row: int | None = None  # the message that it carries; None for receipts and the like
    content: bytes | None = None  # encoded content that could not be encrypted yet (no session, no bundle)
    packet: bytes | None = None  # ciphertext
    packet_hash: bytes | None = None  # SHA-256 of the packet, 32 bytes
    state: Status = Status.QUEUED  # queued | sent
    attempts: int = 0
    next_attempt_at: float = 0.0
    reason: str | None = None
    id: int = 0


_COLUMNS = (
    "contact_id, device_key, created_at, expires_at, message_row, content, packet, packet_hash, state, attempts, "
    "next_attempt_at, reason, id"
)
_SELECT = f"SELECT {_COLUMNS} FROM deliveries"  # noqa: S608 - constant


def _row(values: Row) -> DeliveryRow:
    return replace(DeliveryRow(*values), state=Status(values[8]))


def enqueue(
    tx: Tx,
    *,
    contact_id: int,
    device_key: bytes,
    now: float,
    message_row: int | None = None,
    content: bytes | None = None,
    packet: bytes | None = None,
    packet_hash: bytes | None = None,
    lifetime_seconds: float = MESSAGE_LIFETIME_SECONDS,
    reason: str | None = None,
) -> DeliveryRow:
    """Put a packet, or a content that is still to be encrypted, into the outbox; it is due at once. `OutboxFull`."""
    if (packet is None) != (packet_hash is None) or (packet is None and content is None):
        raise ValueError("a delivery carries a packet with its hash, or a content")
    _check_room(tx, contact_id, device_key)
    row = DeliveryRow(
        contact_id=contact_id,
        device_key=device_key,
        created_at=now,
        expires_at=now + lifetime_seconds,
        message_row=message_row,
        content=content,
        packet=packet,
        packet_hash=packet_hash,
        next_attempt_at=now,
        reason=reason,
    )
    row_id = tx.insert(
        "INSERT INTO deliveries (contact_id, device_key, created_at, expires_at, message_row, content, packet, "
        "packet_hash, state, attempts, next_attempt_at, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.contact_id,
            row.device_key,
            row.created_at,
            row.expires_at,
            row.message_row,
            row.content,
            row.packet,
            row.packet_hash,
            row.state,
            row.attempts,
            row.next_attempt_at,
            row.reason,
        ),
    )
    return replace(row, id=row_id)


def _check_room(tx: Tx, contact_id: int, device_key: bytes) -> None:
    where = "FROM deliveries WHERE contact_id = ? AND device_key = ?"
    first = tx.number(f"SELECT id {where} ORDER BY id LIMIT 1", (contact_id, device_key))
    last = tx.number(f"SELECT id {where} ORDER BY id DESC LIMIT 1", (contact_id, device_key))
    if last - first < OUTBOX_PER_DEVICE - 1:  # ids only grow, so there cannot be more rows: counting 10,000 takes 1 ms
        return
    count = tx.number(f"SELECT count(*) {where}", (contact_id, device_key))
    if count >= OUTBOX_PER_DEVICE:
        raise OutboxFull(waiting=count, limit=OUTBOX_PER_DEVICE)


def encrypted(tx: Tx, row_id: int, *, packet: bytes, packet_hash: bytes) -> None:
    """Store the packet that was made of a waiting content, in the transaction that saves the session's state."""
    tx.execute(
        "UPDATE deliveries SET packet = ?, packet_hash = ?, content = NULL WHERE id = ?", (packet, packet_hash, row_id)
    )


def get(tx: Tx, row_id: int) -> DeliveryRow | None:
    """Return one delivery, or None when it is done."""
    row = tx.one(f"{_SELECT} WHERE id = ?", (row_id,))
    return None if row is None else _row(row)


def by_hash(tx: Tx, device_key: bytes, packet_hash: bytes) -> DeliveryRow | None:
    """Return the delivery whose packet a device acknowledged, or None when it is done."""
    row = tx.one(f"{_SELECT} WHERE device_key = ? AND packet_hash = ?", (device_key, packet_hash))
    return None if row is None else _row(row)


def due(
    tx: Tx, contact_id: int, device_key: bytes, *, now: float, limit: int = DUE_DELIVERIES
) -> tuple[DeliveryRow, ...]:
    """Return what is due for a device now, in the order it was queued; sent but unacknowledged packets too."""
    rows = tx.all(
        f"{_SELECT} WHERE contact_id = ? AND device_key = ? AND next_attempt_at <= ? AND expires_at > ? "
        "ORDER BY id LIMIT ?",
        (contact_id, device_key, now, now, limit),
    )
    return tuple(_row(row) for row in rows)


def due_devices(tx: Tx, *, now: float, limit: int = DUE_DELIVERIES) -> tuple[tuple[int, bytes], ...]:
    """Return the (contact id, device key) pairs for which something is due now, longest due first."""
    rows = tx.all(
        "SELECT contact_id, device_key FROM deliveries WHERE next_attempt_at <= ? AND expires_at > ? "
        "GROUP BY contact_id, device_key ORDER BY min(next_attempt_at) LIMIT ?",
        (now, now, limit),
    )
    return tuple((int(row[0]), bytes(row[1])) for row in rows)


def next_deadline(tx: Tx) -> float | None:
    """Return when something is due or expires next, or None when the outbox is empty."""
    row = tx.one("SELECT min(a, b) FROM (SELECT min(next_attempt_at) AS a, min(expires_at) AS b FROM deliveries)")
    return None if row is None or row[0] is None else float(row[0])


def waiting(tx: Tx, contact_id: int | None = None) -> int:
    """Return how many messages of ours are still queued or sent, to one contact or to all."""
    condition = "" if contact_id is None else " AND contact_id = ?"
    return tx.number(
        f"SELECT count(DISTINCT message_row) FROM deliveries WHERE message_row IS NOT NULL{condition}",  # noqa: S608
        () if contact_id is None else (contact_id,),
    )


def of_message(tx: Tx, message_row: int) -> tuple[DeliveryRow, ...]:
    """Return a message's open deliveries, one a device."""
    return tuple(_row(row) for row in tx.all(f"{_SELECT} WHERE message_row = ? ORDER BY id", (message_row,)))


def wake(tx: Tx, contact_id: int, device_key: bytes | None = None, *, now: float) -> int:
    """Make everything for a device (or all of a contact's) due now: it has appeared. Return how many."""
    condition = "" if device_key is None else " AND device_key = ?"
    return tx.execute(
        f"UPDATE deliveries SET next_attempt_at = ? WHERE contact_id = ? AND next_attempt_at > ?{condition}",  # noqa: S608
        (now, contact_id, now, *(() if device_key is None else (device_key,))),
    )


def postpone(tx: Tx, row_id: int, *, until: float, reason: str | None) -> MessageRow | None:
    """Note a failed attempt: try again at `until`, and say in words why it waits. Return the message if it changed."""
    tx.execute(
        "UPDATE deliveries SET attempts = attempts + 1, next_attempt_at = ?, reason = ? WHERE id = ?",
        (until, reason, row_id),
    )
    return _note_attempt(tx, row_id, reason)


def sent(tx: Tx, row_id: int, *, now: float, retry_at: float, path: str | None = None) -> MessageRow | None:
    """Note that a packet left; unacknowledged it is due again at `retry_at`. Return the message if it changed."""
    tx.execute(
        "UPDATE deliveries SET state = ?, attempts = attempts + 1, next_attempt_at = ?, reason = NULL WHERE id = ?",
        (Status.SENT, retry_at, row_id),
    )
    _note_attempt(tx, row_id, None)
    row = get(tx, row_id)
    if row is None or row.message_row is None:
        return None
    return messages.move(tx, row.message_row, Status.SENT, now=now, path=path)


def finish(
    tx: Tx, row_id: int, outcome: Status, *, now: float, reason: str | None = None, path: str | None = None
) -> MessageRow | None:
    """End a delivery as delivered, expired or failed: its packet is deleted. Return the message if its status changed.

    One device that has it makes the message delivered; it has failed or expired only when no packet of it is open.
    """
    if outcome in OPEN:
        raise ValueError(f"{outcome} is not the end of a delivery")
    row = get(tx, row_id)
    if row is None:
        return None
    tx.execute("DELETE FROM deliveries WHERE id = ?", (row_id,))
    if row.message_row is None:
        return None
    status = derive((outcome, *(other.state for other in of_message(tx, row.message_row))))
    if status is None or (status in OPEN and status != outcome):
        return None
    return messages.move(tx, row.message_row, status, now=now, reason=reason, path=path)


def expire(tx: Tx, *, now: float, limit: int = DUE_DELIVERIES) -> tuple[MessageRow, ...]:
    """End what was not delivered in time, `limit` at one time; return the messages whose status changed."""
    rows = tx.all("SELECT id, reason FROM deliveries WHERE expires_at <= ? ORDER BY expires_at LIMIT ?", (now, limit))
    ended = [finish(tx, row_id, Status.EXPIRED, now=now, reason=reason) for row_id, reason in rows]
    return tuple(message for message in ended if message is not None)


def drop_of_contact(tx: Tx, contact_id: int, *, now: float, reason: str) -> tuple[MessageRow, ...]:
    """End everything for a contact as failed (blocked, refused); return the messages whose status changed."""
    rows = tx.all("SELECT id FROM deliveries WHERE contact_id = ? ORDER BY id", (contact_id,))
    ended = [finish(tx, row_id, Status.FAILED, now=now, reason=reason) for (row_id,) in rows]
    return tuple(message for message in ended if message is not None)


def _note_attempt(tx: Tx, row_id: int, reason: str | None) -> MessageRow | None:
    row = get(tx, row_id)
    if row is None or row.message_row is None:
        return None
    tx.execute("UPDATE messages SET attempts = max(attempts, ?) WHERE id = ?", (row.attempts, row.message_row))
    changed = messages.set_reason(tx, row.message_row, reason)
    return messages.get(tx, row.message_row) if changed else None
