"""A store as the tasks of all connections use it: operations that wait together are committed together.

Owns: what a batch of operations is, the clock of a batch, news of other relays. Spec: docs/spec/mailbox.md, "A stream":
what is said to be so is on the disk. The line: covey_core/group_commit.py. Never touches: tables, streams, who may ask.
"""

import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import outcome
import trio

from covey_core.group_commit import GroupCommit
from covey_relay import limits
from covey_relay.mailbox.operations import Arrived, Deposit, MailboxStore, Operation, Outcome, StoreFailed

T = TypeVar("T")


class MailboxLine:
    """A store, used by many tasks. `wall_clock` gives Unix seconds."""

    def __init__(self, store: MailboxStore, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._wall_clock = wall_clock
        self._line: Final[GroupCommit[Sequence[Operation], list[Outcome]]] = GroupCommit(
            self._apply,
            closed=lambda: StoreFailed("the mailboxes are being closed"),
            waiting=limits.MAILBOX_LINE,
            batch_count=limits.MAILBOX_BATCH,
            batch_bytes=limits.MAILBOX_BATCH_BYTES,
        )

    async def do(self, operation: Operation) -> Outcome:
        """Do one operation; return its outcome once it is on the disk. Raises `StoreFailed`, `FileDamaged`.

        One that was cancelled before it started is not done; once started it is finished, and its outcome returned.
        """
        return (await self.do_all((operation,)))[0]

    async def do_all(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Do up to 512 operations, one after the other and in one commit; as `do`."""
        if not 0 < len(operations) <= limits.MAILBOX_BATCH:
            raise ValueError(f"{len(operations)} operations at once, where 1 to {limits.MAILBOX_BATCH} may be")
        size = sum(len(one.blob) for one in operations if isinstance(one, Deposit))
        return await self._line.do(operations, count=len(operations), size=size)

    def _apply(self, asked: list[Sequence[Operation]]) -> list[outcome.Outcome[list[Outcome]]]:
        outcomes = iter(self._store.apply([one for some in asked for one in some], now=math.floor(self._wall_clock())))
        return [outcome.Value([next(outcomes) for _ in some]) for some in asked]

    async def outside(self, function: Callable[[MailboxStore], T]) -> T:
        """Run a function of the store that is no operation (`usage`, `give_back`) in its thread."""
        return await self._line.outside(lambda: function(self._store))

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

    async def aclose(self) -> None:
        """Finish what stands in the line, then close the store. Who asks from now on gets `StoreFailed`."""
        await self._line.aclose(self._store.close)


@asynccontextmanager
async def open_line(
    make: Callable[[], MailboxStore], *, wall_clock: Callable[[], float] = time.time
) -> AsyncIterator[MailboxLine]:
    """Open a store in a worker thread and use it for the length of the block."""
    line = MailboxLine(await trio.to_thread.run_sync(make), wall_clock=wall_clock)
    try:
        yield line
    finally:
        await line.aclose()
