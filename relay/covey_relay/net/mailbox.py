"""`/covey/mailbox/1` at the relay: one stream of requests.

Owns: a stream's shell: reading, ids, the bounds on what is unanswered, writing, its end. Spec: docs/spec/mailbox.md, "A
stream". Never touches: what commands mean and to whom they are allowed (covey_relay/mailbox/), tables, admission to the
network (the host does it before a stream comes here).

One task reads and one does and writes, so answers leave in the order of rounds, and who does not read is read no more.
"""

import math
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final

import structlog
import trio

from covey_core.errors import ProtocolViolation, StreamLost
from covey_core.host import Stream
from covey_core.limits import MAILBOX_REQUEST_BYTES, MAILBOX_RESPONSE_BYTES
from covey_core.wire import mailbox as m
from covey_core.wire.framing import encode_frame
from covey_core.wire.mailbox_codec import decode_request, encode_hello, encode_response
from covey_relay import limits
from covey_relay.mailbox.case import Asker, Case
from covey_relay.mailbox.round import next_round
from covey_relay.mailbox.subscriptions import Feed
from covey_relay.net.mailbox_office import Office

_log: Final = structlog.get_logger("covey.relay")

_ENDED: Final = (ProtocolViolation, StreamLost, trio.TooSlowError)
"""What a peer can do to its stream."""


