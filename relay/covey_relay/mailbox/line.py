"""Operations of all connections that wait together are committed together.

Owns: the waiting line and the worker thread of a store. Spec: docs/spec/mailbox.md, "A stream": what is said to be so
is on the disk. Built like the node's database (docs/adr/0022-group-commit.md): the first that finds the store idle
leads, so no task is left behind. Never touches: tables, streams, who may ask.
"""

import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import outcome
import trio

from covey_relay import limits
from covey_relay.mailbox.operations import Arrived, Deposit, MailboxStore, Operation, Outcome, StoreFailed

T = TypeVar("T")


class _Waiting:
    """Operations of one caller: woken with their outcomes, or to lead the next batch."""

    __slots__ = ("operations", "result", "started", "woken")

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations
        self.woken = trio.Event()
        self.started = False
        self.result: outcome.Outcome[list[Outcome]] | None = None

    @property
    def size(self) -> int:
        return sum(len(one.blob) for one in self.operations if isinstance(one, Deposit))


class MailboxLine:
    """A store, used by many tasks. `wall_clock` gives Unix seconds."""

    def __init__(self, store: MailboxStore, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._wall_clock = wall_clock
        self._line: deque[_Waiting] = deque()
        self._room: Final = trio.Semaphore(limits.MAILBOX_LINE)
        self._thread: Final = trio.CapacityLimiter(1)
        self._busy = False
        self._closed = False

    async def do(self, operation: Operation) -> Outcome:
        """Do one operation; return its outcome once it is on the disk. Raises `StoreFailed`, `FileDamaged`.

        One that was cancelled before it started is not done; once started it is finished, and its outcome returned.
        """
        return (await self.do_all((operation,)))[0]

    async def do_all(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Do up to 512 operations, one after the other and in one commit; as `do`."""
        if not 0 < len(operations) <= limits.MAILBOX_BATCH:
            raise ValueError(f"{len(operations)} operations at once, where 1 to {limits.MAILBOX_BATCH} may be")
        await trio.lowlevel.checkpoint_if_cancelled()
        async with self._room:
            if self._closed:
                raise StoreFailed("the mailboxes are being closed")
            waiting = _Waiting(operations)
            self._line.append(waiting)
            if self._busy:
                await self._wait_in_line(waiting)
            if waiting.result is None:
                await self._lead()
            assert waiting.result is not None  # noqa: S101 - set by whoever led the batch
            return waiting.result.unwrap()

    async def outside(self, function: Callable[[MailboxStore], T]) -> T:
        """Run a function of the store that is no operation (`usage`, `give_back`) in its thread."""
        with trio.CancelScope(shield=True):
            return await trio.to_thread.run_sync(function, self._store, limiter=self._thread)

    async def listen(self, tell: Callable[[Arrived], None]) -> None:
        """Tell of messages that other relays deposit in this store, until cancelled; return at once if there are none.

        What this line deposits itself is not told.
        """
        arrivals = await self.outside(lambda store: store.arrivals())
        if arrivals is None:
            return
        try:
            while True:
                arrived = await trio.to_thread.run_sync(lambda: arrivals.wait(seconds=limits.MAILBOX_ARRIVALS_SECONDS))
                if arrived is not None:
                    tell(arrived)
        finally:
            arrivals.close()

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
            await trio.lowlevel.cancel_shielded_checkpoint()  # tasks that are about to ask join this batch
            batch = self._next_batch()
            operations = [one for waiting in batch for one in waiting.operations]
            with trio.CancelScope(shield=True):
                ran = await outcome.acapture(self._apply, operations)
            done = 0
            for waiting in batch:
                count = len(waiting.operations)
                if isinstance(ran, outcome.Value):
                    waiting.result = outcome.Value(ran.value[done : done + count])
                else:
                    waiting.result = outcome.Error(ran.error)  # an Outcome is unwrapped once, so each has his own
                done += count
                waiting.woken.set()
        finally:
            self._wake_next()

    def _next_batch(self) -> list[_Waiting]:
        """Take the first of the line, and those behind it that fit both bounds of a commit."""
        batch: list[_Waiting] = []
        count = size = 0
        while self._line:
            first = self._line[0]
            count += len(first.operations)
            size += first.size
            if batch and (count > limits.MAILBOX_BATCH or size > limits.MAILBOX_BATCH_BYTES):
                break
            first.started = True
            batch.append(self._line.popleft())
        return batch

    async def _apply(self, operations: list[Operation]) -> list[Outcome]:
        now = math.floor(self._wall_clock())
        return await trio.to_thread.run_sync(lambda: self._store.apply(operations, now=now), limiter=self._thread)

    def _wake_next(self) -> None:
        """Let the first in the line lead, or note that nobody does."""
        if self._line:
            self._line[0].woken.set()
        else:
            self._busy = False

    async def aclose(self) -> None:
        """Finish what stands in the line, then close the store. Who asks from now on gets `StoreFailed`."""
        if self._closed:
            return
        self._closed = True
        while self._busy or self._line:
            await self.outside(lambda _: None)
            await trio.lowlevel.checkpoint()
        await self.outside(lambda store: store.close())


@asynccontextmanager
async def open_line(
    make: Callable[[], MailboxStore], *, wall_clock: Callable[[], float] = time.time
) -> AsyncIterator[MailboxLine]:
    """Open a store in a worker thread and use it for the length of the block."""
    line = MailboxLine(await trio.to_thread.run_sync(make), wall_clock=wall_clock)
    try:
        yield line
    finally:
        with trio.CancelScope(shield=True):
            await line.aclose()
