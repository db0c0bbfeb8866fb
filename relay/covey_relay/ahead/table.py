"""The records signed ahead that lie at this relay, in one SQLite file.

Owns: the file; which record replaces which, what was withdrawn, what is due, what is over; the room. Spec:
docs/spec/ahead.md. Never touches: trio, signatures (callers have checked them), the clock and randomness (callers pass
`now` and when a record is due first), who left something: that is written nowhere.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from covey_core.errors import CoveyError, FileDamaged, SettingsInvalid
from covey_core.records import ContactRecord
from covey_core.wire.ahead import AheadOutcome, begin_of
from covey_relay import limits
from covey_relay.limits import AheadLimits

_VERSION: Final = 1
_PRIMARY: Final = 0xFF  # extended error codes carry the primary one in the low byte (sqlite.org/rescode.html)
_REMEDY: Final = "Stop the relay and move the file away: nodes leave their records again within an hour"

_SCHEMA: Final = (
    # value: NULL where it was withdrawn; what was withdrawn stays out up to this sequence. due: Unix seconds. Without
    # row numbers, which would tell in which order records came, and so which are one account's.
    """CREATE TABLE records (
        day_key BLOB NOT NULL PRIMARY KEY, day INTEGER NOT NULL, sequence INTEGER NOT NULL, due INTEGER NOT NULL,
        value BLOB) WITHOUT ROWID""",
    "CREATE INDEX records_due ON records (due) WHERE value IS NOT NULL",
    "CREATE INDEX records_day ON records (day)",
)


class AheadFailed(CoveyError):
    """The file could not be read or written; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Due:
    """A record whose time to be published has come."""

    day_key: bytes
    sequence: int
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a record that was left; `added`: under a key that was not known."""

    outcome: AheadOutcome
    added: bool = False


class AheadTable:
    """One file, every change flushed before it is answered. One thread at a time."""

    def __init__(self, path: Path, bounds: AheadLimits) -> None:
        """Open or make the file. Raises `FileDamaged`, `AheadFailed`, `SettingsInvalid` for one of a newer version."""
        self._path = str(path)
        self._bounds = bounds
        try:
            path.touch(mode=0o600, exist_ok=True)
            self._raw = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as exc:
            raise AheadFailed(f"{self._path}: cannot be opened: {exc}") from exc
        try:
            with self._translating():
                self._prepare()
        except BaseException:
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
        raw.execute("PRAGMA secure_delete = ON").fetchall()
        raw.execute(f"PRAGMA journal_size_limit = {limits.AHEAD_WAL_BYTES:d}").fetchall()
        if version == 0:
            with self._transaction():
                for statement in _SCHEMA:
                    raw.execute(statement)
                raw.execute(f"PRAGMA user_version = {_VERSION:d}")
        counted = raw.execute("SELECT count(*), coalesce(sum(length(value)), 0) FROM records").fetchone()
        self._records, self._bytes = int(counted[0]), int(counted[1])

    # --- what clients ask ---------------------------------------------------------------------------------------------

    def leave(self, day: int, record: ContactRecord, value: bytes, *, now: int, due: int, may_add: bool) -> Kept:
        """Keep a verified record for its day; `value` is its encoded form, `due` when it is to be published first.

        A key that is not known is BUSY unless it may be added.
        """
        if begin_of(day + 1) <= now or begin_of(day) > now + limits.AHEAD_DAYS_AHEAD * limits.DAY_SECONDS:
            return Kept(AheadOutcome.TIME)
        with self._changing():
            known = self._raw.execute(
                "SELECT sequence, value FROM records WHERE day_key = ?", (record.day_key,)
            ).fetchone()
            if known is None:
                return self._add(day, record, value, due=due) if may_add else Kept(AheadOutcome.BUSY)
            sequence, old = known
            if old == value:
                return Kept(AheadOutcome.DONE)
            if record.sequence <= sequence:
                return Kept(AheadOutcome.NEWER)
            more = len(value) - len(old or b"")
            if more > 0 and self._bytes + more > self._bounds.disk_bytes:
                return Kept(AheadOutcome.FULL)
            self._raw.execute(
                "UPDATE records SET day = ?, sequence = ?, due = ?, value = ? WHERE day_key = ?",
                (day, record.sequence, due, value, record.day_key),
            )
            self._bytes += more
            return Kept(AheadOutcome.DONE)

    def _add(self, day: int, record: ContactRecord, value: bytes, *, due: int) -> Kept:
        if self._records >= self._bounds.records or self._bytes + len(value) > self._bounds.disk_bytes:
            return Kept(AheadOutcome.FULL)
        self._raw.execute(
            "INSERT INTO records (day_key, day, sequence, due, value) VALUES (?, ?, ?, ?, ?)",
            (record.day_key, day, record.sequence, due, value),
        )
        self._records += 1
        self._bytes += len(value)
        return Kept(AheadOutcome.DONE, added=True)

    def withdraw(self, day_key: bytes, sequence: int) -> AheadOutcome:
        """Delete what lies under a key up to `sequence`, and keep it out until its day is over."""
        with self._changing():
            known = self._raw.execute("SELECT sequence, value FROM records WHERE day_key = ?", (day_key,)).fetchone()
            if known is None:
                return AheadOutcome.DONE
            if known[0] > sequence:
                return AheadOutcome.NEWER
            self._raw.execute("UPDATE records SET sequence = ?, value = NULL WHERE day_key = ?", (sequence, day_key))
            self._bytes -= len(known[1] or b"")
            return AheadOutcome.DONE

    # --- what the relay does ------------------------------------------------------------------------------------------

    def due(self, *, now: int, count: int) -> list[Due]:
        """Return up to `count` records whose day it is and whose time has come, the longest overdue first."""
        with self._translating():
            found = self._raw.execute(
                "SELECT day_key, sequence, value FROM records"
                " WHERE value IS NOT NULL AND due <= ? AND day = ? ORDER BY due LIMIT ?",
                (now, now // limits.DAY_SECONDS, count),
            ).fetchall()
        return [Due(*row) for row in found]

    def put_off(self, again: Iterable[tuple[Due, int]]) -> None:
        """Note when each is due again (Unix seconds); one that was replaced meanwhile keeps its own time."""
        with self._changing():
            self._raw.executemany(
                "UPDATE records SET due = ? WHERE day_key = ? AND sequence = ?",
                [(at, one.day_key, one.sequence) for one, at in again],
            )

    def expire(self, *, now: int, count: int) -> int:
        """Delete up to `count` of those whose day is over, and give the file's space back; return how many went."""
        with self._changing():
            gone = self._raw.execute(
                "DELETE FROM records WHERE day_key IN (SELECT day_key FROM records WHERE day < ? LIMIT ?)"
                " RETURNING length(value)",
                (now // limits.DAY_SECONDS, count),
            ).fetchall()
            self._records -= len(gone)
            self._bytes -= sum(size or 0 for (size,) in gone)
        if gone:
            with self._translating():
                self._raw.executescript("PRAGMA incremental_vacuum")  # `execute` makes one step: one page
        return len(gone)

    @property
    def usage(self) -> tuple[int, int]:
        """Records that lie here, withdrawn ones too, and the bytes of their values."""
        return self._records, self._bytes

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    # --- transactions -------------------------------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[None]:
        before = self._records, self._bytes
        try:
            with self._translating(), self._transaction():
                yield
        except BaseException:
            self._records, self._bytes = before
            raise

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._raw.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._raw.execute("COMMIT")
        finally:
            if self._raw.in_transaction:
                self._raw.execute("ROLLBACK")

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            code = int(getattr(exc, "sqlite_errorcode", 0) or 0) & _PRIMARY
            name = getattr(exc, "sqlite_errorname", "SQLITE_ERROR")
            if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
                raise FileDamaged(self._path, f"the records signed ahead are damaged ({name})", _REMEDY) from exc
            raise AheadFailed(f"{self._path}: {exc} ({name}); nothing was changed") from exc
