"""The tables of the SQLite store, and the rows of queues while a transaction runs.

Owns: the schema, reading a queue's row and writing it back. Spec: docs/spec/mailbox.md, "Queues". Never touches: BEGIN
and COMMIT (sqlite.py), what operations do (transaction.py).

A message's row number is its queue's number and its own in one integer, so a queue lies together and in order. Rows of
queues that a transaction touches are read once and written back at its end.
"""

import sqlite3
from dataclasses import dataclass
from typing import Final

SEQ_BITS: Final = 32
SEQ_MAX: Final = 2**SEQ_BITS - 1

SCHEMA: Final = (
    # admit: the NEW that asked for it; send_key beside it, since every PUT compares it. asked: day of the owner's last
    # word.
    """CREATE TABLE queues (
        number INTEGER PRIMARY KEY AUTOINCREMENT, recv_id BLOB NOT NULL UNIQUE, send_id BLOB NOT NULL UNIQUE,
        recv_key BLOB NOT NULL UNIQUE, send_key BLOB, admit BLOB NOT NULL, bundle BLOB NOT NULL DEFAULT x'',
        messages INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, last_seq INTEGER NOT NULL DEFAULT 0,
        asked INTEGER NOT NULL)""",
    "CREATE INDEX queues_asked ON queues (asked)",
    "CREATE TABLE totals (queues INTEGER NOT NULL, messages INTEGER NOT NULL)",
    "INSERT INTO totals VALUES (0, 0)",
    # place: number of the queue << 32 | seq
    """CREATE TABLE messages (
        place INTEGER PRIMARY KEY, mid BLOB NOT NULL, expires INTEGER NOT NULL, blob BLOB NOT NULL)""",
    "CREATE INDEX messages_mid ON messages (mid)",
    "CREATE INDEX messages_expires ON messages (expires)",
    """CREATE TABLE acked (
        queue INTEGER NOT NULL, mid BLOB NOT NULL, seq INTEGER NOT NULL, until INTEGER NOT NULL,
        PRIMARY KEY (queue, mid)) WITHOUT ROWID""",
    "CREATE INDEX acked_until ON acked (until)",
    "CREATE TABLE keys (number INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL, key BLOB NOT NULL)",
    "CREATE INDEX keys_queue ON keys (queue)",
    """CREATE TABLE tokens (
        queue INTEGER NOT NULL, hash BLOB NOT NULL, uses INTEGER NOT NULL, PRIMARY KEY (queue, hash)) WITHOUT ROWID""",
)

_COLUMNS: Final = "number, recv_id, send_id, recv_key, send_key, admit, messages, bytes, last_seq, asked"
_SELECT: Final = {
    column: f"SELECT {_COLUMNS} FROM queues WHERE {column} = ?"  # noqa: S608 - our own names
    for column in ("number", "recv_id", "send_id", "recv_key")
}


@dataclass(slots=True)
class QueueRow:
    """A row of `queues`, while a transaction runs."""

    number: int
    recv_id: bytes
    send_id: bytes
    recv_key: bytes
    send_key: bytes | None
    admit: bytes
    messages: int
    bytes: int
    last_seq: int
    asked: int
    changed: bool = False

    @property
    def first_place(self) -> int:
        """The number below all of its messages' row numbers."""
        return self.number << SEQ_BITS

    @property
    def last_place(self) -> int:
        """The last of its messages' row numbers."""
        return self.first_place | SEQ_MAX


class Rows:
    """The queues that one open transaction has met, as it has left them, and the totals."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw
        self._known: dict[bytes, QueueRow] = {}  # by either id and by the key, which is longer
        self.queues, self.messages = raw.execute("SELECT queues, messages FROM totals").fetchone()
        self._totals = (self.queues, self.messages)

    def find(self, column: str, value: bytes | int) -> QueueRow | None:
        """Return the queue with this `recv_id`, `send_id`, `recv_key` or `number`."""
        met = self._known.get(value) if isinstance(value, bytes) else None
        if met is not None:
            return met if getattr(met, column) == value else None
        found = self._raw.execute(_SELECT[column], (value,)).fetchone()
        if found is None:
            return None
        row = QueueRow(*found)
        row = self._known.setdefault(row.recv_id, row)
        self._known[row.send_id] = self._known[row.recv_key] = row
        return row

    def count(self, row: QueueRow, messages: int, size: int) -> None:
        """Note that so many messages of so many bytes came to the queue, or went (less than 0)."""
        row.messages += messages
        row.bytes += size
        row.changed = True
        self.messages += messages

    def removed(self, row: QueueRow) -> None:
        """Note that the queue and all its messages are gone."""
        self.queues -= 1
        self.messages -= row.messages
        for name in (row.recv_id, row.send_id, row.recv_key):
            self._known.pop(name, None)

    def write_back(self) -> None:
        """Write what has changed; the last thing before COMMIT."""
        changed = {row.number: row for row in self._known.values() if row.changed}
        self._raw.executemany(
            "UPDATE queues SET messages = ?, bytes = ?, last_seq = ?, asked = ? WHERE number = ?",
            [(row.messages, row.bytes, row.last_seq, row.asked, row.number) for row in changed.values()],
        )
        if (self.queues, self.messages) != self._totals:
            self._raw.execute("UPDATE totals SET queues = ?, messages = ?", (self.queues, self.messages))
