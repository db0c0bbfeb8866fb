"""Packets that were taken already, so that a repeated one is acknowledged and not opened again.

Owns: table `received`, bounded in age and in number a device. Write it in the transaction that stores the message.
"""

from __future__ import annotations

from covey_node.limits import RECEIVED_PER_DEVICE, RECEIVED_SECONDS
from covey_node.store.tx import Tx


def note(tx: Tx, device_key: bytes, packet_hash: bytes, *, outcome: str, now: float) -> None:
    """Remember a packet (SHA-256, 32 bytes) of a device (32 bytes) and what became of it."""
    tx.execute(
        "INSERT INTO received (device_key, packet_hash, outcome, received_at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (device_key, packet_hash) DO NOTHING",
        (device_key, packet_hash, outcome, now),
    )


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
