"""The tables of the PostgreSQL store, and its statements on them.

Owns: the schema, `Statements` in PostgreSQL's SQL, which rows are locked. Spec: docs/spec/mailbox.md, "Queues";
docs/adr/0061. Never touches: BEGIN and COMMIT (postgres.py), when something is read or written (tables.py), what an
operation means (transaction.py).

Several relays write at once. Whoever changes a queue holds its row first: a batch takes its rows in the order of their
numbers, the lock for new queues before them, its row of the totals last; who sweeps passes over rows that others hold.
So nobody waits for somebody who waits for him, but in rare cases, which PostgreSQL ends (postgres.py tries again).
"""

import base64
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from typing import Any, Final, LiteralString

import psycopg

from covey_core.wire.mailbox import StoredMessage
from covey_relay.mailbox.rows import Change, Ended, Gone, Lying, MessageKey, NewMessage, QueueRow, Remembered

TOTALS: Final = 16
"""Rows of the totals: so many relays change them without waiting for each other."""

SCHEMA: Final[tuple[LiteralString, ...]] = (
    "CREATE TABLE version (version integer NOT NULL)",
    # admit: the NEW that asked for it; send_key beside it, since every PUT compares it. asked: day of the owner's last
    # word. Room is left on each page, so that a row that changes stays where it is.
    """CREATE TABLE queues (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, recv_id bytea NOT NULL UNIQUE,
        send_id bytea NOT NULL UNIQUE, recv_key bytea NOT NULL UNIQUE, send_key bytea, admit bytea NOT NULL,
        bundle bytea NOT NULL DEFAULT '', messages bigint NOT NULL DEFAULT 0, bytes bigint NOT NULL DEFAULT 0,
        last_seq bigint NOT NULL DEFAULT 0, asked bigint NOT NULL) WITH (fillfactor = 50)""",
    "CREATE INDEX queues_asked ON queues (asked)",
    """CREATE TABLE totals (
        part integer PRIMARY KEY, queues bigint NOT NULL, messages bigint NOT NULL, bytes bigint NOT NULL)
        WITH (fillfactor = 10)""",
    "CREATE SEQUENCE parts",
    # Sealed bytes are not compressed again. What expires leaves room early, not when a fifth of all is dead.
    """CREATE TABLE messages (
        queue bigint NOT NULL, seq bigint NOT NULL, expires bigint NOT NULL, mid bytea NOT NULL, blob bytea NOT NULL,
        PRIMARY KEY (queue, seq))
        WITH (autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.05)""",
    "ALTER TABLE messages ALTER COLUMN blob SET STORAGE EXTERNAL",
    "CREATE UNIQUE INDEX messages_mid ON messages (queue, mid)",
    "CREATE INDEX messages_expires ON messages (expires)",
    """CREATE TABLE acked (
        queue bigint NOT NULL, mid bytea NOT NULL, seq bigint NOT NULL, until bigint NOT NULL,
        PRIMARY KEY (queue, mid)) WITH (autovacuum_vacuum_scale_factor = 0.05)""",
    "CREATE INDEX acked_until ON acked (until)",
    """CREATE TABLE keys (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, queue bigint NOT NULL, key bytea NOT NULL)""",
    "CREATE INDEX keys_queue ON keys (queue, number)",
    """CREATE TABLE tokens (
        queue bigint NOT NULL, hash bytea NOT NULL, uses integer NOT NULL, PRIMARY KEY (queue, hash))""",
)

CHANNEL: Final = "covey_mailbox"
"""Where NOTIFY tells whose queues have grown: keys of 32 bytes, one behind the other, in base64."""

_KEY_BYTES: Final = 32
_NOTIFY_KEYS: Final = 180
"""Keys in one NOTIFY, whose text has fewer than 8,000 bytes (postgresql.org/docs/current/sql-notify.html)."""

_CREATE_LOCK: Final = 0x436F766579
"""The advisory lock of those who make queues: their number has a bound."""

_COLUMNS: Final = "number, recv_id, send_id, recv_key, send_key, admit, messages, bytes, last_seq, asked"
_SELECT: Final = f"SELECT {_COLUMNS} FROM queues WHERE "  # noqa: S608 - our own names
_THESE: Final = "recv_id = ANY(%b::bytea[]) OR send_id = ANY(%b::bytea[])"


