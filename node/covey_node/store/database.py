"""The database as the node uses it: functions that wait together are committed together.

Owns: the waiting line, the worker thread, what a result means (it is durable). Spec: docs/spec/store.md "Commit".
Never touches: tables, keys.

The first caller that finds the database idle runs the batch for all that wait; when it is done, the next one in the
line runs the next batch. So no task of its own is needed, and none can be left behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import outcome
import trio

from covey_node.limits import STORE_BATCH_CALLS, STORE_QUEUE_CALLS
from covey_node.store.connection import Call, CommitHook, Connection
from covey_node.store.errors import StoreClosed
from covey_node.store.migrations import migrate
from covey_node.store.tx import Tx

T = TypeVar("T")


class _Waiting:
    """One call in the line: woken with its result, or to lead the next batch."""

    __slots__ = ("call", "result", "started", "woken")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.woken = trio.Event()
        self.started = False
        self.result: outcome.Outcome[Any] | None = None


class Database:
    """An open database. All functions given to it run one after the other in one worker thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._line: deque[_Waiting] = deque()
        self._room = trio.Semaphore(STORE_QUEUE_CALLS, max_value=STORE_QUEUE_CALLS)
        self._thread = trio.CapacityLimiter(1)
        self._busy = False
        self._closed = False

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
        result: T = await self._wait(Call(function, changes=True))
        return result

    async def read(self, function: Callable[[Tx], T]) -> T:
        """Run `function(tx)`, which only reads; return its result. It sees everything that was committed before."""
        result: T = await self._wait(Call(function, changes=False))
        return result

    async def _wait(self, call: Call, *, last: bool = False) -> Any:
        await trio.lowlevel.checkpoint_if_cancelled()  # with room in the line, all waiting is done below
        try:
            self._room.acquire_nowait()
        except trio.WouldBlock:
            await self._room.acquire()
        try:
            if self._closed and not last:
                raise StoreClosed("the database is closed")
            waiting = _Waiting(call)
            self._line.append(waiting)
            if self._busy:
                await self._wait_in_line(waiting)
            if waiting.result is None:
                await self._lead()
            assert waiting.result is not None  # noqa: S101 - set by whoever led the batch
            return waiting.result.unwrap()
        finally:
            self._room.release()

    async def _wait_in_line(self, waiting: _Waiting) -> None:
        try:
            await waiting.woken.wait()
        except trio.Cancelled:
            if waiting.started:
                with trio.CancelScope(shield=True):
                    await waiting.woken.wait()
                return
            self._line.remove(waiting)
            if waiting.woken.is_set():  # it had been chosen to lead: the next one leads
                self._wake_next()
            raise

    async def _lead(self) -> None:
        self._busy = True
        try:
            await trio.lowlevel.cancel_shielded_checkpoint()  # tasks that are about to call join this batch
            batch = [self._line.popleft() for _ in range(min(len(self._line), STORE_BATCH_CALLS))]
            for waiting in batch:
                waiting.started = True
            with trio.CancelScope(shield=True):
                ran = await outcome.acapture(self._run_batch, [waiting.call for waiting in batch])
            for number, waiting in enumerate(batch):
                waiting.result = ran.value[number] if isinstance(ran, outcome.Value) else outcome.Error(ran.error)
                waiting.woken.set()
        finally:
            self._wake_next()

    async def _run_batch(self, calls: list[Call]) -> list[outcome.Outcome[Any]]:
        return await trio.to_thread.run_sync(self._connection.run_batch, calls, limiter=self._thread)

    def _wake_next(self) -> None:
        """Let the first in the line lead, or note that nobody does."""
        if self._line:
            self._line[0].woken.set()
        else:
            self._busy = False

    async def aclose(self) -> None:
        """Finish what stands in the line, then close the file. Calls from now on raise `StoreClosed`."""
        if self._closed:
            return
        self._closed = True
        await self._wait(Call(_nothing, changes=False), last=True)
        await trio.to_thread.run_sync(self._connection.close, limiter=self._thread)


def _nothing(_tx: Tx) -> None:
    return None


def _open(path: Path, key: bytes, on_commit: CommitHook | None) -> Connection:
    connection = Connection.open(path, key, on_commit=on_commit)
    try:
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection
