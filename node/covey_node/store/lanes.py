"""The outbox as lanes see it: one device's packets in order, in pages.

Owns: the queries and bulk changes of table `deliveries` that delivery makes. Functions take a `Tx`.
Spec: docs/spec/delivery.md. Never touches: what a packet means, the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from covey_node.limits import MESSAGE_ID_BYTES
from covey_node.protocol.status import Status
from covey_node.store import messages
from covey_node.store.messages import MessageRow
from covey_node.store.tx import Tx


@dataclass(frozen=True, slots=True)
class Sealed:
    """One packet as it goes out; None while its content waits for a session."""

    id: int
    packet: bytes | None = field(repr=False)


def devices(tx: Tx) -> tuple[tuple[int, bytes], ...]:
    """Return (contact id, device key) of every device for which something is waiting, longest waiting first."""
    rows = tx.all("SELECT contact_id, device_key FROM deliveries GROUP BY contact_id, device_key ORDER BY min(id)")
    return tuple((int(row[0]), bytes(row[1])) for row in rows)


def ids(tx: Tx, contact_id: int, device_key: bytes, *, after: int, limit: int) -> tuple[int, ...]:
    """Return up to `limit` deliveries to a device with ids over `after`, in the order they were queued."""
    rows = tx.all(
        "SELECT id FROM deliveries WHERE contact_id = ? AND device_key = ? AND id > ? ORDER BY id LIMIT ?",
        (contact_id, device_key, after, limit),
    )
    return tuple(int(row[0]) for row in rows)


def has_unsealed(tx: Tx, contact_id: int, device_key: bytes) -> bool:
    """Tell whether a content waits for a session with the device."""
    found = tx.one(
        "SELECT 1 FROM deliveries WHERE contact_id = ? AND device_key = ? AND packet IS NULL LIMIT 1",
        (contact_id, device_key),
    )
    return found is not None


def unsealed(tx: Tx, contact_id: int, device_key: bytes, *, limit: int) -> tuple[tuple[int, bytes], ...]:
    """Return up to `limit` (delivery id, encoded content) that wait for a session with the device, in order."""
    rows = tx.all(
        "SELECT id, content FROM deliveries WHERE contact_id = ? AND device_key = ? AND packet IS NULL "
        "ORDER BY id LIMIT ?",
        (contact_id, device_key, limit),
    )
    return tuple((int(row[0]), bytes(row[1])) for row in rows)


def newest_contents(tx: Tx, contact_id: int, device_key: bytes, *, limit: int) -> tuple[tuple[int, bytes], ...]:
    """Return (delivery id, encoded content) of what is no message among the newest `limit` deliveries to a device."""
    rows = tx.all(
        "SELECT id, content FROM (SELECT id, content, message_row FROM deliveries "
        "WHERE contact_id = ? AND device_key = ? ORDER BY id DESC LIMIT ?) "
        "WHERE message_row IS NULL AND content IS NOT NULL",
        (contact_id, device_key, limit),
    )
    return tuple((int(row[0]), bytes(row[1])) for row in rows)


def sealed(tx: Tx, row_id: int, *, packet: bytes, packet_hash: bytes) -> None:
    """Store the packet of a content; the content is kept until delivery, for the case that the session was lost."""
    tx.execute("DELETE FROM deposits WHERE delivery = ?", (row_id,))  # a former packet's: nobody can open it
    tx.execute("UPDATE deliveries SET packet = ?, packet_hash = ? WHERE id = ?", (packet, packet_hash, row_id))


def unseal_all(tx: Tx, contact_id: int, device_key: bytes) -> int:
    """Forget the packets for a device whose session is lost, so that contents are sealed anew; return how many.

    What was laid into mailboxes of them cannot be opened there either, and counts no longer.
    """
    tx.execute(
        "DELETE FROM deposits WHERE delivery IN "
        "(SELECT id FROM deliveries WHERE contact_id = ? AND device_key = ? AND content IS NOT NULL)",
        (contact_id, device_key),
    )
    return tx.execute(
        "UPDATE deliveries SET packet = NULL, packet_hash = NULL WHERE contact_id = ? AND device_key = ? "
        "AND content IS NOT NULL",
        (contact_id, device_key),
    )


def packets(tx: Tx, row_ids: Sequence[int]) -> tuple[Sealed, ...]:
    """Return the packets of these deliveries, in this order; those that are done are left out."""
    marks = ", ".join("?" * len(row_ids))
    rows = tx.all(f"SELECT id, packet FROM deliveries WHERE id IN ({marks})", row_ids)  # noqa: S608 - only marks
    found = {int(row[0]): row[1] for row in rows}
    return tuple(Sealed(row_id, found[row_id]) for row_id in row_ids if row_id in found)


def mark_sent(tx: Tx, row_ids: Sequence[int], *, now: float, path: str) -> tuple[MessageRow, ...]:
    """Note that packets were written to a stream; return the messages whose status changed."""
    changed = []
    for row_id in row_ids:
        row = tx.one("SELECT message_row FROM deliveries WHERE id = ?", (row_id,))
        if row is None:
            continue
        tx.execute("UPDATE deliveries SET state = 'sent' WHERE id = ? AND state = 'queued'", (row_id,))
        if row[0] is not None and (moved := messages.move(tx, int(row[0]), Status.SENT, now=now, path=path)):
            changed.append(moved)
    return tuple(changed)


def postpone_device(tx: Tx, contact_id: int, device_key: bytes, *, until: float, reason: str) -> tuple[MessageRow, ...]:
    """Note a failed try for everything that waits for a device; return the messages whose shown reason changed."""
    tx.execute(
        "UPDATE deliveries SET attempts = attempts + 1, next_attempt_at = ?, reason = ? "
        "WHERE contact_id = ? AND device_key = ?",
        (until, reason, contact_id, device_key),
    )
    waiting = "SELECT message_row FROM deliveries WHERE contact_id = ? AND device_key = ? AND message_row IS NOT NULL"
    rows = tx.all(
        f"SELECT id FROM messages WHERE id IN ({waiting}) AND reason IS NOT ? AND status IN ('queued', 'sent')",  # noqa: S608
        (contact_id, device_key, reason),
    )
    tx.execute(
        f"UPDATE messages SET attempts = attempts + 1, reason = ? WHERE id IN ({waiting}) "  # noqa: S608 - constant
        "AND status IN ('queued', 'sent')",
        (reason, contact_id, device_key),
    )
    return tuple(row for (row_id,) in rows if (row := messages.get(tx, row_id)) is not None)


def next_attempt(tx: Tx, message_row: int) -> float | None:
    """Return when the next try for a message is due, None when nothing of it waits."""
    row = tx.one("SELECT min(next_attempt_at) FROM deliveries WHERE message_row = ?", (message_row,))
    return None if row is None or row[0] is None else float(row[0])


def held_back(tx: Tx, contact_id: int) -> tuple[MessageRow, ...]:
    """Return our queued messages for which no delivery was made yet (the contact had not accepted), in order."""
    rows = tx.all(
        "SELECT id FROM messages WHERE contact_id = ? AND outgoing = 1 AND status = 'queued' AND deleted_at IS NULL "
        "AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message_row = messages.id) ORDER BY id",
        (contact_id,),
    )
    return tuple(row for (row_id,) in rows if (row := messages.get(tx, row_id)) is not None)


def queued(tx: Tx, contact_id: int | None = None) -> int:
    """Return how many messages of ours have not reached their contact yet, of one contact or of all."""
    if contact_id is None:
        return tx.number("SELECT count(*) FROM messages WHERE outgoing = 1 AND status IN ('queued', 'sent', 'stored')")
    return tx.number(
        "SELECT count(*) FROM messages "
        "WHERE contact_id = ? AND outgoing = 1 AND status IN ('queued', 'sent', 'stored')",
        (contact_id,),
    )


def waiting(tx: Tx) -> dict[Status, int]:
    """Return how many messages of ours have not reached their contact yet, by status."""
    rows = tx.all(
        "SELECT status, count(*) FROM messages "
        "WHERE outgoing = 1 AND status IN ('queued', 'sent', 'stored') GROUP BY status"
    )
    return {Status(status): int(count) for status, count in rows}


def messages_named(tx: Tx, digits: str) -> tuple[MessageRow, ...]:
    """Return up to two messages whose id begins with these lower-case hexadecimal digits: two means ambiguous."""
    low = bytes.fromhex(digits.ljust(2 * MESSAGE_ID_BYTES, "0")[: 2 * MESSAGE_ID_BYTES])
    high = bytes.fromhex(digits.ljust(2 * MESSAGE_ID_BYTES, "f")[: 2 * MESSAGE_ID_BYTES])
    rows = tx.all("SELECT id FROM messages WHERE message_id BETWEEN ? AND ? ORDER BY id LIMIT 2", (low, high))
    return tuple(row for (row_id,) in rows if (row := messages.get(tx, row_id)) is not None)
