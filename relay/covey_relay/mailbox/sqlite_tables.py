"""The tables of the SQLite store, and its statements on them.

Owns: the schema, `Statements` in SQLite's SQL. Spec: docs/spec/mailbox.md, "Queues"; docs/adr/0060. Never touches:
BEGIN and COMMIT (sqlite.py), when something is read or written (tables.py), what an operation means (transaction.py).

Messages lie in the order in which they came, whichever their queue: so a commit writes pages one behind the other, and
only one page of one index for each message besides.
"""

import sqlite3
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cache
from itertools import chain, repeat
from typing import Any, Final

from covey_core.wire.mailbox import StoredMessage
from covey_relay.mailbox.rows import Change, Ended, Gone, Lying, MessageKey, NewMessage, QueueRow, Remembered

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
    """CREATE TABLE messages (
        number INTEGER PRIMARY KEY, queue INTEGER NOT NULL, seq INTEGER NOT NULL, expires INTEGER NOT NULL,
        mid BLOB NOT NULL, blob BLOB NOT NULL)""",
    "CREATE INDEX messages_mid ON messages (queue, mid, seq)",
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
_SIZES: Final = (64, 8, 1)
"""Rows asked for in one statement: few different texts, so that each is parsed once."""


class SqliteStatements:
    """The statements of one open transaction. SQLite has one writer, so nothing has to be locked."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    def begin(self, *, creates: bool) -> Change:  # noqa: ARG002 - one writer
        """See `Statements.begin`; the bytes are not counted here, but the file's pages (sqlite.py)."""
        return Change(*self._raw.execute("SELECT queues, messages FROM totals").fetchone())

    # --- queues -------------------------------------------------------------------------------------------------------

    def read_queues(
        self,
        recv_ids: Collection[bytes],
        send_ids: Collection[bytes],
        recv_keys: Collection[bytes],
        changing: Collection[bytes],  # noqa: ARG002 - one writer
    ) -> list[QueueRow]:
        """See `Statements.read_queues`."""
        found: dict[int, QueueRow] = {}
        for column, values in (("recv_id", recv_ids), ("send_id", send_ids), ("recv_key", recv_keys)):
            found.update((row.number, row) for row in self._queues(column, values))
        return [*found.values()]

    def read_numbered(self, numbers: Collection[int]) -> list[QueueRow]:
        """See `Statements.read_numbered`."""
        return [*self._queues("number", numbers)]

    def _queues(self, column: str, values: Collection[bytes] | Collection[int]) -> Iterator[QueueRow]:
        for size, some in _parts([(value,) for value in values]):
            for found in self._raw.execute(_select_queues(column, size), some):
                yield QueueRow(*found)

    def read_idle(self, before: int, most: int) -> list[QueueRow]:
        """See `Statements.read_idle`."""
        listed = self._raw.execute(
            f"SELECT {_COLUMNS} FROM queues WHERE asked < ? LIMIT ?",  # noqa: S608 - our own names
            (before, most),
        )
        return [QueueRow(*found) for found in listed]

    def insert_queue(self, row: QueueRow) -> int:
        """See `Statements.insert_queue`."""
        done = self._raw.execute(
            "INSERT INTO queues (recv_id, send_id, recv_key, send_key, admit, asked) VALUES (?, ?, ?, ?, ?, ?)",
            (row.recv_id, row.send_id, row.recv_key, row.send_key, row.admit, row.asked),
        )
        assert done.lastrowid is not None  # noqa: S101 - a row was inserted
        return done.lastrowid

    def update_admission(self, row: QueueRow) -> None:
        """See `Statements.update_admission`."""
        self._raw.execute(
            "UPDATE queues SET admit = ?, send_key = ? WHERE number = ?", (row.admit, row.send_key, row.number)
        )

    def update_queues(self, rows: Sequence[QueueRow]) -> None:
        """See `Statements.update_queues`."""
        self._raw.executemany(
            "UPDATE queues SET messages = ?, bytes = ?, last_seq = ?, asked = ? WHERE number = ?",
            [(row.messages, row.bytes, row.last_seq, row.asked, row.number) for row in rows],
        )

    def update_totals(self, before: Change, change: Change) -> None:
        """See `Statements.update_totals`."""
        self._raw.execute(
            "UPDATE totals SET queues = ?, messages = ?",
            (before.queues + change.queues, before.messages + change.messages),
        )

    def delete_queue(self, row: QueueRow) -> None:
        """See `Statements.delete_queue`."""
        for table in ("messages", "acked", "keys", "tokens"):
            self._raw.execute(f"DELETE FROM {table} WHERE queue = ?", (row.number,))  # noqa: S608 - our own names
        self._raw.execute("DELETE FROM queues WHERE number = ?", (row.number,))

    # --- messages -----------------------------------------------------------------------------------------------------

    def read_lying(self, keys: Sequence[MessageKey]) -> dict[MessageKey, Lying]:
        """See `Statements.read_lying`."""
        found: dict[MessageKey, Lying] = {}
        for size, some in _parts(keys):
            for queue, mid, seq, expires, blob_size in self._raw.execute(_select_lying(size), some):
                found[queue, mid] = Lying(seq, expires, blob_size)
        return found

    def read_acked(self, keys: Sequence[MessageKey]) -> dict[MessageKey, Remembered]:
        """See `Statements.read_acked`."""
        found: dict[MessageKey, Remembered] = {}
        for size, some in _parts(keys):
            for queue, mid, seq, until in self._raw.execute(_select_acked(size), some):
                found[queue, mid] = Remembered(seq, until)
        return found

    def read_messages(
        self,
        row: QueueRow,
        *,
        after: int,
        now: int,
        most: int,
        bytes_max: int,  # noqa: ARG002 - read one by one
    ) -> Generator[StoredMessage, None, None]:
        """See `Statements.read_messages`. Sorts the index's entries of the queue, then reads the messages."""
        numbers = self._raw.execute(
            "SELECT number FROM messages WHERE queue = ? AND seq > ? ORDER BY seq", (row.number, after)
        )
        with closing(numbers):
            for number in numbers:
                seq, mid, blob, expires = self._raw.execute(
                    "SELECT seq, mid, blob, expires FROM messages WHERE number = ?", number
                ).fetchone()
                if expires > now:
                    yield StoredMessage(seq, mid, blob)
                    most -= 1
                if most == 0:
                    return

    def insert_messages(self, messages: Sequence[NewMessage]) -> None:
        """See `Statements.insert_messages`."""
        self._raw.executemany("INSERT INTO messages (queue, seq, expires, mid, blob) VALUES (?, ?, ?, ?, ?)", messages)

    def delete_messages(self, messages: Sequence[Gone]) -> None:
        """See `Statements.delete_messages`."""
        self._raw.executemany("DELETE FROM messages WHERE queue = ? AND mid = ? AND seq = ?", messages)

    def delete_ended(self, now: int, most: int) -> list[Ended]:
        """See `Statements.delete_ended`."""
        ended = self._raw.execute(
            "SELECT number, queue, mid, length(blob) FROM messages WHERE expires <= ? LIMIT ?", (now, most)
        ).fetchall()
        self._raw.executemany("DELETE FROM messages WHERE number = ?", [(number,) for number, _, _, _ in ended])
        return [Ended(queue, mid, size) for _, queue, mid, size in ended]

    def insert_acked(self, acked: Mapping[MessageKey, Remembered]) -> None:
        """See `Statements.insert_acked`."""
        self._raw.executemany(
            "INSERT OR REPLACE INTO acked (queue, mid, seq, until) VALUES (?, ?, ?, ?)",
            [(*key, *one) for key, one in acked.items()],
        )

    def delete_acked(self, now: int, most: int) -> int:
        """See `Statements.delete_acked`."""
        return self._raw.execute(
            "DELETE FROM acked WHERE (queue, mid) IN (SELECT queue, mid FROM acked WHERE until <= ? LIMIT ?)",
            (now, most),
        ).rowcount

    # --- keys and tokens ----------------------------------------------------------------------------------------------

    def read_bundle(self, row: QueueRow) -> bytes:
        """See `Statements.read_bundle`."""
        (bundle,) = self._raw.execute("SELECT bundle FROM queues WHERE number = ?", (row.number,)).fetchone()
        return bytes(bundle)

    def update_bundle(self, row: QueueRow, bundle: bytes) -> None:
        """See `Statements.update_bundle`."""
        self._raw.execute("UPDATE queues SET bundle = ? WHERE number = ?", (bundle, row.number))

    def insert_keys(self, row: QueueRow, keys: Sequence[bytes]) -> None:
        """See `Statements.insert_keys`."""
        self._raw.executemany("INSERT INTO keys (queue, key) VALUES (?, ?)", [(row.number, key) for key in keys])

    def count_keys(self, row: QueueRow) -> int:
        """See `Statements.count_keys`."""
        return int(self._raw.execute("SELECT count(*) FROM keys WHERE queue = ?", (row.number,)).fetchone()[0])

    def take_key(self, row: QueueRow) -> bytes:
        """See `Statements.take_key`."""
        oldest = self._raw.execute(
            "SELECT number, key FROM keys WHERE queue = ? ORDER BY number LIMIT 1", (row.number,)
        ).fetchone()
        if oldest is None:
            return b""
        self._raw.execute("DELETE FROM keys WHERE number = ?", (oldest[0],))
        return bytes(oldest[1])

    def read_tokens(self, row: QueueRow) -> dict[bytes, int]:
        """See `Statements.read_tokens`."""
        return dict(self._raw.execute("SELECT hash, uses FROM tokens WHERE queue = ?", (row.number,)).fetchall())

    def write_token(self, row: QueueRow, token: bytes, uses: int) -> None:
        """See `Statements.write_token`."""
        self._raw.execute("INSERT OR REPLACE INTO tokens VALUES (?, ?, ?)", (row.number, token, uses))

    def delete_tokens(self, row: QueueRow, tokens: Iterable[bytes]) -> None:
        """See `Statements.delete_tokens`."""
        self._raw.executemany(
            "DELETE FROM tokens WHERE queue = ? AND hash = ?", [(row.number, token) for token in tokens]
        )


