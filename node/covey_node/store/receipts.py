"""Receipts that we owe: contents that came by a mailbox and were not answered yet.

Owns: table `receipts_due`. A row is written in the transaction that takes the content, and deleted in the one that
queues the receipt. Functions take a `Tx`. Never touches: when a receipt is due (the caller draws it), how it goes.
"""

from __future__ import annotations

from covey_node.store.tx import Tx


def owe(tx: Tx, contact_id: int, device_key: bytes, content_id: bytes, *, due_at: float) -> None:
    """Note that a device is owed a receipt for a content (16 bytes); it goes with those that are due already."""
    tx.execute(
        "INSERT INTO receipts_due (contact_id, device_key, content_id, due_at) VALUES (?, ?, ?, coalesce("
        "(SELECT min(due_at) FROM receipts_due WHERE contact_id = ? AND device_key = ?), ?)) "
        "ON CONFLICT (contact_id, device_key, content_id) DO NOTHING",
        (contact_id, device_key, content_id, contact_id, device_key, due_at),
    )


def next_due(tx: Tx) -> float | None:
    """Return when the first receipt is due, None when none is owed."""
    row = tx.one("SELECT min(due_at) FROM receipts_due")
    return None if row is None or row[0] is None else float(row[0])


def devices(tx: Tx, *, now: float, limit: int) -> tuple[tuple[int, bytes], ...]:
    """Return up to `limit` (contact id, device key) to which receipts are due."""
    rows = tx.all("SELECT DISTINCT contact_id, device_key FROM receipts_due WHERE due_at <= ? LIMIT ?", (now, limit))
    return tuple((int(contact_id), bytes(key)) for contact_id, key in rows)


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


def hurry(tx: Tx, contact_id: int, device_key: bytes, *, at: float) -> None:
    """Have what is owed to a device due at `at` at the latest: a stream to it stands, and shows no more by it."""
    tx.execute(
        "UPDATE receipts_due SET due_at = min(due_at, ?) WHERE contact_id = ? AND device_key = ?",
        (at, contact_id, device_key),
    )


def forgive(tx: Tx, contact_id: int) -> None:
    """Owe a contact nothing more (blocked)."""
    tx.execute("DELETE FROM receipts_due WHERE contact_id = ?", (contact_id,))
