"""Ratchet sessions, one row each; the state is bytes here.

Owns: table `sessions`; at most `SESSIONS_PER_DEVICE` for a device, the one unused for longest goes first.
State rule (DESIGN 4): `save` the advanced state in the same transaction as the packet or message it made.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from covey_node.limits import SESSIONS_PER_DEVICE
from covey_node.store.tx import Row, Tx


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session with one device. `id` is 0 until `add` returned the stored row."""

    contact_id: int
    device_key: bytes  # the other device's Ed25519 key, 32 bytes
    base_key_hash: bytes  # SHA-256 of the base key of its first packet, 32 bytes, unique
    initiator: bool  # we began it
    awaiting_reply: bool  # nothing came back yet: each packet still carries the set-up
    state: bytes = field(repr=False)  # encoded by crypto
    created_at: float = 0.0
    last_received_at: float | None = None
    id: int = 0


_COLUMNS = "contact_id, device_key, base_key_hash, initiator, awaiting_reply, state, created_at, last_received_at, id"
_SELECT = f"SELECT {_COLUMNS} FROM sessions"  # noqa: S608 - constant
_USED = "coalesce(last_received_at, created_at)"


def _row(values: Row) -> SessionRow:
    contact_id, device_key, base_key_hash, initiator, awaiting, *rest = values
    return SessionRow(contact_id, device_key, base_key_hash, bool(initiator), bool(awaiting), *rest)


def add(tx: Tx, row: SessionRow) -> SessionRow:
    """Store a new session and drop the device's oldest ones over the limit. `Conflict` when its base key was seen."""
    row_id = tx.insert(
        "INSERT INTO sessions (contact_id, device_key, base_key_hash, initiator, awaiting_reply, state, created_at, "
        "last_received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.contact_id,
            row.device_key,
            row.base_key_hash,
            row.initiator,
            row.awaiting_reply,
            row.state,
            row.created_at,
            row.last_received_at,
        ),
    )
    tx.execute(
        "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE contact_id = ? AND device_key = ? AND id <> ? "  # noqa: S608
        f"ORDER BY {_USED} DESC, id DESC LIMIT -1 OFFSET ?)",
        (row.contact_id, row.device_key, row_id, SESSIONS_PER_DEVICE - 1),
    )
    return replace(row, id=row_id)


def save(tx: Tx, row: SessionRow) -> bool:
    """Store a session's advanced state; False when it was dropped meanwhile (then nothing may leave)."""
    changed = tx.execute(
        "UPDATE sessions SET state = ?, awaiting_reply = ?, last_received_at = ? WHERE id = ?",
        (row.state, row.awaiting_reply, row.last_received_at, row.id),
    )
    return changed == 1


def of_device(tx: Tx, contact_id: int, device_key: bytes) -> tuple[SessionRow, ...]:
    """Return the sessions with a device, the one used last first: send with the first, try all to receive."""
    rows = tx.all(
        f"{_SELECT} WHERE contact_id = ? AND device_key = ? ORDER BY {_USED} DESC, id DESC", (contact_id, device_key)
    )
    return tuple(_row(row) for row in rows)


def get(tx: Tx, session_id: int) -> SessionRow | None:
    """Return one session, or None."""
    row = tx.one(f"{_SELECT} WHERE id = ?", (session_id,))
    return None if row is None else _row(row)


def by_base_key(tx: Tx, base_key_hash: bytes) -> SessionRow | None:
    """Return the session that a first packet with this base key made, or None."""
    row = tx.one(f"{_SELECT} WHERE base_key_hash = ?", (base_key_hash,))
    return None if row is None else _row(row)


def remove(tx: Tx, session_id: int) -> None:
    """Delete a session."""
    tx.execute("DELETE FROM sessions WHERE id = ?", (session_id,))


def remove_of_contact(tx: Tx, contact_id: int) -> None:
    """Delete all sessions with a contact (blocked)."""
    tx.execute("DELETE FROM sessions WHERE contact_id = ?", (contact_id,))


def put_first(tx: Tx, session_id: int, *, at: float) -> None:
    """Make a session the newest of its device, from now on the one to send on."""
    tx.execute("UPDATE sessions SET created_at = ? WHERE id = ?", (at, session_id))
