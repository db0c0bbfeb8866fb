"""The outbox: what still has to reach a device of a contact.

Owns: how a row of table `deliveries` begins and ends, and a message's status as far as its packets decide it; what
lanes ask in between is in lanes.py. A packet is made once and kept as ciphertext until it is delivered, so that a
repeated send repeats the same bytes; then its row is deleted. Spec: docs/spec/store.md "Outbox".
Never touches: the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from covey_node.limits import EXPIRE_DELIVERIES, MESSAGE_LIFETIME_SECONDS, OUTBOX_PER_DEVICE
from covey_node.protocol.status import OPEN, Status, derive
from covey_node.store import messages, queue_told
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
    state: Status = Status.QUEUED  # queued | sent | stored
    attempts: int = 0
    next_attempt_at: float = 0.0
    reason: str | None = None
    id: int = 0
    content_id: bytes | None = None  # the content's message id, 16 bytes; None for contents that are not receipted


_COLUMNS = (
    "contact_id, device_key, created_at, expires_at, message_row, content, packet, packet_hash, state, attempts, "
    "next_attempt_at, reason, id, content_id"
)
_SELECT = f"SELECT {_COLUMNS} FROM deliveries"  # noqa: S608 - constant


_WITH_STATUS = "SELECT d.id, m.status FROM deliveries AS d LEFT JOIN messages AS m ON m.id = d.message_row"

LIES_THERE = "it lies in mailboxes of theirs already, and may be read"


def _row(values: Row) -> DeliveryRow:
    return replace(DeliveryRow(*values), state=Status(values[8]))


def enqueue(
    tx: Tx,
    *,
    contact_id: int,
    device_key: bytes,
    now: float,
    message_row: int | None = None,
    content_id: bytes | None = None,
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
    expires_at = now + lifetime_seconds
    row_id = tx.insert(
        "INSERT INTO deliveries (contact_id, device_key, created_at, expires_at, message_row, content, packet, "
        "packet_hash, state, attempts, next_attempt_at, reason, content_id) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            contact_id,
            device_key,
            now,
            expires_at,
            message_row,
            content,
            packet,
            packet_hash,
            Status.QUEUED,
            0,
            now,
            reason,
            content_id,
        ),
    )
    return DeliveryRow(
        contact_id=contact_id,
        device_key=device_key,
        created_at=now,
        expires_at=expires_at,
        message_row=message_row,
        content=content,
        packet=packet,
        packet_hash=packet_hash,
        next_attempt_at=now,
        reason=reason,
        id=row_id,
        content_id=content_id,
    )


def _check_room(tx: Tx, contact_id: int, device_key: bytes) -> None:
    where = "FROM deliveries WHERE contact_id = ? AND device_key = ?"
    span = tx.number(
        f"SELECT (SELECT id {where} ORDER BY id DESC LIMIT 1) - (SELECT id {where} ORDER BY id LIMIT 1)",
        (contact_id, device_key) * 2,
    )
    if span < OUTBOX_PER_DEVICE - 1:  # ids only grow, so there cannot be more rows: counting 10,000 takes 1 ms
        return
    count = tx.number(f"SELECT count(*) {where}", (contact_id, device_key))
    if count >= OUTBOX_PER_DEVICE:
        raise OutboxFull(waiting=count, limit=OUTBOX_PER_DEVICE)


def get(tx: Tx, row_id: int) -> DeliveryRow | None:
    """Return one delivery with its packet, or None when it is done."""
    row = tx.one(f"{_SELECT} WHERE id = ?", (row_id,))
    return None if row is None else _row(row)


def of_message(tx: Tx, message_row: int) -> tuple[DeliveryRow, ...]:
    """Return a message's open deliveries, one a device."""
    return tuple(_row(row) for row in tx.all(f"{_SELECT} WHERE message_row = ? ORDER BY id", (message_row,)))


def with_content(tx: Tx, contact_id: int, device_key: bytes, content_id: bytes) -> tuple[int, ...]:
    """Return the open deliveries of a content, by its message id, to one device of a contact."""
    rows = tx.all(
        "SELECT id FROM deliveries WHERE content_id = ? AND contact_id = ? AND device_key = ? ORDER BY id",
        (content_id, contact_id, device_key),
    )
    return tuple(int(row[0]) for row in rows)


def finish(
    tx: Tx, row_id: int, outcome: Status, *, now: float, reason: str | None = None, path: str | None = None
) -> MessageRow | None:
    """End a delivery as delivered, expired or failed: its packet is deleted. Return the message if its status changed.

    One device that has it makes the message delivered; it has failed or expired only when no packet of it is open.
    """
    if outcome in OPEN:
        raise ValueError(f"{outcome} is not the end of a delivery")
    row = tx.one("SELECT message_row FROM deliveries WHERE id = ?", (row_id,))  # its packet is not read for that
    if row is not None and row[0] is None and outcome is Status.DELIVERED:
        queue_told.confirm(tx, row_id)
    tx.execute("DELETE FROM deliveries WHERE id = ?", (row_id,))
    if row is None or row[0] is None:
        return None
    others = tx.all("SELECT state FROM deliveries WHERE message_row = ?", (row[0],))
    status = derive((outcome, *(Status(state) for (state,) in others))) or outcome
    return messages.move(tx, int(row[0]), status, now=now, reason=reason, path=path)


def expire(tx: Tx, *, now: float, limit: int = EXPIRE_DELIVERIES) -> tuple[MessageRow, ...]:
    """End what was not delivered in time, `limit` at one time; return the messages whose status changed."""
    rows = tx.all("SELECT id, reason FROM deliveries WHERE expires_at <= ? ORDER BY expires_at LIMIT ?", (now, limit))
    ended = [finish(tx, row_id, Status.EXPIRED, now=now, reason=reason) for row_id, reason in rows]
    return tuple(message for message in ended if message is not None)


def drop_of_contact(tx: Tx, contact_id: int, *, now: float, reason: str) -> tuple[MessageRow, ...]:
    """End everything for a contact as failed (blocked, refused); return the messages whose status changed."""
    rows = tx.all(f"{_WITH_STATUS} WHERE d.contact_id = ? ORDER BY d.id", (contact_id,))
    return _failed(tx, rows, now=now, reason=reason)


def drop_of_device(tx: Tx, contact_id: int, device_key: bytes, *, now: float, reason: str) -> tuple[MessageRow, ...]:
    """End everything for one device of a contact as failed (revoked); return the messages whose status changed."""
    rows = tx.all(f"{_WITH_STATUS} WHERE d.contact_id = ? AND d.device_key = ? ORDER BY d.id", (contact_id, device_key))
    return _failed(tx, rows, now=now, reason=reason)


def _failed(tx: Tx, rows: Sequence[Row], *, now: float, reason: str) -> tuple[MessageRow, ...]:
    """End deliveries; a message that lies in mailboxes cannot be called back, and its reason says so."""
    ended = [
        finish(tx, row_id, Status.FAILED, now=now, reason=f"{reason}; {LIES_THERE}" if status == "stored" else reason)
        for row_id, status in rows
    ]
    return tuple(message for message in ended if message is not None)
