"""Packets that were taken already, so that a repeated one is acknowledged and not opened again.

Owns: table `received`, bounded in age and in number a device. Write it in the transaction that stores the message.
"""

from __future__ import annotations

from covey_node.limits import RECEIPT_AGAIN_SECONDS, RECEIVED_PER_DEVICE, RECEIVED_SECONDS
from covey_node.store.tx import Tx


def note(
    tx: Tx, device_key: bytes, packet_hash: bytes, *, outcome: str, now: float, content_id: bytes | None = None
) -> None:
    """Remember a packet (SHA-256, 32 bytes) of a device (32 bytes) and what became of it.

    `content_id` (16 bytes): of the content inside, where it is one that a receipt may answer.
    """
    tx.execute(
        "INSERT INTO received (device_key, packet_hash, outcome, received_at, content_id) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (device_key, packet_hash) DO NOTHING",
        (device_key, packet_hash, outcome, now, content_id),
    )


def to_answer(tx: Tx, device_key: bytes, packet_hash: bytes, *, now: float) -> bytes | None:
    """Return the content of a packet that came by a mailbox if it is to be answered now, and note that it is.

    None for what no receipt answers, for an unknown packet, and when it was answered within `RECEIPT_AGAIN_SECONDS`:
    each replica brings a packet of its own accord.
    """
    row = tx.one(
        "SELECT content_id, answered_at FROM received WHERE device_key = ? AND packet_hash = ?",
        (device_key, packet_hash),
    )
    if row is None or row[0] is None or (row[1] is not None and abs(now - row[1]) < RECEIPT_AGAIN_SECONDS):
        return None
    tx.execute(
        "UPDATE received SET answered_at = ? WHERE device_key = ? AND packet_hash = ?", (now, device_key, packet_hash)
    )
    return bytes(row[0])


def outcome(tx: Tx, device_key: bytes, packet_hash: bytes) -> str | None:
    """Return what became of a packet, or None when it is new."""
    row = tx.one("SELECT outcome FROM received WHERE device_key = ? AND packet_hash = ?", (device_key, packet_hash))
    return None if row is None else str(row[0])


def prune(tx: Tx, *, now: float) -> int:
    """Forget what is too old, and the oldest of a device over its number; return how many. Run it now and then."""
    gone = tx.execute("DELETE FROM received WHERE received_at < ?", (now - RECEIVED_SECONDS,))
    crowded = tx.all("SELECT device_key FROM received GROUP BY device_key HAVING count(*) > ?", (RECEIVED_PER_DEVICE,))
    for (device_key,) in crowded:
        gone += tx.execute(
            "DELETE FROM received WHERE device_key = ? AND packet_hash IN (SELECT packet_hash FROM received "
            "WHERE device_key = ? ORDER BY received_at DESC, packet_hash LIMIT -1 OFFSET ?)",
            (device_key, device_key, RECEIVED_PER_DEVICE),
        )
    return gone
