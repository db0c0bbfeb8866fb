"""Our invite links: who may ask to become a contact.

Owns: table `invites`. Only the token's hash is kept: the link itself cannot be read from here.
"""

from __future__ import annotations

from dataclasses import dataclass

from covey_node.limits import INVITES_MAX
from covey_node.store.errors import StoreError
from covey_node.store.tx import Row, Tx


@dataclass(frozen=True, slots=True)
class InviteRow:
    """One invite link of ours."""

    token_hash: bytes  # SHA-256 of the token, 32 bytes
    label: str
    one_use: bool
    created_at: float
    expires_at: float
    used_at: float | None = None
    used_by: int | None = None  # contact id
    revoked_at: float | None = None

    def refusal(self, *, now: float) -> str | None:
        """Return in words why the link cannot be used now, or None when it can."""
        if self.revoked_at is not None:
            return "the invite was taken back"
        if now >= self.expires_at:
            return "the invite has expired"
        if self.one_use and self.used_at is not None:
            return "the invite was used already"
        return None


_COLUMNS = "token_hash, label, one_use, created_at, expires_at, used_at, used_by, revoked_at"
_SELECT = f"SELECT {_COLUMNS} FROM invites"  # noqa: S608 - constant


def _row(values: Row) -> InviteRow:
    token_hash, label, one_use, *rest = values
    return InviteRow(token_hash, label, bool(one_use), *rest)


def add(tx: Tx, row: InviteRow) -> None:
    """Store an invite; `StoreError` when too many are open."""
    still_open = "SELECT count(*) FROM invites WHERE expires_at > ? AND revoked_at IS NULL"
    if tx.number(still_open, (row.created_at,)) >= INVITES_MAX:
        raise StoreError(f"there are {INVITES_MAX} open invites; revoke some, or wait until they expire")
    tx.execute(
        f"INSERT INTO invites ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant
        (
            row.token_hash,
            row.label,
            row.one_use,
            row.created_at,
            row.expires_at,
            row.used_at,
            row.used_by,
            row.revoked_at,
        ),
    )


def get(tx: Tx, token_hash: bytes) -> InviteRow | None:
    """Return the invite of a token, or None when we never made it."""
    row = tx.one(f"{_SELECT} WHERE token_hash = ?", (token_hash,))
    return None if row is None else _row(row)


def open_ones(tx: Tx, *, now: float) -> tuple[InviteRow, ...]:
    """Return the invites that have not expired and were not revoked, newest first."""
    rows = tx.all(
        f"{_SELECT} WHERE expires_at > ? AND revoked_at IS NULL ORDER BY created_at DESC, token_hash LIMIT ?",
        (now, INVITES_MAX),
    )
    return tuple(_row(row) for row in rows)


def any_open(tx: Tx, *, now: float) -> bool:
    """Tell whether an invite can still be used."""
    found = tx.one(
        "SELECT 1 FROM invites WHERE expires_at > ? AND revoked_at IS NULL AND used_at IS NULL LIMIT 1", (now,)
    )
    return found is not None


def use(tx: Tx, token_hash: bytes, *, contact_id: int, now: float) -> str | None:
    """Use an invite for a contact; return None when that was allowed, else the refusal in words.

    The same contact may come again with a one-use invite: its request is repeated until it is answered.
    """
    row = get(tx, token_hash)
    if row is None:
        return "the invite is not known here"
    if row.used_by == contact_id and row.revoked_at is None:
        return None
    refusal = row.refusal(now=now)
    if refusal is None:
        tx.execute("UPDATE invites SET used_at = ?, used_by = ? WHERE token_hash = ?", (now, contact_id, token_hash))
    return refusal


def revoke(tx: Tx, token_hash: bytes, *, now: float) -> bool:
    """Make an invite unusable; False when it is unknown or was revoked before."""
    changed = tx.execute(
        "UPDATE invites SET revoked_at = ? WHERE token_hash = ? AND revoked_at IS NULL", (now, token_hash)
    )
    return changed == 1


def prune(tx: Tx, *, before: float) -> int:
    """Delete the invites that expired before a time; return how many."""
    return tx.execute("DELETE FROM invites WHERE expires_at < ?", (before,))
