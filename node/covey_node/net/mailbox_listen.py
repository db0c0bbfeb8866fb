"""Listening to queues at one relay: a stream on which it pushes what lies there and what comes.

Owns: one stream for all who listen over one connection, the asking for subscriptions, again where the relay was busy,
and who gets what is pushed. Spec: docs/spec/mailbox.md, "A stream", "A client". Never touches: what messages mean, when
to come back after the stream ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import trio

from covey_core import limits as core_limits
from covey_core.errors import CoveyError, StreamLost
from covey_core.host import Stream
from covey_core.wire.framing import encode_frame
from covey_core.wire.mailbox import Done, Reason, Refused, StoredMessage, Sub
from covey_node import limits
from covey_node.net.alarm import Alarm
from covey_node.net.chat import first_of
from covey_node.protocol.mailbox_call import Answered, Asking, Exchange, MailboxUnreachable, Pushed, Subscribed

Deliver = Callable[[bytes, Sequence[StoredMessage]], Awaitable[None]]
"""Takes a queue's `recv_id` and messages of it, in the order of their numbers."""

Refuse = Callable[[bytes, Refused], Awaitable[None]]
"""Hears that the relay does not let us listen to a queue."""

Opened = Callable[[], Awaitable[tuple[Stream, Exchange]]]
"""Opens a stream up to the relay's hello; `CoveyError` says why not."""

_News = tuple[bytes, Sequence[StoredMessage] | Refused]


class Listener:
    """One caller who listens: what is pushed for it is worked on in its own task, one piece after the other."""

    def __init__(self, queues: Sequence[Subscribed], standing: Callable[[], None]) -> None:
        self.queues = tuple(queues)
        self.missing = len(self.queues)
        self.listened = 0
        self._standing = standing
        self._news: _News | None = None
        self._stirred = trio.Event()
        self._worked = trio.Event()
        self._end: MailboxUnreachable | None = None
        self._gone = False

    async def run(self, deliver: Deliver, refuse: Refuse) -> None:
        """Work on what comes until the stream ends, which raises `MailboxUnreachable`; errors leave as they are."""
        while True:
            while self._news is None:
                if self._end is not None:
                    raise self._end
                self._stirred = trio.Event()
                await self._stirred.wait()
            recv_id, what = self._news
            if isinstance(what, Refused):
                await refuse(recv_id, what)
            else:
                await deliver(recv_id, what)
            self._news = None
            self._worked.set()

    async def give(self, recv_id: bytes, what: Sequence[StoredMessage] | Refused) -> None:
        """Hand something over; returns when it was worked on, or when nobody is there any more."""
        if self._gone or self._end is not None:
            return
        self._news = (recv_id, what)
        self._worked = trio.Event()
        self._stirred.set()
        await self._worked.wait()

    def settled(self, *, listened: bool) -> None:
        """One more queue is listened to, or will not be. Tell when that was the last; end when there is none."""
        self.missing -= 1
        self.listened += listened
        if self.missing or self._gone:
            return
        if self.listened:
            self._standing()
        else:
            self.end(MailboxUnreachable("the relay lets us listen to none of these queues"))

    def end(self, problem: MailboxUnreachable) -> None:
        """Nothing more comes."""
        self._end = self._end or problem
        self._stirred.set()

    def leave(self) -> None:
        """The caller is gone; who waits for it goes on."""
        self._gone = True
        self._worked.set()


