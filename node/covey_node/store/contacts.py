"""The people we know, under the names we gave them.

Owns: table `contacts`: account key and alias are unique (case does not count). Functions take a `Tx`.
Never touches: devices and sessions (devices.py, sessions.py), what records and lists mean.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from covey_node.limits import ALIAS_CHARS
from covey_node.protocol.status import ContactState
from covey_node.store.errors import AliasTaken, Conflict
from covey_node.store.tx import Row, Tx, Value


@dataclass(frozen=True, slots=True)
class ContactRow:
    """One contact. `id` is 0 until `add` returned the stored row."""

    account_key: bytes  # Ed25519 public key, 32 bytes, unique
    alias: str  # ours, 1 to 64 characters, unique
    state: ContactState
    created_at: float
    id: int = 0
    profile_name: str = ""  # theirs
    accepted_at: float | None = None
    verified_at: float | None = None
    last_seen: float | None = None
    intro: str | None = None
    reason: str | None = None
    invite_token: bytes | None = field(default=None, repr=False)  # of the link we used, while we are asking
    device_list: bytes | None = None  # the newest signed list we accepted
    record_key: bytes | None = field(default=None, repr=False)  # their record key A (public, 32 bytes)
    record_secret: bytes | None = field(default=None, repr=False)  # their contact secret (32 bytes)
    record_sequence_seen: int = 0  # of their contact record; never goes back
    addrs: tuple[str, ...] = ()  # multiaddrs last known
    relays: tuple[str, ...] = ()  # multiaddrs of their relays


_COLUMNS = (
    "account_key, alias, state, created_at, id, profile_name, accepted_at, verified_at, last_seen, intro, reason, "
    "invite_token, device_list, record_key, record_secret, record_sequence_seen, addrs, relays"
)
_SELECT = f"SELECT {_COLUMNS} FROM contacts"  # noqa: S608 - constant


def fold(alias: str) -> str:
    """Return the form in which aliases are compared: Unicode NFKC, case folded."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", alias).casefold())


def is_alias(text: str) -> bool:
    """Tell whether a contact may be called that: 1 to 64 printable characters, no space at the ends."""
    return 0 < len(text) <= ALIAS_CHARS and text.isprintable() and text == text.strip()


def _row(values: Row) -> ContactRow:
    fields = list(values)
    fields[2] = ContactState(fields[2])
    fields[16:] = (tuple(json.loads(text)) for text in fields[16:])
    return ContactRow(*fields)


def _values(row: ContactRow) -> tuple[Value, ...]:
    return (
        row.alias,
        fold(row.alias),
        row.state,
        row.profile_name,
        row.accepted_at,
        row.verified_at,
        row.last_seen,
        row.intro,
        row.reason,
        row.invite_token,
        row.device_list,
        row.record_key,
        row.record_secret,
        row.record_sequence_seen,
        json.dumps(row.addrs),
        json.dumps(row.relays),
    )


def _check_alias(tx: Tx, row: ContactRow) -> None:
    if not is_alias(row.alias):
        raise Conflict(f"a contact's name has 1 to {ALIAS_CHARS} printable characters and no space at its ends")
    if tx.one("SELECT 1 FROM contacts WHERE alias_folded = ? AND id <> ?", (fold(row.alias), row.id)) is not None:
        raise AliasTaken(row.alias)


def add(tx: Tx, row: ContactRow) -> ContactRow:
    """Store a new contact; return it with its id. `AliasTaken`, or `Conflict` when the account is known."""
    _check_alias(tx, row)
    row_id = tx.insert(
        "INSERT INTO contacts (alias, alias_folded, state, profile_name, accepted_at, verified_at, last_seen, intro, "
        "reason, invite_token, device_list, record_key, record_secret, record_sequence_seen, addrs, relays, "
        "account_key, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*_values(row), row.account_key, row.created_at),
    )
    return replace(row, id=row_id)


def save(tx: Tx, row: ContactRow) -> None:
    """Store all changed values of a contact (`dataclasses.replace` of a row read in this transaction). `AliasTaken`."""
    _check_alias(tx, row)
    tx.execute(
        "UPDATE contacts SET alias = ?, alias_folded = ?, state = ?, profile_name = ?, accepted_at = ?, "
        "verified_at = ?, last_seen = ?, intro = ?, reason = ?, "
        "invite_token = ?, device_list = ?, record_key = ?, record_secret = ?, "
        "record_sequence_seen = ?, addrs = ?, relays = ? WHERE id = ?",
        (*_values(row), row.id),
    )


def get(tx: Tx, contact_id: int) -> ContactRow | None:
    """Return the contact with that row id, or None."""
    row = tx.one(f"{_SELECT} WHERE id = ?", (contact_id,))
    return None if row is None else _row(row)


def alias_of(tx: Tx, contact_id: int) -> str:
    """Return the contact's name, empty when it is gone."""
    row = tx.one("SELECT alias FROM contacts WHERE id = ?", (contact_id,))
    return "" if row is None else str(row[0])


def by_account(tx: Tx, account_key: bytes) -> ContactRow | None:
    """Return the contact with that account key, or None."""
    row = tx.one(f"{_SELECT} WHERE account_key = ?", (account_key,))
    return None if row is None else _row(row)


def by_alias(tx: Tx, alias: str) -> ContactRow | None:
    """Return the contact of that name (case does not count), or None."""
    row = tx.one(f"{_SELECT} WHERE alias_folded = ?", (fold(alias),))
    return None if row is None else _row(row)


def by_account_prefix(tx: Tx, prefix: str) -> tuple[ContactRow, ...]:
    """Return up to two contacts whose account key begins with these hexadecimal digits: two means ambiguous."""
    digits = prefix.lower()
    if not digits or any(digit not in "0123456789abcdef" for digit in digits):
        return ()
    rows = tx.all(f"{_SELECT} WHERE lower(hex(account_key)) LIKE ? ORDER BY id LIMIT 2", (digits + "%",))
    return tuple(_row(row) for row in rows)


def all_in(tx: Tx, states: Collection[ContactState] = tuple(ContactState)) -> tuple[ContactRow, ...]:
    """Return the contacts in these states, by alias."""
    marks = ", ".join("?" * len(states))
    return tuple(
        _row(row) for row in tx.all(f"{_SELECT} WHERE state IN ({marks}) ORDER BY alias_folded", tuple(states))
    )


def free_alias(tx: Tx, wanted: str) -> str:
    """Return `wanted` cut to a legal alias, with a number behind it when another contact has it."""
    cleaned = "".join(char for char in wanted if char.isprintable()).strip()[: ALIAS_CHARS - 7].strip() or "contact"
    alias, number = cleaned, 2
    while by_alias(tx, alias) is not None:
        alias, number = f"{cleaned} {number}", number + 1
    return alias


def seen(tx: Tx, contact_id: int, *, now: float) -> None:
    """Note that an authenticated device of the contact was there; the time never goes back."""
    tx.execute("UPDATE contacts SET last_seen = max(coalesce(last_seen, 0), ?) WHERE id = ?", (now, contact_id))


def remove(tx: Tx, contact_id: int) -> None:
    """Delete a contact with its devices, sessions, messages and packets."""
    tx.execute("DELETE FROM contacts WHERE id = ?", (contact_id,))
