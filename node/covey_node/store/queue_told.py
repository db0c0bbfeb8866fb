"""Whom a set of our queues was told, and who has confirmed it.

Owns: table `queue_told`. Functions take a `Tx`. A set is confirmed when the delivery that tells it ends because the
device has it. Never touches: how a set is told (contents), the queues themselves (queues.py).
"""

from __future__ import annotations

from collections.abc import Collection

from covey_node.store.tx import Tx


def told(tx: Tx, set_id: int, device_key: bytes, *, number: int, content_id: bytes) -> None:
    """Write down that a content (its message id, 16 bytes) on its way to a device tells it composition `number`."""
    tx.execute(
        "INSERT INTO queue_told (set_id, device_key, number, content_id, confirmed) VALUES (?, ?, ?, ?, 0) "
        "ON CONFLICT (set_id, device_key) DO UPDATE SET number = excluded.number, content_id = excluded.content_id",
        (set_id, device_key, number, content_id),
    )


def confirm(tx: Tx, delivery: int) -> bool:
    """Write down that a device has what this delivery brings it; True when that told it a set."""
    changed = tx.execute(
        "UPDATE queue_told SET confirmed = number WHERE (device_key, content_id) = "
        "(SELECT device_key, content_id FROM deliveries WHERE id = ?)",
        (delivery,),
    )
    return changed > 0


def untold(tx: Tx, set_id: int, devices: Collection[bytes], *, number: int) -> tuple[bytes, ...]:
    """Return those devices to which composition `number` is to be told: no content that does is on its way or there.

    One that was on its way for as long as deliveries last and expired is told again.
    """
    rows = tx.all(
        "SELECT device_key, number, confirmed, EXISTS (SELECT 1 FROM deliveries "
        "WHERE content_id = queue_told.content_id AND device_key = queue_told.device_key) "
        "FROM queue_told WHERE set_id = ?",
        (set_id,),
    )
    known = {bytes(key) for key, last, confirmed, waits in rows if last >= number and (confirmed >= number or waits)}
    return tuple(key for key in devices if key not in known)


def waiting(tx: Tx, set_id: int, device_key: bytes) -> tuple[tuple[int, bytes], ...]:
    """Return the delivery, and its content, that tells a device a set and has not been sent or stored anywhere yet."""
    rows = tx.all(
        "SELECT id, content FROM deliveries WHERE (device_key, content_id) = "
        "(SELECT device_key, content_id FROM queue_told WHERE set_id = ? AND device_key = ?) AND state = 'queued' "
        "AND content IS NOT NULL AND NOT EXISTS "
        "(SELECT 1 FROM deposits WHERE delivery = deliveries.id AND stored_at IS NOT NULL)",
        (set_id, device_key),
    )
    return tuple((int(row[0]), bytes(row[1])) for row in rows)


def state(tx: Tx, set_id: int) -> dict[bytes, int]:
    """Return which composition each device that was told one has confirmed, 0 for none."""
    rows = tx.all("SELECT device_key, confirmed FROM queue_told WHERE set_id = ?", (set_id,))
    return {bytes(key): int(number) for key, number in rows}


def confirmed(tx: Tx, set_id: int, devices: Collection[bytes]) -> int:
    """Return the highest composition that all these devices have confirmed, 0 when one has confirmed none."""
    found = state(tx, set_id)
    return min((found.get(key, 0) for key in devices), default=0)
