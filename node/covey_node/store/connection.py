"""One SQLCipher connection: how it is opened, and transactions that are done whole or not at all.

Owns: the PRAGMAs, BEGIN, SAVEPOINT, COMMIT and ROLLBACK. Spec: docs/spec/store.md "File".
Never touches: trio (database.py calls this from its worker thread), tables, wrapping of the key (home.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import outcome
import sqlcipher3.dbapi2 as sql

from covey_core.errors import CoveyError, FileDamaged
from covey_core.files import unusable
from covey_node.limits import STORE_LOCK_WAIT_SECONDS, STORE_WAL_BYTES
from covey_node.store.errors import StoreError
from covey_node.store.tx import Tx, translate

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

KEY_BYTES: Final = 32


class CommitPoint(StrEnum):
    """The moments around a COMMIT of functions that may change something."""

    BEFORE = "before"
    AFTER = "after"


CommitHook: TypeAlias = Callable[[CommitPoint], None]
"""Called in the worker thread at each commit point; the crash tests end the process in it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One function to run in a transaction: `changes` is False for one that only reads."""

    function: Callable[[Tx], Any]
    changes: bool


class Connection:
    """An open database file. Used by one thread at a time."""

    def __init__(self, path: Path, key: bytes, on_commit: CommitHook | None = None) -> None:
        self._key = key
        self._on_commit = on_commit
        self._failed: CoveyError | None = None
        self.path = str(path)
        self._open()

    @classmethod
    def open(cls, path: Path, key: bytes, *, on_commit: CommitHook | None = None) -> Connection:
        """Open the file, or make an empty one, with its raw key of 32 bytes.

        Raises `FileDamaged` when the key does not fit the file or the file is no database, `StoreFull`, `StoreError`,
        `FileUnusable`.
        """
        if len(key) != KEY_BYTES:
            raise ValueError(f"a database key has {KEY_BYTES} bytes, not {len(key)}")
        try:
            path.touch(mode=0o600, exist_ok=True)
        except OSError as exc:
            raise unusable(path, exc) from exc
        return cls(path, key, on_commit)

    def _open(self) -> None:
        self._raw = _connect(self.path)
        try:
            _prepare(self._raw, self._key, fresh=Path(self.path).stat().st_size == 0)
        except sql.Error as exc:
            self._raw.close()
            raise _open_error(exc, self.path) from exc
        self._tx = Tx(self._raw, self.path)

    def run(self, function: Callable[[Tx], T]) -> T:
        """Run one function in a transaction of its own; return its result after COMMIT."""
        result: T = self.run_batch((Call(function, changes=True),))[0].unwrap()
        return result

    def read(self, function: Callable[[Tx], T]) -> T:
        """Run one function that only reads."""
        result: T = self.run_batch((Call(function, changes=False),))[0].unwrap()
        return result

    def run_batch(self, calls: Sequence[Call]) -> list[outcome.Outcome[Any]]:
        """Run functions in one transaction and one COMMIT; return the outcome of each, in order.

        A function that raises is rolled back alone. When the transaction itself cannot be kept (disk full, damage,
        COMMIT failed), everything is rolled back and that error is the outcome of every function.
        """
        if self._failed is not None:
            return [outcome.Error(self._failed) for _ in calls]
        outcomes = self._run_or_roll_back(calls)
        if any(isinstance(result, outcome.Error) and isinstance(result.error, FileDamaged) for result in outcomes):
            self._reopen()
        return outcomes

    def _run_or_roll_back(self, calls: Sequence[Call]) -> list[outcome.Outcome[Any]]:
        error: CoveyError
        try:
            return self._run_all(calls)
        except sql.Error as exc:
            error = translate(exc, self.path)
        except _TransactionLost as exc:
            error = exc.error
        finally:
            self._roll_back()
        return [outcome.Error(error) for _ in calls]

    def _run_all(self, calls: Sequence[Call]) -> list[outcome.Outcome[Any]]:
        raw = self._raw
        changes = any(call.changes for call in calls)
        raw.execute("BEGIN IMMEDIATE" if changes else "BEGIN")
        outcomes = [self._run_call(call) for call in calls]
        if changes and self._on_commit is not None:
            self._on_commit(CommitPoint.BEFORE)
        raw.execute("COMMIT")
        if changes and self._on_commit is not None:
            self._on_commit(CommitPoint.AFTER)
        return outcomes

    def _run_call(self, call: Call) -> outcome.Outcome[Any]:
        # Not `PRAGMA query_only` for those that only read: each one makes SQLite parse all statements anew.
        raw = self._raw
        raw.execute("SAVEPOINT call")
        changed = raw.total_changes
        result = outcome.capture(call.function, self._tx)
        if not call.changes and raw.total_changes != changed:
            result = outcome.Error(StoreError(f"{self.path}: a function that only reads has changed something"))
        if isinstance(result, outcome.Error):
            if not raw.in_transaction:  # SQLite gave up the whole transaction: sqlite.org/lang_transaction.html, 3.2
                raise _TransactionLost(result.error, self.path)
            raw.execute("ROLLBACK TO call")
        raw.execute("RELEASE call")
        return result

    def _roll_back(self) -> None:
        """End what was not committed; after a success there is nothing."""
        if self._raw.in_transaction:
            self._raw.execute("ROLLBACK")

    def _reopen(self) -> None:
        """Start anew after a damaged page, so that what is whole can be used: a connection that met one refuses.

        When that is not possible, every call from now on fails with the reason.
        """
        self._raw.close()
        try:
            self._open()
        except CoveyError as exc:
            self._failed = exc

    def close(self) -> None:
        """Move the write-ahead log into the file and close it."""
        self._raw.close()


class _TransactionLost(Exception):
    """SQLite rolled the whole transaction back because of one statement."""

    def __init__(self, cause: BaseException, path: str) -> None:
        super().__init__(str(cause))
        self.error: CoveyError = cause if isinstance(cause, CoveyError) else StoreError(f"{path}: {cause}")


def _connect(path: str) -> sqlite3.Connection:
    raw: sqlite3.Connection = sql.connect(
        path,
        isolation_level=None,  # BEGIN and COMMIT are written out above
        check_same_thread=False,  # one thread at a time, but not always the same one
        cached_statements=256,
        timeout=STORE_LOCK_WAIT_SECONDS,
    )
    return raw


def _prepare(raw: sqlite3.Connection, key: bytes, *, fresh: bool) -> None:
    raw.execute("PRAGMA cipher_log_level = NONE")  # SQLCipher writes to stderr otherwise; errors reach us as exceptions
    raw.execute(f"PRAGMA key = \"x'{key.hex()}'\"")  # a PRAGMA takes no parameters; hexadecimal digits only
    raw.execute("PRAGMA cipher_memory_security = OFF")  # wiping SQLite's heap costs 3/4 of the throughput: ADR 0021
    if fresh:
        raw.execute("PRAGMA auto_vacuum = INCREMENTAL")  # decided by the first table
    raw.execute("SELECT count(*) FROM sqlite_master").fetchall()  # the first page is read: a wrong key shows here
    raw.execute("PRAGMA journal_mode = WAL").fetchall()
    raw.execute("PRAGMA synchronous = FULL")
    raw.execute("PRAGMA secure_delete = ON").fetchall()
    raw.execute("PRAGMA foreign_keys = ON")
    raw.execute("PRAGMA temp_store = MEMORY")
    raw.execute(f"PRAGMA journal_size_limit = {STORE_WAL_BYTES:d}").fetchall()


def _open_error(exc: sql.Error, path: str) -> CoveyError:
    if getattr(exc, "sqlite_errorcode", 0) == sql.SQLITE_NOTADB:
        return FileDamaged(
            path,
            "it cannot be decrypted with this home's key, or its first page is damaged",
            "Put back the covey.db and key.json that belong together, or restore a backup.",
        )
    return translate(exc, path)
