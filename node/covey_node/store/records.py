"""What this node published in the DHT, and when it has to be published again.

Owns: table `records`, one row a name (ours is "contact"; records signed ahead carry their day).
Never touches: the DHT, the record's contents.
"""

from __future__ import annotations

from dataclasses import dataclass

from covey_node.store.tx import Tx


@dataclass(frozen=True, slots=True)
class RecordRow:
    """One published record."""

    name: str
    value: bytes | None  # the signed record, None when it is to be made anew
    sequence: int
    expires_at: float
    published_at: float | None = None
    holders: int = 0  # DHT servers that took it last time
    next_at: float = 0.0  # publish again then


_COLUMNS = "name, value, sequence, expires_at, published_at, holders, next_at"
_SELECT = f"SELECT {_COLUMNS} FROM records"  # noqa: S608 - constant


def put(tx: Tx, row: RecordRow) -> bool:
    """Store a record's state; False when a higher sequence is stored: a record never goes back."""
    changed = tx.execute(
        f"INSERT INTO records ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "  # noqa: S608
        "value = excluded.value, sequence = excluded.sequence, expires_at = excluded.expires_at, "
        "published_at = excluded.published_at, holders = excluded.holders, next_at = excluded.next_at "
        "WHERE excluded.sequence >= sequence",
        (row.name, row.value, row.sequence, row.expires_at, row.published_at, row.holders, row.next_at),
    )
    return changed == 1


def get(tx: Tx, name: str) -> RecordRow | None:
    """Return a record's state, or None."""
    row = tx.one(f"{_SELECT} WHERE name = ?", (name,))
    return None if row is None else RecordRow(*row)


def due(tx: Tx, *, now: float, limit: int = 64) -> tuple[RecordRow, ...]:
    """Return the records to publish now, longest due first."""
    return tuple(
        RecordRow(*row) for row in tx.all(f"{_SELECT} WHERE next_at <= ? ORDER BY next_at LIMIT ?", (now, limit))
    )


def remove(tx: Tx, name: str) -> None:
    """Forget a record."""
    tx.execute("DELETE FROM records WHERE name = ?", (name,))
