"""Our own account and device, and small named values of the node.

Owns: tables `account` (one row) and `meta`. Functions take a `Tx`.
Never touches: what the bytes of a device list or of device keys mean (covey_node.crypto encodes them).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from covey_node.store.tx import Tx


@dataclass(frozen=True, slots=True)
class AccountRow:
    """Our account on this device. Seeds and secrets have 32 bytes."""

    account_key: bytes  # Ed25519 public key, 32 bytes
    account_seed: bytes | None = field(repr=False)  # None on a device that is not the primary
    name: str
    device_list: bytes  # our signed device list, encoded by crypto
    device_keys: bytes = field(repr=False)  # this device's private keys, encoded by crypto
    prekeys: bytes = field(repr=False)  # the private halves of our prekeys, encoded by crypto
    record_seed: bytes = field(repr=False)  # the record key A: Ed25519 seed
    record_secret: bytes = field(repr=False)  # the contact secret that blinds A
    record_sequence: int  # the sequence last used for our contact record
    created_at: float


_COLUMNS = (
    "account_key, account_seed, name, device_list, device_keys, prekeys, record_seed, record_secret, record_sequence, "
    "created_at"
)


def create(tx: Tx, row: AccountRow) -> None:
    """Store our account; `Conflict` when there is one."""
    tx.execute(
        f"INSERT INTO account (id, {_COLUMNS}) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant
        (
            row.account_key,
            row.account_seed,
            row.name,
            row.device_list,
            row.device_keys,
            row.prekeys,
            row.record_seed,
            row.record_secret,
            row.record_sequence,
            row.created_at,
        ),
    )


def load(tx: Tx) -> AccountRow | None:
    """Return our account, or None in a database that was never filled."""
    row = tx.one(f"SELECT {_COLUMNS} FROM account WHERE id = 1")  # noqa: S608 - constant
    return None if row is None else AccountRow(*row)


def prekeys(tx: Tx) -> bytes:
    """Return our encoded prekeys; read them in the transaction that changes them."""
    row = tx.one("SELECT prekeys FROM account WHERE id = 1")
    return b"" if row is None else bytes(row[0])


def set_prekeys(tx: Tx, prekeys: bytes) -> None:
    """Replace our encoded prekeys: rotated, added to, or one used up. `secure_delete` wipes the old ones."""
    tx.execute("UPDATE account SET prekeys = ?", (prekeys,))


def next_record_sequence(tx: Tx, *, at_least: int = 0) -> int:
    """Take the next sequence of our contact record: above all before, and `at_least` (give the time in seconds)."""
    tx.execute("UPDATE account SET record_sequence = max(record_sequence + 1, ?)", (at_least,))
    return tx.number("SELECT record_sequence FROM account")


def replace_record_keys(tx: Tx, *, record_seed: bytes, record_secret: bytes) -> None:
    """Replace the record key and the contact secret, as after blocking somebody (DESIGN 6)."""
    tx.execute("UPDATE account SET record_seed = ?, record_secret = ?", (record_seed, record_secret))


def get_meta(tx: Tx, key: str) -> bytes | None:
    """Return a small named value, or None."""
    row = tx.one("SELECT value FROM meta WHERE key = ?", (key,))
    return None if row is None else bytes(row[0])


def set_meta(tx: Tx, key: str, value: bytes) -> None:
    """Store a small named value."""
    tx.execute(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )
