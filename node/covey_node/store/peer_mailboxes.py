"""Where the devices of our contacts want their mail laid: the newest set of queues that each of them told us.

Owns: tables `peer_mailboxes` and `peer_replicas`. A set never goes back to a lower number. Spec: docs/spec/delivery.md,
"Mailboxes". Never touches: what lies there (deposits.py), relays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from covey_node.protocol.mailboxes import Mailboxes
from covey_node.store.tx import Row, Tx


@dataclass(frozen=True, slots=True)
class PeerReplica:
    """One queue of a set, and what we last met there."""

    relay: bytes  # PeerId as multihash
    send_id: bytes = field(repr=False)  # 24 bytes
    addrs: tuple[str, ...] = ()
    checked_at: float | None = None  # when it was last asked what lies there
    next_attempt_at: float | None = None  # while it refuses or does not answer: the next try
    reason: str | None = None  # why, in words; None when it works


@dataclass(frozen=True, slots=True)
class PeerSet:
    """The queues of one device for us. Without replicas the device wants no mail laid down."""

    number: int
    secret: bytes = field(repr=False)
    replicas: tuple[PeerReplica, ...]


def save(tx: Tx, contact_id: int, device_key: bytes, found: Mailboxes) -> bool:
    """Take over a set; False, and nothing changed, when it is not newer than the one we know.

    What lay in queues that are not in it any more counts no longer.
    """
    known = load(tx, contact_id, device_key)
    if known is not None and found.number <= known.number:
        return False
    tx.execute(
        "INSERT INTO peer_mailboxes (contact_id, device_key, number, secret) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (contact_id, device_key) DO UPDATE SET number = excluded.number, secret = excluded.secret",
        (contact_id, device_key, found.number, found.secret),
    )
    ids = {one.relay: one.send_id for one in found.replicas}
    for old in () if known is None else known.replicas:
        if known is not None and known.secret == found.secret and ids.get(old.relay) == old.send_id:
            continue  # the same queue
        tx.execute(
            "DELETE FROM deposits WHERE relay = ? AND delivery IN "
            "(SELECT id FROM deliveries WHERE contact_id = ? AND device_key = ?)",
            (old.relay, contact_id, device_key),
        )
        tx.execute(
            "DELETE FROM peer_replicas WHERE contact_id = ? AND device_key = ? AND relay = ?",
            (contact_id, device_key, old.relay),
        )
    for position, one in enumerate(found.replicas):
        tx.execute(
            "INSERT INTO peer_replicas (contact_id, device_key, relay, position, send_id, addrs) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (contact_id, device_key, relay) "
            "DO UPDATE SET position = excluded.position, addrs = excluded.addrs",
            (contact_id, device_key, one.relay, position, one.send_id, json.dumps(one.addrs)),
        )
    return True


def load(tx: Tx, contact_id: int, device_key: bytes) -> PeerSet | None:
    """Return the newest set of a device, or None when it never told one."""
    row = tx.one(
        "SELECT number, secret FROM peer_mailboxes WHERE contact_id = ? AND device_key = ?", (contact_id, device_key)
    )
    if row is None:
        return None
    rows = tx.all(
        "SELECT relay, send_id, addrs, checked_at, next_attempt_at, reason FROM peer_replicas "
        "WHERE contact_id = ? AND device_key = ? ORDER BY position",
        (contact_id, device_key),
    )
    return PeerSet(int(row[0]), bytes(row[1]), tuple(_replica(one) for one in rows))


def devices(tx: Tx) -> tuple[tuple[int, bytes], ...]:
    """Return (contact id, device key) of every device that has mailboxes and for which something waits."""
    rows = tx.all(
        "SELECT contact_id, device_key FROM peer_mailboxes AS own WHERE EXISTS (SELECT 1 FROM deliveries "
        "WHERE contact_id = own.contact_id AND device_key = own.device_key)"
    )
    return tuple((int(row[0]), bytes(row[1])) for row in rows)


def note_trouble(
    tx: Tx, contact_id: int, device_key: bytes, relay: bytes, *, reason: str | None, next_attempt_at: float | None
) -> bool:
    """Write down why a replica does not take our mail, and when it is tried again; True when the words changed."""
    old = tx.one(
        "SELECT reason FROM peer_replicas WHERE contact_id = ? AND device_key = ? AND relay = ?",
        (contact_id, device_key, relay),
    )
    if old is None:
        return False
    tx.execute(
        "UPDATE peer_replicas SET reason = ?, next_attempt_at = ? "
        "WHERE contact_id = ? AND device_key = ? AND relay = ?",
        (reason, next_attempt_at, contact_id, device_key, relay),
    )
    return bool(old[0] != reason)


def note_checked(tx: Tx, contact_id: int, device_key: bytes, relays: Sequence[bytes], *, at: float) -> None:
    """Write down that these replicas were asked what lies there."""
    tx.execute_many(
        "UPDATE peer_replicas SET checked_at = ? WHERE contact_id = ? AND device_key = ? AND relay = ?",
        [(at, contact_id, device_key, relay) for relay in relays],
    )


def forget(tx: Tx, contact_id: int, device_key: bytes | None = None) -> None:
    """Forget the mailboxes of a contact (blocked), or of one of its devices (taken off)."""
    where = "contact_id = ?"
    values: list[int | bytes] = [contact_id]
    if device_key is not None:
        where += " AND device_key = ?"
        values.append(device_key)
    tx.execute(f"DELETE FROM deposits WHERE delivery IN (SELECT id FROM deliveries WHERE {where})", values)  # noqa: S608
    tx.execute(f"DELETE FROM peer_mailboxes WHERE {where}", values)  # noqa: S608 - constant


def _replica(values: Row) -> PeerReplica:
    relay, send_id, addrs, checked_at, next_attempt_at, reason = values
    return PeerReplica(bytes(relay), bytes(send_id), tuple(json.loads(addrs)), checked_at, next_attempt_at, reason)