class MailboxStream:
    """One stream from its Hello to its end."""

    def __init__(self, stream: Stream, *, asker: Asker, office: Office) -> None:
        self._stream = stream
        self._asker = asker
        self._office = office
        self._feed = Feed(office.subscriptions, changed=self._feed_changed)
        self._pending: deque[Case] = deque()
        self._carried: list[Case] = []  # forwarded, and answered by other relays
        self._unanswered = 0
        self._unanswered_bytes = 0
        self._room = trio.Event()
        self._stirred = trio.Event()
        self._active_at = trio.current_time()
        self._reading: trio.CancelScope | None = None
        self._read_all = False

    async def run(self, hello: m.Hello) -> None:
        """Serve the stream. A stream whose peer broke the protocol, or did not read, is reset."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_broken, partial(self._read, nursery), nursery.cancel_scope)
                await self._until_broken(partial(self._answer_all, hello), nursery.cancel_scope)
        finally:
            self._feed.close()

    async def _until_broken(self, function: Callable[[], Awaitable[None]], both: trio.CancelScope) -> None:
        try:
            await function()
        except _ENDED as exc:
            _log.debug("relay.mailbox.broken", problem=str(exc) or type(exc).__name__)
            both.cancel()
            await self._stream.reset()

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _read(self, nursery: trio.Nursery) -> None:
        last_id = 0
        while (frame := await self._next_frame()) is not None:
            request = decode_request(frame)
            if request.id <= last_id:
                raise ProtocolViolation(f"request {request.id} after request {last_id}")
            last_id = request.id
            self._active_at = trio.current_time()
            self._unanswered += 1
            self._unanswered_bytes += len(frame)
            case = await self._office.receive(request, self._asker, size=len(frame))
            if self._office.is_for_another(case):
                nursery.start_soon(self._forward, case)
            else:
                self._pending.append(case)
                self._stir()
        self._read_all = True
        self._feed.close()
        self._stir()

    async def _next_frame(self) -> bytes | None:
        """Return the next frame; None when the client has ended its side, or asked for nothing for too long."""
        while (
            self._unanswered >= limits.MAILBOX_UNANSWERED or self._unanswered_bytes >= limits.MAILBOX_UNANSWERED_BYTES
        ):
            self._room = trio.Event()
            await self._room.wait()
        with trio.CancelScope(deadline=self._idle_deadline()) as self._reading:
            return await self._stream.read_frame(limit=MAILBOX_REQUEST_BYTES)
        return None

    def _idle_deadline(self) -> float:
        return math.inf if len(self._feed) else self._active_at + limits.MAILBOX_STREAM_IDLE_SECONDS

    def _feed_changed(self) -> None:
        self._active_at = trio.current_time()
        if self._reading is not None:
            self._reading.deadline = self._idle_deadline()
        self._stir()

    async def _forward(self, case: Case) -> None:
        assert isinstance(case.request.command, m.Fwd)  # noqa: S101 - nothing else is for another relay
        case.answer = await self._office.forward(case.request.command, case.asker)
        self._carried.append(case)
        self._stir()

    # --- answering ----------------------------------------------------------------------------------------------------

    async def _answer_all(self, hello: m.Hello) -> None:
        await self._write([encode_hello(hello)])
        while True:
            if self._pending:
                await self._answer_round()
            if self._carried:
                carried, self._carried = self._carried, []
                await self._send(carried)
            if self._feed.has_due:
                await self._push()
            elif not self._pending and not self._carried:
                if self._read_all and not self._unanswered:
                    return
                self._stirred = trio.Event()
                await self._stirred.wait()

    async def _answer_round(self) -> None:
        cases = next_round(self._pending)
        if any(isinstance(case.request.command, m.Get) for case in cases):
            async with self._office.turns.take(self._asker.groups):
                await self._do(cases)
        else:
            await self._do(cases)

    async def _do(self, cases: Sequence[Case]) -> None:
        await self._office.run_round(cases)
        for case in cases:
            if isinstance(case.request.command, m.Sub) and len(self._feed) >= limits.MAILBOX_SUBSCRIPTIONS:
                case.answer = m.Refused(m.Reason.BUSY, limits.MAILBOX_FULL_RETRY_SECONDS)
        await self._send(cases)
        for case in cases:
            if isinstance(case.request.command, m.Sub) and isinstance(case.answer, m.Done) and case.queue is not None:
                self._subscribe(case, case.request.command, case.queue.recv_key)

    def _subscribe(self, case: Case, command: m.Sub, recv_key: bytes) -> None:
        if not self._read_all:
            self._feed.begin(
                recv_key=recv_key, recv_id=command.recv_id, request_id=case.request.id, after=command.after
            )

    async def _push(self) -> None:
        async with self._office.turns.take(self._asker.groups):
            await self._push_some()

    async def _push_some(self) -> None:
        """Send what lies in a few of the queues that have something; each comes again if more lies there."""
        due = self._feed.take_due(limits.MAILBOX_PUSHED_QUEUES)
        pages = await self._office.fetch(due)
        frames = []
        for one, page in zip(due, pages, strict=True):
            if page is None:
                self._feed.end(one)
            elif page.messages and self._feed.holds(one):
                one.after = page.messages[-1].seq
                frames.append(encode_response(m.Response(one.request_id, m.Messages(page.messages))))
                if page.more:
                    self._feed.is_due(one)
        await self._write(frames)

    async def _send(self, cases: Sequence[Case]) -> None:
        for case in cases:
            self._office.answered(case)
        await self._write(encode_response(case.response(random=secrets.token_bytes)) for case in cases)
        for case in cases:
            self._unanswered -= 1
            self._unanswered_bytes -= case.size
        self._room.set()

    async def _write(self, payloads: Iterable[bytes]) -> None:
        """Write frames, a few together. `TooSlowError` when the client does not take them in time."""
        waiting = bytearray()
        for payload in payloads:
            waiting += encode_frame(payload, limit=MAILBOX_RESPONSE_BYTES)
            while len(waiting) >= limits.MAILBOX_WRITE_BYTES:
                await self._write_piece(bytes(waiting[: limits.MAILBOX_WRITE_BYTES]))
                del waiting[: limits.MAILBOX_WRITE_BYTES]
        if waiting:
            await self._write_piece(bytes(waiting))

    async def _write_piece(self, piece: bytes) -> None:
        with trio.fail_after(limits.MAILBOX_WRITE_SECONDS):
            await self._stream.write(piece)

    def _stir(self) -> None:
        self._stirred.set()
