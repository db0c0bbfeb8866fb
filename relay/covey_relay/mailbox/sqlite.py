"""The mailbox store in one SQLite file.

Owns: the file, its PRAGMAs, transactions. Spec: docs/spec/mailbox.md, "Queues"; sqlite.org/wal.html. The tables and
their statements: sqlite_tables.py; what room there is on the disk: volume.py. Never touches: trio (line.py calls this
from its worker thread), who may ask.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from covey_core.errors import FileDamaged, SettingsInvalid
from covey_relay import limits
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox.operations import (
    GROWING,
    READING,
    Deposit,
    Expire,
    Expired,
    Operation,
    Outcome,
    Refusal,
    StoreFailed,
    Usage,
)
from covey_relay.mailbox.sqlite_tables import SCHEMA, SqliteStatements
from covey_relay.mailbox.tables import Tables
from covey_relay.mailbox.transaction import Transaction
from covey_relay.mailbox.volume import OnlyUser, Volume

_VERSION: Final = 1
_PRIMARY: Final = 0xFF  # extended error codes carry the primary one in the low byte (sqlite.org/rescode.html)
_FREE_FACTOR: Final = 2  # a deposit takes 1.15 times its blob, a queue or a key little
_REMEDY: Final = "Stop the relay, keep a copy of the file, and start with an empty one: senders deposit again"


class SqliteStore:
    """One file, WAL, every commit flushed, used by one process.

    `bounds.disk_bytes` is a hard cap on the file, the write-ahead log aside. Nothing grows when the disk has little
    room left, whoever filled it.
    """

    def __init__(self, path: Path, bounds: MailboxLimits) -> None:
        """Open or make the file. Raises `FileDamaged`, `StoreFailed`, `SettingsInvalid` for one of a newer version."""
        self._path = str(path)
        self._bounds = bounds
        self._user = OnlyUser(path)
        self._volume = Volume(path)
        try:
            self._open(path)
        except BaseException:
            self._user.close()
            raise

    def _open(self, path: Path) -> None:
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
        self._page_bytes = self._pragma("page_size")
        wal_pages = min(limits.MAILBOX_WAL_PAGES, self._volume.reserve_bytes // 2 // self._page_bytes)
        raw.execute(f"PRAGMA wal_autocheckpoint = {wal_pages:d}").fetchall()
        raw.execute(f"PRAGMA journal_size_limit = {wal_pages * self._page_bytes:d}").fetchall()
        raw.execute(f"PRAGMA max_page_count = {self._bounds.disk_bytes // self._page_bytes:d}").fetchall()
        if version == 0:
            raw.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA:
                raw.execute(statement)
            raw.execute(f"PRAGMA user_version = {_VERSION:d}")
            raw.execute("COMMIT")

    def apply(self, operations: Sequence[Operation], *, now: int) -> list[Outcome]:
        """See `MailboxStore.apply`. With a disk that others have filled to the last byte, only what reads is done."""
        kinds: tuple[type, ...] = ()
        while True:
            try:
                if not kinds and not self._has_room(operations):
                    kinds = GROWING
                return self._apply(operations, now=now, without=kinds)
            except sqlite3.Error as exc:
                if not _is_full(exc) or kinds == _WRITING:
                    raise self._translated(exc) from exc
                kinds = _WRITING if kinds else GROWING

    def _has_room(self, operations: Sequence[Operation]) -> bool:
        """Whether something may grow: into the disk, or into what is free in the file."""
        if self._volume.room_bytes() > 0:
            return True
        coming = sum(len(one.blob) for one in operations if isinstance(one, Deposit))
        return self._pragma("freelist_count") * self._page_bytes > _FREE_FACTOR * coming

    def _apply(self, operations: Sequence[Operation], *, now: int, without: tuple[type, ...]) -> list[Outcome]:
        raw = self._raw
        raw.execute("BEGIN IMMEDIATE")
        try:
            tables = Tables(SqliteStatements(raw), operations)
            transaction = Transaction(tables, self._bounds, now=now)
            outcomes: list[Outcome] = [
                _refused(one) if isinstance(one, without) else transaction.do(one) for one in operations
            ]
            if without != _WRITING:
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
        room = free * self._page_bytes + self._volume.room_bytes()
        missing = max(0, self._bounds.disk_bytes - used - room)
        return Usage(used, int(queues), int(messages), earliest, missing)

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
        self._user.close()

    def _pragma(self, name: str) -> int:
        return int(self._raw.execute(f"PRAGMA {name}").fetchone()[0])

    def _translated(self, exc: sqlite3.Error) -> StoreFailed | FileDamaged:
        code = int(getattr(exc, "sqlite_errorcode", 0) or 0) & _PRIMARY
        name = getattr(exc, "sqlite_errorname", "SQLITE_ERROR")
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return FileDamaged(self._path, f"the mailboxes are damaged ({name})", _REMEDY)
        return StoreFailed(f"{self._path}: {exc} ({name}); nothing was changed")


_WRITING: Final[tuple[type, ...]] = tuple(kind for kind in Operation.__args__ if kind not in READING)


def _refused(one: Operation) -> Outcome:
    return Expired(0, 0, more=False) if isinstance(one, Expire) else Refusal.DISK


def _is_full(exc: sqlite3.Error) -> bool:
    return (int(getattr(exc, "sqlite_errorcode", 0) or 0) & _PRIMARY) == sqlite3.SQLITE_FULL
