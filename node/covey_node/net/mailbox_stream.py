"""Calls on one stream to a relay's mailboxes: written one behind the other, answered in whatever order.

Owns: the reading and the writing task of a stream, the calls that wait for an answer. Spec: docs/spec/mailbox.md, "A
stream". Never touches: hosts and connections (mailbox_link.py), what may answer what (protocol/mailbox_call.py).
"""

from __future__ import annotations

import math
from collections import deque

import trio

from covey_core import limits as core_limits
from covey_core.errors import CoveyError, StreamLost, Unreachable
from covey_core.host import Stream
from covey_core.wire.framing import encode_frame
from covey_core.wire.mailbox import Answer
from covey_node import limits
from covey_node.net.alarm import Alarm
from covey_node.net.chat import first_of
from covey_node.protocol.mailbox_call import Answered, Asking, Exchange


class Call:
    """One command on its way, and what became of it."""

    def __init__(self, asking: Asking) -> None:
        self.asking = asking
        self._done = trio.Event()
        self._answer: Answer | None = None
        self._problem: CoveyError | None = None
        self._given_up = False

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits for the answer."""
        return not self._given_up

    async def wait(self) -> Answer:
        """Return the answer; `StreamLost` or `Unreachable` when there is none. Who stops waiting gives the call up."""
        try:
            await self._done.wait()
        finally:
            self._given_up = True
        if self._answer is None:
            raise own(self._problem or StreamLost("the call was ended"))
        return self._answer

    def answer(self, answer: Answer) -> None:
        """Take the answer."""
        self._answer = answer
        self._done.set()

    def fail(self, problem: CoveyError) -> None:
        """Take why no answer comes."""
        self._problem = problem
        self._done.set()


def own(problem: CoveyError) -> CoveyError:
    """Return an error of one caller's own for a problem that many share: `StreamLost` where it was, else `Unreachable`.

    One object raised a thousand times would carry a thousand tracebacks.
    """
    found = StreamLost(str(problem)) if isinstance(problem, StreamLost) else Unreachable(str(problem))
    found.__cause__ = problem
    return found


class Calls:
    """Calls that wait to be written, `limits.MAILBOX_WAITING` at most; who writes them sleeps on `news`."""

    def __init__(self) -> None:
        self._waiting: deque[Call] = deque()
        self.news = Alarm()

    def add(self, call: Call) -> None:
        """Put a call at the end; `StreamLost` when too many wait."""
        if len(self._waiting) >= limits.MAILBOX_WAITING:
            self._waiting = deque(one for one in self._waiting if one.is_wanted)
        if len(self._waiting) >= limits.MAILBOX_WAITING:
            raise StreamLost(f"{limits.MAILBOX_WAITING} calls to this relay wait already")
        self._waiting.append(call)
        self.news.ring()

    def next(self) -> Call | None:
        """Take the first call that somebody still wants."""
        while self._waiting:
            call = self._waiting.popleft()
            if call.is_wanted:
                return call
        return None

    @property
    def any_wait(self) -> bool:
        """Whether somebody waits."""
        while self._waiting and not self._waiting[0].is_wanted:
            self._waiting.popleft()
        return bool(self._waiting)

    def fail_all(self, problem: CoveyError) -> None:
        """Nobody who waits will be served."""
        while self._waiting:
            self._waiting.popleft().fail(problem)


class CallStream:
    """Serves calls on one stream until it ends or nobody calls for `limits.MAILBOX_IDLE_SECONDS`."""

    def __init__(self, stream: Stream, exchange: Exchange, calls: Calls) -> None:
        self._stream = stream
        self._exchange = exchange
        self._calls = calls
        self._asked: dict[int, Call] = {}
        self._answers = 0
        self._patience = trio.CancelScope()

    async def run(self) -> CoveyError | None:
        """Serve; return None when it was idle, else why the stream ended. Calls that were asked fail with that.

        When not one call was answered those that wait fail too: another stream would not do better.
        """
        problem: CoveyError | None = StreamLost("the call was ended")
        try:
            problem = await self._serve()
        finally:
            for call in self._asked.values():
                call.fail(problem or StreamLost("the relay ended the stream"))
            if problem is not None and not self._answers:
                self._calls.fail_all(problem)
            await self._stream.close()
        return problem

    async def _serve(self) -> CoveyError | None:
        problem: CoveyError | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, nursery.cancel_scope)
                await self._read()
                nursery.cancel_scope.cancel()
                problem = StreamLost("the relay ended the stream")
        except* CoveyError as group:
            problem = first_of(group)
        return problem

    async def _write(self, everything: trio.CancelScope) -> None:
        """Write what waits, as much as may be unanswered; end everything when nobody called for a while."""
        while True:
            if self._exchange.has_room and self._calls.any_wait:
                await self._write_some()
                continue
            idle_at = math.inf if self._exchange.awaits else trio.current_time() + limits.MAILBOX_IDLE_SECONDS
            await self._calls.news.wait(idle_at)
            if trio.current_time() >= idle_at and not self._calls.any_wait:
                everything.cancel()

    async def _write_some(self) -> None:
        frames: list[bytes] = []
        size = 0
        while size < limits.MAILBOX_WRITE_BYTES and self._exchange.has_room and (call := self._calls.next()):
            request_id, payload = self._exchange.ask(call.asking)
            self._asked[request_id] = call
            frames.append(encode_frame(payload, limit=core_limits.MAILBOX_REQUEST_BYTES))
            size += len(frames[-1])
        self._expect()
        with trio.move_on_after(limits.MAILBOX_ANSWER_SECONDS) as scope:
            await self._stream.write(b"".join(frames))
        if scope.cancelled_caught:
            raise StreamLost(f"the relay took nothing for {limits.MAILBOX_ANSWER_SECONDS} s")
        self._expect()

    def _expect(self) -> None:
        if self._exchange.awaits:
            self._patience.deadline = trio.current_time() + limits.MAILBOX_ANSWER_SECONDS

    async def _read(self) -> None:
        while True:
            self._patience = trio.CancelScope()
            self._expect()
            with self._patience:
                payload = await self._stream.read_frame(limit=core_limits.MAILBOX_RESPONSE_BYTES)
            if self._patience.cancelled_caught:
                raise StreamLost(f"the relay answered nothing for {limits.MAILBOX_ANSWER_SECONDS} s")
            if payload is None:
                return
            had_room = self._exchange.has_room
            self._take(payload)
            if not had_room or not self._exchange.awaits:
                self._calls.news.ring()

    def _take(self, payload: bytes) -> None:
        found = self._exchange.take(payload)
        if isinstance(found, Answered):
            self._answers += 1
            self._asked.pop(found.id).answer(found.answer)
