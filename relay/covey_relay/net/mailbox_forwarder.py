"""Commands for other relays, carried there and their answers back.

Owns: one stream to each relay that something is forwarded to, and what waits on it. Spec: docs/spec/mailbox.md,
"Forwarding". Never touches: what is sealed, addresses that a client names (known_relays.py has ours), who may ask how
often (pace.py), how much may be under way (forward_shares.py).
"""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import structlog
import trio

from covey_core.errors import CoveyError, ProtocolViolation, StreamLost
from covey_core.host import Host, Stream
from covey_core.limits import MAILBOX_HELLO_BYTES, MAILBOX_REQUEST_BYTES, MAILBOX_RESPONSE_BYTES
from covey_core.peers import PeerId, peer_id_from_bytes, short
from covey_core.wire import mailbox as m
from covey_core.wire.mailbox_codec import decode_hello, decode_response, encode_command, encode_request
from covey_relay import limits
from covey_relay.mailbox.allowance import Buckets
from covey_relay.mailbox.case import Asker
from covey_relay.mailbox.forward_shares import Pauses, Shares
from covey_relay.net.known_relays import KnownRelays

_log: Final = structlog.get_logger("covey.relay")

_UNREACHABLE: Final = m.Refused(m.Reason.UNREACHABLE)
_BUSY: Final = m.Refused(m.Reason.BUSY, 1)
_TRIES: Final = 2


@dataclass(slots=True, eq=False)
class _Ask:
    command: m.Fwd
    answered: trio.Event = field(default_factory=trio.Event)
    answer: m.Answer | None = None

    def answer_with(self, answer: m.Answer | None) -> None:
        self.answer = answer
        self.answered.set()


class Forwarder:
    """The way from one relay to the others. `run` must run."""

    def __init__(self, host: Host, relays: KnownRelays) -> None:
        self._host = host
        self._relays = relays
        self._links: Final[dict[PeerId, _Link]] = {}
        self._shares: Final = Shares()
        self._dials = Buckets(rate=limits.FORWARD_DIAL_RATE, burst=limits.FORWARD_DIAL_BURST)
        self._pauses: Final = Pauses()
        self._new, self._to_run = trio.open_memory_channel[_Link](limits.FORWARD_LINKS)

    async def run(self) -> None:
        """Run the streams to other relays, until cancelled."""
        async with trio.open_nursery() as nursery:
            async for link in self._to_run:
                nursery.start_soon(self._run_link, link)

    async def forward(self, command: m.Fwd, asker: Asker) -> m.Answer:
        """Return what the other relay answered; `UNREACHABLE` when it is unknown, away, or silent. Never raises.

        `BUSY` when the asker's address, or the target, has its share under way.
        """
        try:
            target = peer_id_from_bytes(command.relay)
        except ProtocolViolation:
            return _UNREACHABLE
        groups, listed = asker.groups or (asker.peer,), self._relays.is_listed(target)
        if not self._shares.take(groups, listed=listed):
            return _BUSY
        deadline = trio.current_time() + limits.FORWARD_SECONDS
        try:
            for _ in range(_TRIES):
                if answer := await self._asked(target, command, deadline):
                    return answer
            return _UNREACHABLE
        finally:
            self._shares.leave(groups, listed=listed)

    async def _asked(self, target: PeerId, command: m.Fwd, deadline: float) -> m.Answer | None:
        """Return the answer, None when the stream broke before it came: one that stood idle may have died long ago.

        All commands may be repeated.
        """
        link = self._link_to(target)
        if isinstance(link, m.Refused):
            return link
        ask = _Ask(command)
        if not link.take(ask):
            return _BUSY
        since = trio.current_time()
        with trio.CancelScope(deadline=deadline):
            await ask.answered.wait()
            return ask.answer
        if trio.current_time() >= since + limits.FORWARD_SECONDS / 2:  # it is not only that the first try took so long
            self._has_failed(link)
            link.end()
        return _UNREACHABLE

    def _link_to(self, target: PeerId) -> "_Link | m.Refused":
        link = self._links.get(target)
        if link is not None and not link.is_over:
            return link
        if not self._relays.addrs_of(target) or self._pauses_for(target):
            return _UNREACHABLE
        if not self._may_dial(target):
            return _BUSY
        link = _Link(target)
        try:
            self._new.send_nowait(link)
        except trio.WouldBlock:
            return _BUSY
        self._links[target] = link
        return link

    def _may_dial(self, target: PeerId) -> bool:
        """Whether to connect: nobody vouched for where a relay is that only registered itself; it may name a victim."""
        if self._relays.is_listed(target) or self._host.connections(target):
            return True
        now = trio.current_time()
        if self._dials.wait_seconds(None, now=now) > 0.0:
            return False
        self._dials.take(None, now=now)
        return True

    def _pauses_for(self, target: PeerId) -> bool:
        return self._pauses.lasts(target, listed=self._relays.is_listed(target), now=trio.current_time())

    def _has_failed(self, link: "_Link") -> None:
        if not link.has_failed:  # all who waited for it say so, and it failed once
            link.has_failed = True
            self._pauses.failed(link.target, now=trio.current_time())

    async def _run_link(self, link: "_Link") -> None:
        try:
            stream = await self._opened(link.target)
            await link.run(stream)
            if link.kept_waiting and not self._relays.is_listed(link.target):
                self._has_failed(link)  # it did nothing but end the stream
        except (CoveyError, trio.TooSlowError) as exc:
            _log.debug("relay.forward.failed", relay=short(link.target), problem=str(exc) or type(exc).__name__)
            self._has_failed(link)
        finally:
            link.is_over = True
            if self._links.get(link.target) is link:
                del self._links[link.target]
            link.give_up()

    async def _opened(self, target: PeerId) -> Stream:
        """Return a stream on which the relay has said its Hello."""
        with trio.fail_after(limits.FORWARD_OPEN_SECONDS):
            for pause_seconds in limits.FORWARD_OPEN_AGAIN_SECONDS:
                try:
                    return await self._opened_once(target)
                except StreamLost:  # on a connection of which nobody knew that it has died
                    await trio.sleep(pause_seconds)
            return await self._opened_once(target)

    async def _opened_once(self, target: PeerId) -> Stream:
        if not self._host.connections(target):
            await self._host.connect(target, self._relays.addrs_of(target))
        stream = await self._host.open_stream(target, self._host.network.protocol(m.MAILBOX_NAME))
        try:
            frame = await stream.read_frame(limit=MAILBOX_HELLO_BYTES)
            if frame is None:
                raise StreamLost("the relay ended the stream without a hello")
            decode_hello(frame)
        except (CoveyError, trio.Cancelled):
            await stream.reset()
            raise
        return stream


