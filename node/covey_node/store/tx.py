"""One transaction as the table modules see it.

Owns: running a statement and telling its errors apart. Third-party database errors end here.
Never touches: BEGIN and COMMIT (see connection.py), the meaning of rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlcipher3.dbapi2 as sql

from covey_core.errors import CoveyError, FileDamaged
from covey_node.store.errors import Conflict, StoreError, StoreFull

if TYPE_CHECKING:
    from sqlite3 import Connection

Value: TypeAlias = int | float | str | bytes | None
Row: TypeAlias = tuple[Any, ...]

# SQLite's extended error codes carry the primary code in the low byte (sqlite.org/rescode.html).
_PRIMARY = 0xFF
_ROOM_BYTES = (
    64 * 1024
)  # SQLite's shared memory file grows by 32 KiB; when it cannot, the error is a plain SQLITE_IOERR
_REMEDY = (
    "Stop the node, keep a copy of the whole directory, and check the disk; then restore a backup, or start with an "
    "empty directory (`covey init`)."
)


def translate(error: Exception, path: str) -> CoveyError:
    """Return what a database error means for the user. Of the error's text only names of columns are shown."""
    code = int(getattr(error, "sqlite_errorcode", 0) or 0) & _PRIMARY
    name = str(getattr(error, "sqlite_errorname", "SQLITE_ERROR"))
    if code == sql.SQLITE_FULL or (code == sql.SQLITE_IOERR and _is_full(path)):
        return StoreFull(path)
    if code in {sql.SQLITE_CORRUPT, sql.SQLITE_NOTADB}:
        return FileDamaged(path, f"the database is damaged ({name})", _REMEDY)
    if code == sql.SQLITE_CONSTRAINT:
        return Conflict(str(error))
    if code == sql.SQLITE_IOERR:
        return StoreError(
            f"{path}: the disk could not be read or written ({name}). Nothing was changed; check the disk."
        )
    if code in {sql.SQLITE_BUSY, sql.SQLITE_LOCKED}:
        return StoreError(f"{path}: another program holds the database. Nothing was changed; close it and try again.")
    if code in {sql.SQLITE_READONLY, sql.SQLITE_CANTOPEN}:
        return StoreError(
            f"{path}: the database cannot be written ({name}). Check the owner and rights of the directory."
        )
    return StoreError(f"{path}: {error} ({name})")


def _is_full(path: str) -> bool:
    try:
        return shutil.disk_usage(Path(path).parent).free < _ROOM_BYTES
    except OSError:
        return False


class Tx:
    """Statements inside one open transaction. Valid only while the function it was given to runs."""

    __slots__ = ("_connection", "path")

    def __init__(self, connection: Connection, path: str) -> None:
        self._connection = connection
        self.path = path

    def execute(self, statement: str, values: Sequence[Value] = ()) -> int:
        """Run a statement; return how many rows it changed."""
        try:
            return int(self._connection.execute(statement, values).rowcount)
        except sql.Error as exc:
            raise translate(exc, self.path) from exc

    def execute_many(self, statement: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run a statement once for each row of values."""
        try:
            self._connection.executemany(statement, rows)
        except sql.Error as exc:
            raise translate(exc, self.path) from exc

    def insert(self, statement: str, values: Sequence[Value]) -> int:
        """Run an INSERT; return the new row's id."""
        try:
            return int(self._connection.execute(statement, values).lastrowid or 0)
        except sql.Error as exc:
            raise translate(exc, self.path) from exc

    def insert_new(self, statement: str, values: Sequence[Value]) -> int | None:
        """Run an INSERT ... ON CONFLICT DO NOTHING; return the new row's id, or None when there was a conflict."""
        try:
            cursor = self._connection.execute(statement, values)
        except sql.Error as exc:
            raise translate(exc, self.path) from exc
        return int(cursor.lastrowid or 0) if cursor.rowcount == 1 else None

    def one(self, statement: str, values: Sequence[Value] = ()) -> Row | None:
        """Run a query; return its first row, or None."""
        try:
            row: Row | None = self._connection.execute(statement, values).fetchone()
        except sql.Error as exc:
            raise translate(exc, self.path) from exc
        return row

    def all(self, statement: str, values: Sequence[Value] = ()) -> list[Row]:
        """Run a query; return all its rows. The statement bounds their number (LIMIT)."""
        try:
            return list(self._connection.execute(statement, values).fetchall())
        except sql.Error as exc:
            raise translate(exc, self.path) from exc

    def number(self, statement: str, values: Sequence[Value] = ()) -> int:
        """Run a query whose first row is one integer (a count); return it, 0 without a row."""
        row = self.one(statement, values)
        return 0 if row is None or row[0] is None else int(row[0])