class Listening:
    """All who listen over one connection. `run` must run."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._listeners: list[Listener] = []
        self._to_ask: deque[tuple[Listener, Subscribed]] = deque()
        self._asked: dict[int, tuple[Listener, Subscribed]] = {}
        self._heard_by: dict[bytes, Listener] = {}
        self._news = Alarm()

    async def listen(self, listener: Listener, deliver: Deliver, refuse: Refuse) -> None:
        """Listen until cancelled; errors as in `Listener.run`."""
        self._listeners.append(listener)
        self._to_ask.extend((listener, queue) for queue in listener.queues)
        self._news.ring()
        try:
            await listener.run(deliver, refuse)
        finally:
            listener.leave()
            if listener in self._listeners:
                self._listeners.remove(listener)
            self._to_ask = deque(one for one in self._to_ask if one[0] is not listener)
            self._heard_by = {recv_id: one for recv_id, one in self._heard_by.items() if one is not listener}
            self._news.ring()

    async def run(self) -> None:
        """Have a stream while somebody listens; when it ends, all of them are told."""
        while True:
            while not self._listeners:
                await self._news.wait()
            try:
                stream, exchange = await self._opened()
            except CoveyError as exc:
                self.end(str(exc))
                continue
            problem: str | None = "the connection to the relay was ended"
            try:
                problem = await self._serve(stream, exchange)
            finally:
                self._asked.clear()
                self._heard_by.clear()
                if problem is not None:
                    self.end(problem)
                await stream.close()

    def end(self, reason: str) -> None:
        """Tell everybody that nothing more comes."""
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.end(MailboxUnreachable(reason))
        self._to_ask.clear()

    async def _serve(self, stream: Stream, exchange: Exchange) -> str | None:
        """Serve until the stream ends, and return why; None when nobody listens any more."""
        problem: CoveyError | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask, stream, exchange, nursery.cancel_scope)
                await self._read(stream, exchange, nursery)
        except* CoveyError as group:
            problem = first_of(group)
        return None if problem is None else str(problem)

    async def _ask(self, stream: Stream, exchange: Exchange, everything: trio.CancelScope) -> None:
        """Ask for what is not yet listened to, as much as may be unanswered; end when nobody listens."""
        while self._listeners:
            frames: list[bytes] = []
            while self._to_ask and exchange.has_room:
                listener, queue = self._to_ask.popleft()
                request_id, payload = exchange.ask(Asking.of(Sub(queue.recv_id, queue.after), queue.seed))
                self._asked[request_id] = (listener, queue)
                frames.append(encode_frame(payload, limit=core_limits.MAILBOX_REQUEST_BYTES))
            if frames:
                with trio.move_on_after(limits.MAILBOX_ANSWER_SECONDS) as scope:
                    await stream.write(b"".join(frames))
                if scope.cancelled_caught:
                    raise StreamLost(f"the relay took nothing for {limits.MAILBOX_ANSWER_SECONDS} s")
            await self._news.wait()
        everything.cancel()

    async def _read(self, stream: Stream, exchange: Exchange, nursery: trio.Nursery) -> None:
        while True:
            found = await _next(stream, exchange)
            if isinstance(found, Pushed):
                listener = self._heard_by.get(found.recv_id)
                if listener is not None and found.messages:
                    await listener.give(found.recv_id, found.messages)
                continue
            listener, queue = self._asked.pop(found.id)
            match found.answer:
                case Done():
                    if listener in self._listeners:
                        self._heard_by[queue.recv_id] = listener
                    listener.settled(listened=True)
                case Refused(Reason.BUSY, seconds):
                    nursery.start_soon(self._ask_again, listener, queue, seconds)
                case Refused():
                    await listener.give(queue.recv_id, found.answer)
                    listener.settled(listened=False)
            self._news.ring()

    async def _ask_again(self, listener: Listener, queue: Subscribed, seconds: int) -> None:
        await trio.sleep(max(seconds, limits.MAILBOX_AGAIN_SECONDS))
        if listener in self._listeners:
            self._to_ask.append((listener, queue))
            self._news.ring()


async def _next(stream: Stream, exchange: Exchange) -> Answered | Pushed:
    """Return what comes next; answers to what was asked must come in time, messages come when they come."""
    while True:
        answers_due = exchange.awaits
        with trio.move_on_after(limits.MAILBOX_ANSWER_SECONDS) as scope:
            payload = await stream.read_frame(limit=core_limits.MAILBOX_RESPONSE_BYTES)
            if payload is None:
                raise StreamLost("the relay ended the stream")
            return exchange.take(payload)
        if scope.cancelled_caught and answers_due:
            raise StreamLost(f"the relay answered nothing for {limits.MAILBOX_ANSWER_SECONDS} s")
