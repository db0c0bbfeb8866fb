"""Who waits for a database together is committed together: one line, one worker thread, no task in the background.

Owns: the waiting line and its bounds, who leads a batch, what cancelling means. Spec: docs/adr/0022-group-commit.md.
Never touches: what is done in a batch (`run`, in the worker thread), databases.

The first that finds the line idle leads: it does the work of all that wait; then the next one in the line leads. So no
task of its own is needed, and none can be left behind.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import outcome
import trio

Piece = TypeVar("Piece")
Result = TypeVar("Result")
T = TypeVar("T")


class _Waiting(Generic[Piece, Result]):
    """A piece of work in the line. `task` is parked until it is given its result, or None to lead the next batch."""

    __slots__ = ("count", "piece", "size", "started", "task")

    def __init__(self, piece: Piece, count: int, size: int) -> None:
        self.piece = piece
        self.count = count
        self.size = size
        self.started = False
        self.task: trio.lowlevel.Task | None = None


class GroupCommit(Generic[Piece, Result]):
    """A line of work for one worker thread.

    `run` gets the pieces of a batch and returns the outcome of each, or raises what is everybody's outcome. `closed`
    makes the error for those who come after the end. A batch holds pieces of `batch_count` and `batch_bytes` together,
    or one larger piece; of more than `waiting` pieces the others wait before they are in the line.
    """

    def __init__(
        self,
        run: Callable[[list[Piece]], Sequence[outcome.Outcome[Result]]],
        *,
        closed: Callable[[], Exception],
        waiting: int,
        batch_count: int,
        batch_bytes: int = 0,
    ) -> None:
        self._run = run
        self._closed_error = closed
        self._batch_count = batch_count
        self._batch_bytes = batch_bytes
        self._line: deque[_Waiting[Piece, Result]] = deque()
        self._room: Final = trio.Semaphore(waiting, max_value=waiting)
        self._thread: Final = trio.CapacityLimiter(1)
        self._busy = False
        self._closed = False
        self._idle = trio.Event()

    async def do(self, piece: Piece, *, count: int = 1, size: int = 0) -> Result:
        """Have a piece of work done; return its result once its batch is committed.

        One that was cancelled before it started is not done; once started it is finished, and its result returned.
        """
        await trio.lowlevel.checkpoint_if_cancelled()  # with room in the line, all waiting is done below
        try:
            self._room.acquire_nowait()
        except trio.WouldBlock:
            await self._room.acquire()
        try:
            if self._closed:
                raise self._closed_error()
            waiting: _Waiting[Piece, Result] = _Waiting(piece, count, size)
            self._line.append(waiting)
            result = await self._park(waiting) if self._busy else None
            if result is None:
                result = await self._lead()
            return result.unwrap()
        finally:
            self._room.release()

    async def outside(self, function: Callable[[], T]) -> T:
        """Run a function in the worker thread, between batches. It is finished also when its caller is cancelled."""
        with trio.CancelScope(shield=True):
            return await trio.to_thread.run_sync(function, limiter=self._thread)

    async def _park(self, waiting: _Waiting[Piece, Result]) -> outcome.Outcome[Result] | None:
        """Wait for the result; None: to be the leader."""

        def give_up(_: object) -> trio.lowlevel.Abort:
            if waiting.started:
                return trio.lowlevel.Abort.FAILED
            self._line.remove(waiting)
            return trio.lowlevel.Abort.SUCCEEDED

        waiting.task = trio.lowlevel.current_task()
        result: outcome.Outcome[Result] | None = await trio.lowlevel.wait_task_rescheduled(give_up)
        return result

    async def _lead(self) -> outcome.Outcome[Result]:
        """Do the first batch of the line; the leader's own piece is the first of it. Return the leader's result."""
        self._busy = True
        try:
            await trio.lowlevel.cancel_shielded_checkpoint()  # tasks that are about to ask join this batch
            batch = self._next_batch()
            with trio.CancelScope(shield=True):
                ran = await outcome.acapture(self._run_in_thread, [one.piece for one in batch])
            # An outcome can be unwrapped once, so each gets his own.
            results = ran.value if isinstance(ran, outcome.Value) else [outcome.Error(ran.error) for _ in batch]
            for one, result in zip(batch[1:], results[1:], strict=True):
                assert one.task is not None  # noqa: S101 - all but the leader are parked
                trio.lowlevel.reschedule(one.task, outcome.Value(result))
            return results[0]
        finally:
            self._wake_next()

    async def _run_in_thread(self, pieces: list[Piece]) -> Sequence[outcome.Outcome[Result]]:
        return await trio.to_thread.run_sync(self._run, pieces, limiter=self._thread)

    def _next_batch(self) -> list[_Waiting[Piece, Result]]:
        """Take the first of the line, and those behind it that fit the bounds."""
        batch: list[_Waiting[Piece, Result]] = []
        count = size = 0
        while self._line:
            first = self._line[0]
            count += first.count
            size += first.size
            if batch and (count > self._batch_count or (self._batch_bytes and size > self._batch_bytes)):
                break
            first.started = True
            batch.append(self._line.popleft())
        return batch

    def _wake_next(self) -> None:
        """Let the first in the line lead, or note that nobody does."""
        if self._line:
            first = self._line[0]
            assert first.task is not None  # noqa: S101 - it came while another led, so it is parked
            trio.lowlevel.reschedule(first.task, outcome.Value(None))
        else:
            self._busy = False
            self._idle.set()

    async def aclose(self, close: Callable[[], None]) -> None:
        """Finish what stands in the line, then call `close` in the worker thread. May be called again."""
        if self._closed:
            return
        self._closed = True
        with trio.CancelScope(shield=True):
            if self._busy:
                self._idle = trio.Event()
                await self._idle.wait()
            await self.outside(close)