class _Link:
    """One stream to another relay, and what is to be asked on it."""

    def __init__(self, target: PeerId) -> None:
        self.target: Final = target
        self.is_over = False
        self.has_failed = False
        self._has_answered = False
        self._asks: Final[deque[_Ask]] = deque()
        self._waiting: Final[dict[int, _Ask]] = {}
        self._stirred = trio.Event()
        self._scope = trio.CancelScope()

    @property
    def kept_waiting(self) -> bool:
        """Whether it was asked and has answered nothing at all."""
        return bool(self._waiting) and not self._has_answered

    def take(self, ask: _Ask) -> bool:
        """Put something into the line; False when it is full."""
        if len(self._asks) + len(self._waiting) >= limits.FORWARD_WAITING:
            return False
        self._asks.append(ask)
        self._stirred.set()
        return True

    def end(self) -> None:
        """End the stream: it is silent."""
        self.is_over = True
        self._scope.cancel()

    def give_up(self) -> None:
        """Tell all who still wait that there is no answer."""
        for ask in (*self._waiting.values(), *self._asks):
            ask.answer_with(None)

    async def run(self, stream: Stream) -> None:
        """Ask and read answers until nothing was asked for a while, or the stream breaks."""
        with self._scope:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._until_over, self._read, stream, nursery.cancel_scope)
                    await self._until_over(self._ask_all, stream, nursery.cancel_scope)
            finally:
                await stream.reset()

    async def _until_over(
        self, function: Callable[[Stream], Awaitable[None]], stream: Stream, both: trio.CancelScope
    ) -> None:
        try:
            await function(stream)
        except (ProtocolViolation, StreamLost, trio.TooSlowError) as exc:
            _log.debug("relay.forward.lost", relay=short(self.target), problem=str(exc) or type(exc).__name__)
        self.is_over = True
        both.cancel()

    async def _ask_all(self, stream: Stream) -> None:
        request_id = 0
        while await self._has_asks():
            ask = self._asks.popleft()
            request_id += 1
            self._waiting[request_id] = ask
            with trio.fail_after(limits.FORWARD_SECONDS):
                payload = encode_request(request_id, encode_command(ask.command))
                await stream.write_frame(payload, limit=MAILBOX_REQUEST_BYTES)

    async def _has_asks(self) -> bool:
        """Wait until there is something to ask; False when nothing was for so long that the stream may go."""
        while not self._asks:
            self._stirred = trio.Event()
            with trio.move_on_after(limits.FORWARD_IDLE_SECONDS) as idle:
                await self._stirred.wait()
            if idle.cancelled_caught and not self._asks:
                return False
        return True

    async def _read(self, stream: Stream) -> None:
        while (frame := await stream.read_frame(limit=MAILBOX_RESPONSE_BYTES)) is not None:
            response = decode_response(frame)
            ask = self._waiting.pop(response.id, None)
            if ask is None:
                raise ProtocolViolation("an answer to nothing that was asked")
            self._has_answered = True
            fits = isinstance(response.answer, m.Forwarded | m.Refused)
            ask.answer_with(response.answer if fits else _UNREACHABLE)
