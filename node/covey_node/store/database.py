"""The database as the node uses it: functions that wait together are committed together.

Owns: what a result means (it is durable). Spec: docs/spec/store.md "Commit". The line: covey_core/group_commit.py.
Never touches: tables, keys.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio

from covey_core.group_commit import GroupCommit
from covey_node.limits import STORE_BATCH_CALLS, STORE_QUEUE_CALLS
from covey_node.store.connection import Call, CommitHook, Connection
from covey_node.store.errors import StoreClosed
from covey_node.store.migrations import migrate
from covey_node.store.tx import Tx

T = TypeVar("T")


class Database:
    """An open database. All functions given to it run one after the other in one worker thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._line: GroupCommit[Call, Any] = GroupCommit(
            connection.run_batch,
            closed=lambda: StoreClosed("the database is closed"),
            waiting=STORE_QUEUE_CALLS,
            batch_count=STORE_BATCH_CALLS,
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, key: bytes, *, on_commit: CommitHook | None = None) -> AsyncIterator[Database]:
        """Open the file with its key of 32 bytes and bring it to the current version; close it at the end of the block.

        Raises `FileDamaged`, `NewerDatabase`, `StoreFull`, `StoreError`.
        """
        connection = await trio.to_thread.run_sync(_open, path, key, on_commit)
        database = cls(connection)
        try:
            yield database
        finally:
            with trio.CancelScope(shield=True):
                await database.aclose()

    async def run(self, function: Callable[[Tx], T]) -> T:
        """Run `function(tx)` in a transaction; return its result once it is on the disk.

        What the function raises rolls back its own changes only and is raised here. `StoreFull`, `FileDamaged` and
        `StoreError` say that nothing was kept. A call that was cancelled before it started is not done;
        once started, it is finished first and its result returned. The function runs in another thread: it may use `tx`
        and values, not trio.
        """
        result: T = await self._line.do(Call(function, changes=True))
        return result

    async def read(self, function: Callable[[Tx], T]) -> T:
        """Run `function(tx)`, which only reads; return its result. It sees everything that was committed before."""
        result: T = await self._line.do(Call(function, changes=False))
        return result

    async def aclose(self) -> None:
        """Finish what stands in the line, then close the file. Calls from now on raise `StoreClosed`."""
        await self._line.aclose(self._connection.close)


def _open(path: Path, key: bytes, on_commit: CommitHook | None) -> Connection:
    connection = Connection.open(path, key, on_commit=on_commit)
    try:
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection
