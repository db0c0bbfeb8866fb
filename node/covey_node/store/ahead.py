"""The records signed ahead that lie, or may lie, at relays for us.

Owns: table `ahead`, and the small named value that says what all of them hold. Functions take a `Tx`. Spec:
docs/spec/ahead.md, "What a node does". Never touches: what is signed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from covey_node.protocol.ahead_plan import content_hash
from covey_node.store import account
from covey_node.store.tx import Tx

_PLAN_META = "ahead"


@dataclass(frozen=True, slots=True)
class AheadRow:
    """At `relay` (PeerId, multihash) something may lie under `day_key`, with `sequence` or a lower one.

    `content`: the mark of the plan that it was made by. `left_at`: when the relay said that it has it. `withdrawal`:
    the signature (64 bytes) that takes it back; then it is to be sent.
    """

    relay: bytes
    day_key: bytes
    day: int
    sequence: int
    content: bytes
    left_at: float | None = None
    withdrawal: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """What records signed ahead hold now: the hash of it, its `made`, since when (Unix seconds), the record key A.

    Rows carry `mark`: another one each time that a plan is made, also when it holds what an earlier one held.
    """

    content: bytes
    made: int
    at: float
    record_key: bytes

    @property
    def mark(self) -> bytes:
        """What rows that were made by this plan carry as their content, 16 bytes."""
        return content_hash(self.content, self.made.to_bytes(8, "big"))


_COLUMNS = "relay, day_key, day, sequence, content, left_at, withdrawal"


def plan(tx: Tx) -> Plan | None:
    """Return what records signed ahead hold now, None before the first."""
    stored = account.get_meta(tx, _PLAN_META)
    if stored is None:
        return None
    found = json.loads(stored)
    return Plan(bytes.fromhex(found["content"]), found["made"], found["at"], bytes.fromhex(found["record_key"]))


def set_plan(tx: Tx, new: Plan) -> None:
    """Write down what records signed ahead hold from now on."""
    stored = {"content": new.content.hex(), "made": new.made, "at": new.at, "record_key": new.record_key.hex()}
    account.set_meta(tx, _PLAN_META, json.dumps(stored).encode())


def rows(tx: Tx) -> list[AheadRow]:
    """Return everything that may lie somewhere; 3 relays of 31 days, twice after the keys were replaced."""
    return [AheadRow(*row) for row in tx.all(f"SELECT {_COLUMNS} FROM ahead ORDER BY day, relay")]  # noqa: S608 - constant


def days_there(tx: Tx, relay: bytes, content: bytes) -> set[int]:
    """Return the days for which a record with this content lies at the relay, by its own word."""
    found = tx.all(
        "SELECT day FROM ahead WHERE relay = ? AND content = ? AND left_at IS NOT NULL AND withdrawal IS NULL",
        (relay, content),
    )
    return {int(day) for (day,) in found}


def last_sequence(tx: Tx, day_key: bytes) -> int:
    """Return the highest sequence given under a day's key at any relay, 0 for none."""
    return tx.number("SELECT coalesce(max(sequence), 0) FROM ahead WHERE day_key = ?", (day_key,))


def is_there(tx: Tx, relay: bytes, day_key: bytes) -> bool:
    """Return whether the relay said of the day's record that it has it."""
    row = tx.one("SELECT left_at FROM ahead WHERE relay = ? AND day_key = ?", (relay, day_key))
    return row is not None and row[0] is not None


def note_lost(tx: Tx, relay: bytes) -> None:
    """The relay has lost what it had: nothing lies there by its own word any more."""
    tx.execute("UPDATE ahead SET left_at = NULL WHERE relay = ?", (relay,))


def reserve(tx: Tx, row: AheadRow) -> None:
    """Write down that a record is about to leave; what lay there before may lie there still."""
    tx.execute(
        f"INSERT INTO ahead ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, NULL, NULL) ON CONFLICT (relay, day_key) DO UPDATE "  # noqa: S608 - constant
        "SET day = excluded.day, sequence = excluded.sequence, content = excluded.content, left_at = NULL "
        "WHERE withdrawal IS NULL",
        (row.relay, row.day_key, row.day, row.sequence, row.content),
    )


def note_left(tx: Tx, row: AheadRow, *, now: float) -> None:
    """Write down that the relay has it, unless another was reserved meanwhile."""
    tx.execute(
        "UPDATE ahead SET left_at = ? WHERE relay = ? AND day_key = ? AND sequence = ?",
        (now, row.relay, row.day_key, row.sequence),
    )


def next_withdrawal(tx: Tx, relay: bytes) -> AheadRow | None:
    """Return what is to be taken back at the relay, the nearest day first."""
    row = tx.one(
        f"SELECT {_COLUMNS} FROM ahead WHERE relay = ? AND withdrawal IS NOT NULL ORDER BY day LIMIT 1",  # noqa: S608 - constant
        (relay,),
    )
    return None if row is None else AheadRow(*row)


def set_withdrawal(tx: Tx, row: AheadRow, signature: bytes) -> None:
    """Write down that what lies there is to be taken back, with the proof for it."""
    tx.execute("UPDATE ahead SET withdrawal = ? WHERE relay = ? AND day_key = ?", (signature, row.relay, row.day_key))


def forget(tx: Tx, row: AheadRow) -> None:
    """Nothing lies there any more."""
    tx.execute("DELETE FROM ahead WHERE relay = ? AND day_key = ?", (row.relay, row.day_key))


def prune(tx: Tx, *, today: int) -> int:
    """Forget the days that are over; return how many rows went."""
    return tx.execute("DELETE FROM ahead WHERE day < ?", (today,))


def days_covered(tx: Tx, *, today: int) -> int:
    """Return the number of days, from today, for which a record lies at one relay at least."""
    return tx.number(
        "SELECT count(DISTINCT day) FROM ahead WHERE day >= ? AND left_at IS NOT NULL AND withdrawal IS NULL", (today,)
    )
