"""Receipts that we owe: contents that came by a mailbox and were not answered yet.

Owns: table `receipts_due`. A row is written in the transaction that takes the content, and deleted in the one that
queues the receipt. Functions take a `Tx`. Never touches: when a receipt is due (the caller draws it), how it goes.
"""

from __future__ import annotations

from dataclasses import dataclass

from covey_node.store.tx import Tx


def owe(tx: Tx, contact_id: int, device_key: bytes, content_id: bytes, *, due_at: float) -> None:
    """Note that a device is owed a receipt for a content (16 bytes); it goes with those that are due already."""
    tx.execute(
        "INSERT INTO receipts_due (contact_id, device_key, content_id, due_at) VALUES (?, ?, ?, coalesce("
        "(SELECT min(due_at) FROM receipts_due WHERE contact_id = ? AND device_key = ?), ?)) "
        "ON CONFLICT (contact_id, device_key, content_id) DO NOTHING",
        (contact_id, device_key, content_id, contact_id, device_key, due_at),
    )


@dataclass(frozen=True, slots=True)
class Owed:
    """A device of a contact that is owed receipts, the first of them at `due_at`."""

    contact_id: int
    device_key: bytes
    due_at: float


def owed(tx: Tx, *, limit: int) -> tuple[Owed, ...]:
    """Return up to `limit` devices that are owed receipts, those first whose are due first."""
    rows = tx.all(
        "SELECT contact_id, device_key, min(due_at) FROM receipts_due GROUP BY contact_id, device_key "
        "ORDER BY min(due_at) LIMIT ?",
        (limit,),
    )
    return tuple(Owed(int(contact_id), bytes(key), float(due_at)) for contact_id, key, due_at in rows)


def take(tx: Tx, contact_id: int, device_key: bytes, *, limit: int) -> tuple[bytes, ...]:
    """Return up to `limit` content ids for which a device is owed a receipt; they are owed no longer."""
    rows = tx.all(
        "SELECT content_id FROM receipts_due WHERE contact_id = ? AND device_key = ? ORDER BY due_at LIMIT ?",
        (contact_id, device_key, limit),
    )
    ids = tuple(bytes(row[0]) for row in rows)
    tx.execute_many(
        "DELETE FROM receipts_due WHERE contact_id = ? AND device_key = ? AND content_id = ?",
        [(contact_id, device_key, content_id) for content_id in ids],
    )
    return ids


def forgive(tx: Tx, contact_id: int) -> None:
    """Owe a contact nothing more (blocked)."""
    tx.execute("DELETE FROM receipts_due WHERE contact_id = ?", (contact_id,))
