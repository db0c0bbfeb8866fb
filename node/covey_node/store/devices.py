"""The devices of our contacts, and the log of their changes.

Owns: tables `devices` and `key_changes`. Functions take a `Tx`.
Never touches: signatures (whoever calls has verified the device list).
"""

from __future__ import annotations

from dataclasses import dataclass

from covey_node.store.tx import Tx


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One device of a contact; its Ed25519 key is its PeerId."""

    contact_id: int
    device_key: bytes  # Ed25519 public key, 32 bytes
    dh_key: bytes  # X25519 public key, 32 bytes
    added_at: float
    bundle: bytes | None = None  # newest prekey bundle, verified and encoded
    bundle_at: float | None = None
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class KeyChangeRow:
    """One change of a contact's devices, as the user is shown it."""

    id: int
    contact_id: int
    device_key: bytes
    change: str  # added | revoked
    reason: str
    changed_at: float
    accepted_at: float | None  # the user accepted it then; open until then


_COLUMNS = "contact_id, device_key, dh_key, added_at, bundle, bundle_at, revoked_at"
_SELECT = f"SELECT {_COLUMNS} FROM devices"  # noqa: S608 - constant


def put(tx: Tx, row: DeviceRow) -> None:
    """Store a device, or what is new about it: a revocation stays, a bundle is kept when the new row has none."""
    tx.execute(
        f"INSERT INTO devices ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?) "  # noqa: S608 - constant
        "ON CONFLICT (contact_id, device_key) DO UPDATE SET dh_key = excluded.dh_key, "
        "bundle = coalesce(excluded.bundle, bundle), bundle_at = coalesce(excluded.bundle_at, bundle_at), "
        "revoked_at = coalesce(revoked_at, excluded.revoked_at)",
        (row.contact_id, row.device_key, row.dh_key, row.added_at, row.bundle, row.bundle_at, row.revoked_at),
    )


def get(tx: Tx, contact_id: int, device_key: bytes) -> DeviceRow | None:
    """Return one device of one contact, or None."""
    row = tx.one(f"{_SELECT} WHERE contact_id = ? AND device_key = ?", (contact_id, device_key))
    return None if row is None else DeviceRow(*row)


def of_contact(tx: Tx, contact_id: int, *, revoked: bool = False) -> tuple[DeviceRow, ...]:
    """Return a contact's devices, oldest first; with `revoked` also those taken off the list."""
    condition = "" if revoked else " AND revoked_at IS NULL"
    rows = tx.all(f"{_SELECT} WHERE contact_id = ?{condition} ORDER BY added_at, device_key", (contact_id,))
    return tuple(DeviceRow(*row) for row in rows)


def keys(tx: Tx, contact_id: int) -> tuple[bytes, ...]:
    """Return the keys of a contact's devices, oldest first, without those taken off the list."""
    rows = tx.all(
        "SELECT device_key FROM devices WHERE contact_id = ? AND revoked_at IS NULL ORDER BY added_at, device_key",
        (contact_id,),
    )
    return tuple(row[0] for row in rows)


def with_key(tx: Tx, device_key: bytes) -> tuple[DeviceRow, ...]:
    """Return the devices with that key that are not revoked: one, unless two accounts claim the same device.

    Those with a session come first: others may claim the device too, but it never proved to be theirs.
    """
    rows = tx.all(
        f"{_SELECT} WHERE device_key = ? AND revoked_at IS NULL "  # noqa: S608 - constant
        "ORDER BY EXISTS (SELECT 1 FROM sessions WHERE contact_id = devices.contact_id "
        "AND device_key = devices.device_key) DESC, contact_id LIMIT 8",
        (device_key,),
    )
    return tuple(DeviceRow(*row) for row in rows)


def set_bundle(tx: Tx, contact_id: int, device_key: bytes, bundle: bytes, *, now: float) -> bool:
    """Store a device's newest prekey bundle; False when the device is unknown."""
    changed = tx.execute(
        "UPDATE devices SET bundle = ?, bundle_at = ? WHERE contact_id = ? AND device_key = ?",
        (bundle, now, contact_id, device_key),
    )
    return changed == 1


def revoke(tx: Tx, contact_id: int, device_key: bytes, *, now: float) -> None:
    """Take a device off: its sessions are deleted, and it stays revoked."""
    tx.execute(
        "UPDATE devices SET revoked_at = coalesce(revoked_at, ?), bundle = NULL "
        "WHERE contact_id = ? AND device_key = ?",
        (now, contact_id, device_key),
    )
    tx.execute("DELETE FROM sessions WHERE contact_id = ? AND device_key = ?", (contact_id, device_key))


def log_change(tx: Tx, contact_id: int, device_key: bytes, *, change: str, reason: str, now: float) -> int:
    """Add an entry to the key-change log; return its id."""
    return tx.insert(
        "INSERT INTO key_changes (contact_id, device_key, change, reason, changed_at) VALUES (?, ?, ?, ?, ?)",
        (contact_id, device_key, change, reason, now),
    )


def changes(tx: Tx, contact_id: int, *, unaccepted: bool = False, limit: int = 100) -> tuple[KeyChangeRow, ...]:
    """Return a contact's key changes, newest first."""
    condition = " AND accepted_at IS NULL" if unaccepted else ""
    rows = tx.all(
        "SELECT id, contact_id, device_key, change, reason, changed_at, accepted_at FROM key_changes "  # noqa: S608 - constant
        f"WHERE contact_id = ?{condition} ORDER BY id DESC LIMIT ?",
        (contact_id, limit),
    )
    return tuple(KeyChangeRow(*row) for row in rows)


def unaccepted(tx: Tx, contact_id: int) -> frozenset[bytes]:
    """Return the keys of devices that came to a contact and that the user has not looked at."""
    rows = tx.all(
        "SELECT DISTINCT device_key FROM key_changes WHERE contact_id = ? AND change = 'added' AND accepted_at IS NULL",
        (contact_id,),
    )
    return frozenset(bytes(key) for (key,) in rows)


def accept_changes(tx: Tx, contact_id: int, *, now: float) -> int:
    """Note that the user accepted all of a contact's open key changes; return how many."""
    return tx.execute(
        "UPDATE key_changes SET accepted_at = ? WHERE contact_id = ? AND accepted_at IS NULL", (now, contact_id)
    )
