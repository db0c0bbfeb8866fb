"""Where a request of ours is laid down for somebody who is away: the contact queues that an invite named.

Owns: table `contact_places`. Functions take a `Tx`. Spec: docs/spec/first-contact.md, "The newcomer". Never touches:
relays, keys, the packet itself (deliveries.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from covey_node.protocol.contact_set import ContactSet
from covey_node.store.tx import Row, Tx


@dataclass(frozen=True, slots=True)
class Place:
    """One contact queue of a device, and what became of our request there.

    `packet_hash`: SHA-256 of the packet that its relay says to have stored.
    """

    contact_id: int
    relay: bytes  # PeerId as multihash
    device_key: bytes
    secret: bytes = field(repr=False)
    send_id: bytes = field(repr=False)
    addrs: tuple[str, ...] = ()
    packet_hash: bytes | None = None
    stored_at: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A content that waits for a device, as a packet once it is sealed."""

    id: int
    content: bytes = field(repr=False)
    packet: bytes | None = field(repr=False)


def replace(tx: Tx, contact_id: int, found: ContactSet | None) -> None:
    """Take over the queues that an invite names, in the place of those of a former one."""
    tx.execute("DELETE FROM contact_places WHERE contact_id = ?", (contact_id,))
    if found is None:
        return
    tx.execute_many(
        "INSERT INTO contact_places (contact_id, relay, position, device_key, secret, send_id, addrs) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (contact_id, one.relay, position, found.device, found.secret, one.send_id, json.dumps(one.addrs))
            for position, one in enumerate(found.replicas)
        ],
    )


def of_contact(tx: Tx, contact_id: int) -> tuple[Place, ...]:
    """Return the places for a contact, in the invite's order."""
    rows = tx.all(
        "SELECT contact_id, relay, device_key, secret, send_id, addrs, packet_hash, stored_at, reason "
        "FROM contact_places WHERE contact_id = ? ORDER BY position",
        (contact_id,),
    )
    return tuple(_place(row) for row in rows)


def device_of(tx: Tx, contact_id: int) -> bytes | None:
    """Return the key of the device whose queues an invite named, or None."""
    row = tx.one("SELECT device_key FROM contact_places WHERE contact_id = ? LIMIT 1", (contact_id,))
    return None if row is None else bytes(row[0])


def contacts(tx: Tx) -> tuple[int, ...]:
    """Return the contacts for whom there are places, and something that waits."""
    rows = tx.all(
        "SELECT DISTINCT contact_id FROM contact_places AS place WHERE EXISTS "
        "(SELECT 1 FROM deliveries WHERE contact_id = place.contact_id AND device_key = place.device_key)"
    )
    return tuple(int(one) for (one,) in rows)


def stored(tx: Tx, contact_id: int, relay: bytes, *, packet_hash: bytes, now: float) -> None:
    """Write down that a relay says to have stored a packet."""
    tx.execute(
        "UPDATE contact_places SET packet_hash = ?, stored_at = ?, reason = NULL WHERE contact_id = ? AND relay = ?",
        (packet_hash, now, contact_id, relay),
    )


def refused(tx: Tx, contact_id: int, relay: bytes, *, reason: str) -> None:
    """Write down why nothing was stored at a relay."""
    tx.execute("UPDATE contact_places SET reason = ? WHERE contact_id = ? AND relay = ?", (reason, contact_id, relay))


def waiting(tx: Tx, contact_id: int, device_key: bytes, *, limit: int) -> tuple[Waiting, ...]:
    """Return contents that wait for a device, in their order; those whose content is not kept are left out."""
    rows = tx.all(
        "SELECT id, content, packet FROM deliveries WHERE contact_id = ? AND device_key = ? AND content IS NOT NULL "
        "ORDER BY id LIMIT ?",
        (contact_id, device_key, limit),
    )
    return tuple(Waiting(int(row[0]), bytes(row[1]), None if row[2] is None else bytes(row[2])) for row in rows)


def forget(tx: Tx, contact_id: int) -> None:
    """Forget the places: the contact told its own queues, or nothing goes to it any more."""
    tx.execute("DELETE FROM contact_places WHERE contact_id = ?", (contact_id,))


def _place(row: Row) -> Place:
    contact_id, relay, device_key, secret, send_id, addrs, packet_hash, stored_at, reason = row
    return Place(
        contact_id, relay, device_key, secret, send_id, tuple(json.loads(addrs)), packet_hash, stored_at, reason
    )