def _parts(rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, list[Any]]]:
    """Divide rows of parameters into as few statements as there are texts for; yield each one's size and parameters."""
    start = 0
    for size in _SIZES:
        while len(rows) - start >= size:
            yield size, [*chain.from_iterable(rows[start : start + size])]
            start += size


def _list(what: str, size: int) -> str:
    return ", ".join(repeat(what, size))


@cache
def _select_queues(column: str, size: int) -> str:
    return f"SELECT {_COLUMNS} FROM queues WHERE {column} IN ({_list('?', size)})"  # noqa: S608 - our own names


# CROSS JOIN: the few that are asked for are the outer loop, whatever SQLite guesses (sqlite.org/optoverview.html, 8.2).


@cache
def _select_lying(size: int) -> str:
    return f"""WITH asked(q, m) AS (VALUES {_list("(?, ?)", size)})
        SELECT queue, mid, seq, expires, length(blob) FROM asked CROSS JOIN messages ON queue = q AND mid = m"""  # noqa: S608


@cache
def _select_acked(size: int) -> str:
    return f"""WITH asked(q, m) AS (VALUES {_list("(?, ?)", size)})
        SELECT queue, mid, seq, until FROM asked CROSS JOIN acked ON queue = q AND mid = m"""  # noqa: S608
