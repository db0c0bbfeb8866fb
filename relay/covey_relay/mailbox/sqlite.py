"""The mailbox store in one SQLite file.

Owns: the file, its PRAGMAs, transactions. Spec: docs/spec/mailbox.md, "Queues"; sqlite.org/wal.html.
The tables and their statements: sqlite_tables.py. Never touches: trio (line.py calls this from its worker thread),
who may ask.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from covey_core.errors import FileDamaged, SettingsInvalid
from covey_relay import limits
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox.operations import GROWING, Operation, Outcome, Refusal, StoreFailed, Usage
from covey_relay.mailbox.sqlite_tables import SCHEMA, SqliteStatements
from covey_relay.mailbox.tables import Tables
from covey_relay.mailbox.transaction import Transaction

_VERSION: Final = 1
_PRIMARY: Final = 0xFF  # extended error codes carry the primary one in the low byte (sqlite.org/rescode.html)
_REMEDY: Final = "Stop the relay, keep a copy of the file, and start with an empty one: senders deposit again"


class SqliteStore:
    """One file, WAL, every commit flushed. `bounds.disk_bytes` is a hard cap on the file, the write-ahead log aside."""

    def __init__(self, path: Path, bounds: MailboxLimits) -> None:
        """Open or make the file. Raises `FileDamaged`, `StoreFailed`, `SettingsInvalid` for one of a newer version."""
        self._path = str(path)
        self._bounds = bounds
        try:
            path.touch(mode=0o600, exist_ok=True)
            self._raw = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as exc:
            raise StoreFailed(f"{self._path}: cannot be opened: {exc}") from exc
        try:
            self._prepare()
        except sqlite3.Error as exc:
            self._raw.close()
            raise self._translated(exc) from exc
        except SettingsInvalid:
            self._raw.close()
            raise

    def _prepare(self) -> None:
        raw = self._raw
        version = int(raw.execute("PRAGMA user_version").fetchone()[0])
        if version > _VERSION:
            raise SettingsInvalid(f"{self._path} was written by a newer relay (version {version}); start that one")
        if version == 0:
            raw.execute("PRAGMA auto_vacuum = INCREMENTAL")  # decided by the first table
        raw.execute("PRAGMA journal_mode = WAL").fetchall()
        raw.execute("PRAGMA synchronous = FULL")
        raw.execute("PRAGMA secure_delete = FAST").fetchall()
        raw.execute("PRAGMA temp_store = MEMORY")
        raw.execute(f"PRAGMA cache_size = -{limits.MAILBOX_CACHE_BYTES // 1024:d}")
        raw.execute(f"PRAGMA wal_autocheckpoint = {limits.MAILBOX_WAL_PAGES:d}").fetchall()
        self._page_bytes = self._pragma("page_size")
        raw.execute(f"PRAGMA journal_size_limit = {limits.MAILBOX_WAL_PAGES * self._page_bytes:d}").fetchall()
        raw.execute(f"PRAGMA max_page_count = {self._bounds.disk_bytes // self._page_bytes:d}").fetchall()
        if version == 0:
            raw.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA:
                raw.execute(statement)
            raw.execute(f"PRAGMA user_version = {_VERSION:d}")
            raw.execute("COMMIT")

    def apply(self, operations: Sequence[Operation], *, now: int) -> list[Outcome]:
        """See `MailboxStore.apply`."""
        try:
            return self._apply(operations, now=now, may_grow=True)
        except sqlite3.Error as exc:
            if not _is_full(exc):
                raise self._translated(exc) from exc
        try:
            return self._apply(operations, now=now, may_grow=False)
        except sqlite3.Error as exc:
            raise self._translated(exc) from exc

    def _apply(self, operations: Sequence[Operation], *, now: int, may_grow: bool) -> list[Outcome]:
        raw = self._raw
        raw.execute("BEGIN IMMEDIATE")
        try:
            tables = Tables(SqliteStatements(raw), operations)
            transaction = Transaction(tables, self._bounds, now=now)
            outcomes: list[Outcome] = [
                transaction.do(one) if may_grow or not isinstance(one, GROWING) else Refusal.DISK for one in operations
            ]
            tables.finish()
            raw.execute("COMMIT")
        finally:
            if raw.in_transaction:
                raw.execute("ROLLBACK")
        return outcomes

    def usage(self) -> Usage:
        """See `MailboxStore.usage`."""
        try:
            free = self._pragma("freelist_count")
            used = (self._pragma("page_count") - free) * self._page_bytes
            queues, messages = self._raw.execute("SELECT queues, messages FROM totals").fetchone()
            (earliest,) = self._raw.execute("SELECT min(expires) FROM messages").fetchone()
        except sqlite3.Error as exc:
            raise self._translated(exc) from exc
        return Usage(used, int(queues), int(messages), earliest)

    def give_back(self, *, bytes_max: int) -> int:
        """See `MailboxStore.give_back`. Moves the log into the file as well, so that it becomes shorter at once."""
        try:
            before = self._pragma("page_count")
            self._raw.execute(f"PRAGMA incremental_vacuum({max(1, bytes_max // self._page_bytes):d})").fetchall()
            after = self._pragma("page_count")
            if after < before:
                self._raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as exc:
            raise self._translated(exc) from exc
        return (before - after) * self._page_bytes

    def arrivals(self) -> None:
        """See `MailboxStore.arrivals`: the file is one relay's."""
        return

    def close(self) -> None:
        """See `MailboxStore.close`."""
        self._raw.close()

    def _pragma(self, name: str) -> int:
        return int(self._raw.execute(f"PRAGMA {name}").fetchone()[0])

    def _translated(self, exc: sqlite3.Error) -> StoreFailed | FileDamaged:
        code = int(getattr(exc, "sqlite_errorcode", 0) or 0) & _PRIMARY
        name = getattr(exc, "sqlite_errorname", "SQLITE_ERROR")
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return FileDamaged(self._path, f"the mailboxes are damaged ({name})", _REMEDY)
        return StoreFailed(f"{self._path}: {exc} ({name}); nothing was changed")


def _is_full(exc: sqlite3.Error) -> bool:
    return (int(getattr(exc, "sqlite_errorcode", 0) or 0) & _PRIMARY) == sqlite3.SQLITE_FULL
