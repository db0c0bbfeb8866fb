"""Listening to queues at one relay: a stream on which it pushes what lies there and what comes.

Owns: asking for the subscriptions, again where the relay was busy, and handing on what is pushed. Spec:
docs/spec/mailbox.md, "A stream". Never touches: what messages mean, when to come back after the stream ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import trio

from covey_core import limits as core_limits
from covey_core.errors import CoveyError, StreamLost
from covey_core.host import Stream
from covey_core.host.contained import Contained
from covey_core.wire.framing import encode_frame
from covey_core.wire.mailbox import Done, Reason, Refused, StoredMessage, Sub
from covey_node import limits
from covey_node.net.alarm import Alarm
from covey_node.net.mailbox_link import Link
from covey_node.protocol.mailbox_call import Answered, Asking, Exchange, MailboxUnreachable, Pushed, Subscribed

Deliver = Callable[[bytes, Sequence[StoredMessage]], Awaitable[None]]
"""Takes a queue's `recv_id` and messages of it, in the order of their numbers."""

Refuse = Callable[[bytes, Refused], Awaitable[None]]
"""Hears that the relay does not let us listen to a queue."""


class Listening:
    """One stream with subscriptions, from its hello to its end."""

    def __init__(
        self, queues: Sequence[Subscribed], deliver: Deliver, refuse: Refuse, standing: Callable[[], None]
    ) -> None:
        self._deliver = deliver
        self._refuse = refuse
        self._standing = standing
        self._to_ask = deque(queues)
        self._asked: dict[int, Subscribed] = {}
        self._busy = 0
        self._listened = 0
        self._told = False
        self._news = Alarm()

    async def run(self, link: Link) -> None:
        """Listen until the stream ends, which raises `MailboxUnreachable`; errors of callbacks leave as they are."""
        async with link.stream() as (stream, exchange):
            problem: list[MailboxUnreachable] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask, stream, exchange, problem, nursery.cancel_scope)
                with Contained() as reading:  # as it is, not in the nursery's group
                    await self._read(stream, exchange, nursery)
                nursery.cancel_scope.cancel()
            raise next(iter(problem), None) or reading.error or MailboxUnreachable("the relay ended the stream")

    async def _ask(
        self, stream: Stream, exchange: Exchange, problem: list[MailboxUnreachable], everything: trio.CancelScope
    ) -> None:
        """Ask for what is not yet listened to, as much as may be unanswered."""
        try:
            while True:
                frames: list[bytes] = []
                while self._to_ask and exchange.has_room and len(frames) < limits.MAILBOX_UNANSWERED:
                    queue = self._to_ask.popleft()
                    request_id, payload = exchange.ask(Asking.of(Sub(queue.recv_id, queue.after), queue.seed))
                    self._asked[request_id] = queue
                    frames.append(encode_frame(payload, limit=core_limits.MAILBOX_REQUEST_BYTES))
                if frames:
                    with trio.move_on_after(limits.MAILBOX_ANSWER_SECONDS) as scope:
                        await stream.write(b"".join(frames))
                    if scope.cancelled_caught:
                        raise StreamLost(f"the relay took nothing for {limits.MAILBOX_ANSWER_SECONDS} s")
                await self._news.wait()
        except CoveyError as exc:
            problem.append(MailboxUnreachable(str(exc)))
            everything.cancel()

    async def _read(self, stream: Stream, exchange: Exchange, nursery: trio.Nursery) -> None:
        while True:
            found = await self._next(stream, exchange)
            if isinstance(found, Pushed):
                if found.messages:
                    await self._deliver(found.recv_id, found.messages)
                continue
            queue = self._asked.pop(found.id)
            match found.answer:
                case Done():
                    self._listened += 1
                case Refused(Reason.BUSY, seconds):
                    self._busy += 1
                    nursery.start_soon(self._ask_again, queue, seconds)
                case Refused():
                    await self._refuse(queue.recv_id, found.answer)
            self._news.ring()
            self._look()

    def _look(self) -> None:
        """Tell once that all are listened to; end when there is none."""
        if self._to_ask or self._asked or self._busy:
            return
        if not self._listened:
            raise MailboxUnreachable("the relay lets us listen to none of these queues")
        if not self._told:
            self._told = True
            self._standing()

    async def _ask_again(self, queue: Subscribed, seconds: int) -> None:
        await trio.sleep(max(seconds, limits.MAILBOX_AGAIN_SECONDS))
        self._busy -= 1
        self._to_ask.append(queue)
        self._news.ring()

    async def _next(self, stream: Stream, exchange: Exchange) -> Answered | Pushed:
        """Return what comes next; answers to what was asked must come in time, messages come when they come."""
        try:
            while True:
                answers_due = exchange.awaits
                with trio.move_on_after(limits.MAILBOX_ANSWER_SECONDS) as scope:
                    payload = await stream.read_frame(limit=core_limits.MAILBOX_RESPONSE_BYTES)
                    if payload is None:
                        raise StreamLost("the relay ended the stream")
                    return exchange.take(payload)
                if scope.cancelled_caught and answers_due:
                    raise StreamLost(f"the relay answered nothing for {limits.MAILBOX_ANSWER_SECONDS} s")
        except CoveyError as exc:
            raise MailboxUnreachable(str(exc)) from exc