class PostgresStatements:
    """The statements of one open transaction. `part`: the row of the totals that this store changes."""

    def __init__(self, raw: psycopg.Connection[Any], *, part: int) -> None:
        self._raw = raw
        self._part = part
        self._met: dict[int, QueueRow] = {}
        self._locked: set[int] = set()

    def _do(self, query: LiteralString, *values: object) -> psycopg.Cursor[Any]:
        return self._raw.execute(query, values, prepare=True, binary=True)

    def begin(self, *, creates: bool) -> Change:
        """See `Statements.begin`."""
        if creates:
            self._do("SELECT pg_advisory_xact_lock(%s)", _CREATE_LOCK)
        found = self._do("SELECT sum(queues)::bigint, sum(messages)::bigint, sum(bytes)::bigint FROM totals").fetchone()
        return Change(*found) if found is not None else Change()

    # --- queues -------------------------------------------------------------------------------------------------------

    def read_queues(
        self,
        recv_ids: Collection[bytes],
        send_ids: Collection[bytes],
        recv_keys: Collection[bytes],
        changing: Collection[bytes],
    ) -> list[QueueRow]:
        """See `Statements.read_queues`."""
        of_owners = [one for one in recv_ids if one in changing]
        of_writers = [one for one in send_ids if one in changing]
        if of_owners or of_writers:
            self._lock(f"{_SELECT}{_THESE} ORDER BY number FOR NO KEY UPDATE", of_owners, of_writers)
        others = [one for one in recv_ids if one not in changing], [one for one in send_ids if one not in changing]
        if others[0] or others[1] or recv_keys:
            found = self._do(f"{_SELECT}{_THESE} OR recv_key = ANY(%b::bytea[])", *others, [*recv_keys])
            for values in found.fetchall():
                self._met.setdefault(values[0], QueueRow(*values))
        return [*self._met.values()]

    def _lock(self, query: LiteralString, *values: object) -> list[QueueRow]:
        """Return the rows that a statement has locked. One that was met before it was locked is brought up to date."""
        rows = [QueueRow(*found) for found in self._do(query, *values).fetchall()]
        for at, row in enumerate(rows):
            met = self._met.setdefault(row.number, row)
            if row.number not in self._locked:
                met.messages, met.bytes, met.last_seq = row.messages, row.bytes, row.last_seq
                self._locked.add(row.number)
            rows[at] = met
        return rows

    def read_numbered(self, numbers: Collection[int]) -> list[QueueRow]:
        """See `Statements.read_numbered`: `delete_ended` has locked them."""
        return [self._met[number] for number in numbers]

    def read_idle(self, before: int, most: int) -> list[QueueRow]:
        """See `Statements.read_idle`."""
        return self._lock(f"{_SELECT}asked < %s LIMIT %s FOR UPDATE SKIP LOCKED", before, most)

    def insert_queue(self, row: QueueRow) -> int:
        """See `Statements.insert_queue`."""
        found = self._do(
            """INSERT INTO queues (recv_id, send_id, recv_key, send_key, admit, asked)
                VALUES (%b, %b, %b, %b, %b, %s) RETURNING number""",
            row.recv_id, row.send_id, row.recv_key, row.send_key, row.admit, row.asked,
        ).fetchone()  # fmt: skip
        assert found is not None  # noqa: S101 - RETURNING
        number = int(found[0])
        self._met[number] = row
        self._locked.add(number)
        return number

    def update_admission(self, row: QueueRow) -> None:
        """See `Statements.update_admission`."""
        self._do("UPDATE queues SET admit = %b, send_key = %b WHERE number = %s", row.admit, row.send_key, row.number)

    def update_queues(self, rows: Sequence[QueueRow]) -> None:
        """See `Statements.update_queues`. Of rows that are not locked only the owner's day has changed."""
        held = [row for row in rows if row.number in self._locked]
        if held:
            self._do(
                """UPDATE queues SET messages = new.messages, bytes = new.bytes, last_seq = new.last_seq,
                    asked = new.asked FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
                    AS new(number, messages, bytes, last_seq, asked) WHERE queues.number = new.number""",
                [row.number for row in held], [row.messages for row in held], [row.bytes for row in held],
                [row.last_seq for row in held], [row.asked for row in held],
            )  # fmt: skip
        others = [row for row in rows if row.number not in self._locked]
        if others:  # who holds such a row changes it anyway, or the owner's next command is noted
            self._do(
                """UPDATE queues SET asked = greatest(queues.asked, %s) WHERE number IN (
                    SELECT number FROM queues WHERE number = ANY(%s::bigint[]) FOR NO KEY UPDATE SKIP LOCKED)""",
                max(row.asked for row in others), [row.number for row in others],
            )  # fmt: skip
        self._notify([row.recv_key for row in rows if row.grew])

    def _notify(self, keys: Sequence[bytes]) -> None:
        for start in range(0, len(keys), _NOTIFY_KEYS):
            text = base64.b64encode(b"".join(keys[start : start + _NOTIFY_KEYS])).decode()
            self._do("SELECT pg_notify(%s, %s)", CHANNEL, text)

    def update_totals(self, before: Change, change: Change) -> None:  # noqa: ARG002 - others change them too
        """See `Statements.update_totals`."""
        self._do(
            "UPDATE totals SET queues = queues + %s, messages = messages + %s, bytes = bytes + %s WHERE part = %s",
            change.queues, change.messages, change.bytes, self._part,
        )  # fmt: skip

    def delete_queue(self, row: QueueRow) -> None:
        """See `Statements.delete_queue`."""
        self._do("DELETE FROM messages WHERE queue = %s", row.number)
        self._do("DELETE FROM acked WHERE queue = %s", row.number)
        self._do("DELETE FROM keys WHERE queue = %s", row.number)
        self._do("DELETE FROM tokens WHERE queue = %s", row.number)
        self._do("DELETE FROM queues WHERE number = %s", row.number)

    # --- messages -----------------------------------------------------------------------------------------------------

    def read_lying(self, keys: Sequence[MessageKey]) -> dict[MessageKey, Lying]:
        """See `Statements.read_lying`."""
        found = self._do(
            """SELECT queue, mid, seq, expires, octet_length(blob) FROM messages
                JOIN unnest(%s::bigint[], %b::bytea[]) AS asked(q, m) ON queue = q AND mid = m""",
            *_columns(keys),
        )
        return {(queue, mid): Lying(seq, expires, size) for queue, mid, seq, expires, size in found}

    def read_acked(self, keys: Sequence[MessageKey]) -> dict[MessageKey, Remembered]:
        """See `Statements.read_acked`."""
        found = self._do(
            """SELECT queue, mid, seq, until FROM acked
                JOIN unnest(%s::bigint[], %b::bytea[]) AS asked(q, m) ON queue = q AND mid = m""",
            *_columns(keys),
        )
        return {(queue, mid): Remembered(seq, until) for queue, mid, seq, until in found}

    def read_messages(
        self, row: QueueRow, *, after: int, now: int, most: int, bytes_max: int
    ) -> Generator[StoredMessage, None, None]:
        """See `Statements.read_messages`. Sizes are summed before the blobs are read."""
        found = self._do(
            """SELECT seq, mid, blob FROM (
                SELECT seq, mid, blob, sum(octet_length(blob)) OVER (
                    ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING) AS before_last
                FROM messages WHERE queue = %s AND seq > %s AND expires > %s ORDER BY seq LIMIT %s
                ) AS listed WHERE before_last IS NULL OR before_last <= %s ORDER BY seq""",
            row.number, after, now, most, bytes_max,
        )  # fmt: skip
        for values in found:
            yield StoredMessage(*values)

    def insert_messages(self, messages: Sequence[NewMessage]) -> None:
        """See `Statements.insert_messages`."""
        self._do(
            """INSERT INTO messages (queue, seq, expires, mid, blob)
                SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %b::bytea[], %b::bytea[])""",
            *_columns(messages),
        )

    def delete_messages(self, messages: Sequence[Gone]) -> None:
        """See `Statements.delete_messages`."""
        queues, _, seqs = _columns(messages)
        self._do(
            """DELETE FROM messages USING unnest(%s::bigint[], %s::bigint[]) AS gone(q, s)
                WHERE queue = q AND seq = s""",
            queues, seqs,
        )  # fmt: skip

    def delete_ended(self, now: int, most: int) -> list[Ended]:
        """See `Statements.delete_ended`. Passes over queues that somebody else changes: their messages end later."""
        ended = self._do("SELECT queue, seq FROM messages WHERE expires <= %s LIMIT %s", now, most).fetchall()
        queues = sorted({queue for queue, _ in ended})
        self._lock(f"{_SELECT}number = ANY(%s::bigint[]) FOR UPDATE SKIP LOCKED", queues)
        mine = [one for one in ended if one[0] in self._locked]
        if not mine:
            return []
        deleted = self._do(
            """DELETE FROM messages USING unnest(%s::bigint[], %s::bigint[]) AS ended(q, s)
                WHERE queue = q AND seq = s RETURNING queue, mid, octet_length(blob)""",
            *_columns(mine),
        )
        return [Ended(*values) for values in deleted]

    def insert_acked(self, acked: Mapping[MessageKey, Remembered]) -> None:
        """See `Statements.insert_acked`."""
        self._do(
            """INSERT INTO acked (queue, mid, seq, until)
                SELECT * FROM unnest(%s::bigint[], %b::bytea[], %s::bigint[], %s::bigint[])
                ON CONFLICT (queue, mid) DO UPDATE SET seq = excluded.seq, until = excluded.until""",
            *_columns([*acked]), *_columns([*acked.values()]),
        )  # fmt: skip

    def delete_acked(self, now: int, most: int) -> int:
        """See `Statements.delete_acked`."""
        return self._do(
            """DELETE FROM acked WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM acked WHERE until <= %s LIMIT %s FOR UPDATE SKIP LOCKED))""",
            now, most,
        ).rowcount  # fmt: skip

    # --- keys and tokens ----------------------------------------------------------------------------------------------

    def read_bundle(self, row: QueueRow) -> bytes:
        """See `Statements.read_bundle`."""
        found = self._do("SELECT bundle FROM queues WHERE number = %s", row.number).fetchone()
        return b"" if found is None else bytes(found[0])

    def update_bundle(self, row: QueueRow, bundle: bytes) -> None:
        """See `Statements.update_bundle`."""
        self._do("UPDATE queues SET bundle = %b WHERE number = %s", bundle, row.number)

    def insert_keys(self, row: QueueRow, keys: Sequence[bytes]) -> None:
        """See `Statements.insert_keys`."""
        self._do(
            """INSERT INTO keys (queue, key)
                SELECT %s, key FROM unnest(%b::bytea[]) WITH ORDINALITY AS new(key, place) ORDER BY place""",
            row.number, [*keys],
        )  # fmt: skip

    def count_keys(self, row: QueueRow) -> int:
        """See `Statements.count_keys`."""
        found = self._do("SELECT count(*) FROM keys WHERE queue = %s", row.number).fetchone()
        return 0 if found is None else int(found[0])

    def take_key(self, row: QueueRow) -> bytes:
        """See `Statements.take_key`."""
        found = self._do(
            """DELETE FROM keys WHERE number = (SELECT number FROM keys WHERE queue = %s ORDER BY number LIMIT 1)
                RETURNING key""",
            row.number,
        ).fetchone()
        return b"" if found is None else bytes(found[0])

    def read_tokens(self, row: QueueRow) -> dict[bytes, int]:
        """See `Statements.read_tokens`."""
        return dict(self._do("SELECT hash, uses FROM tokens WHERE queue = %s", row.number).fetchall())

    def write_token(self, row: QueueRow, token: bytes, uses: int) -> None:
        """See `Statements.write_token`."""
        self._do(
            """INSERT INTO tokens (queue, hash, uses) VALUES (%s, %b, %s)
                ON CONFLICT (queue, hash) DO UPDATE SET uses = excluded.uses""",
            row.number, token, uses,
        )  # fmt: skip

    def delete_tokens(self, row: QueueRow, tokens: Iterable[bytes]) -> None:
        """See `Statements.delete_tokens`."""
        self._do("DELETE FROM tokens WHERE queue = %s AND hash = ANY(%b::bytea[])", row.number, [*tokens])


def grown(text: str) -> tuple[bytes, ...]:
    """Return the keys in a NOTIFY; none when it is not ours."""
    try:
        keys = base64.b64decode(text, validate=True)
    except ValueError:
        return ()
    return tuple(keys[at : at + _KEY_BYTES] for at in range(0, len(keys) - _KEY_BYTES + 1, _KEY_BYTES))


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(values) for values in zip(*rows, strict=True)]
