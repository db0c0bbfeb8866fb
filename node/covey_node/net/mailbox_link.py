"""One throw-away identity's way to one relay: a host that only dials, its connection, its streams.

Owns: that host for as long as it is needed; on it are one stream of calls and one of subscriptions. Spec:
docs/spec/mailbox.md, "A client". Never touches: the device's host; which identity is used for what (mailbox.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import trio

from covey_core import limits as core_limits
from covey_core.errors import CoveyError, StreamLost, Unreachable
from covey_core.host import Host, HostConfig, ProtocolRefused, Stream, open_host
from covey_core.identity import Identity
from covey_core.network import Network
from covey_core.peers import PeerId
from covey_core.wire.mailbox import MAILBOX_NAME, Answer
from covey_node import limits
from covey_node.net.mailbox_listen import Deliver, Listener, Listening, Refuse
from covey_node.net.mailbox_relays import MailboxRelays
from covey_node.net.mailbox_stream import Call, Calls, CallStream, own
from covey_node.protocol.mailbox_call import Asking, Exchange, MailboxUnreachable, Subscribed


class Link:
    """Made by the client, run in its nursery. `addrs` are those of the last caller."""

    def __init__(self, network: Network, identity: Identity, relay: PeerId, relays: MailboxRelays) -> None:
        """`relays` hears whether the relay speaks the protocol, each time it was asked."""
        self.relay = relay
        self.addrs: tuple[str, ...] = ()
        self.ended = False
        self.used_at = trio.current_time()
        self._config = HostConfig(identity, network, max_connections=limits.MAILBOX_LINK_CONNECTIONS)
        self._relays = relays
        self._calls = Calls()
        self._users = 0
        self._host: Host | None = None
        self._listening = Listening(self._open)
        self._scope = trio.CancelScope()
        self._failed: tuple[float, CoveyError] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nobody calls or listens."""
        return not self._users

    def end(self, reason: str) -> None:
        """Serve nobody any more: the host ends, and with it every stream on it."""
        self.ended = True
        self._calls.fail_all(StreamLost(reason))
        self._listening.end(reason)
        if self._host is not None:  # else `run` sees that it has ended as soon as the host is open
            self._scope.cancel()

    async def run(self) -> None:
        """Serve until nobody called or listened for `limits.MAILBOX_IDLE_SECONDS`, or until `end`."""
        try:
            with self._scope:
                async with open_host(self._config) as host, trio.open_nursery() as nursery:
                    self._host = host
                    nursery.start_soon(self._listening.run)
                    while not self.ended and await self._is_called():
                        await self._serve_calls()
                    nursery.cancel_scope.cancel()
        finally:
            self._host = None
            self.end("the connection to the relay was ended")

    async def call(self, asking: Asking) -> Answer:
        """Have one command answered. `StreamLost`: it may have been done, and may be asked again; `Unreachable`."""
        if self.ended:
            raise StreamLost("the connection to the relay was ended")
        if self._failed is not None and trio.current_time() < self._failed[0]:
            raise own(self._failed[1])
        call = Call(asking)
        self._calls.add(call)
        with self._used():
            return await call.wait()

    async def listen(
        self, queues: Sequence[Subscribed], deliver: Deliver, refuse: Refuse, standing: Callable[[], None]
    ) -> None:
        """Listen to queues, beside the calls. `MailboxUnreachable` when that ends; errors of callbacks as they are."""
        if self.ended:
            raise MailboxUnreachable("the connection to the relay was ended")
        with self._used():
            await self._listening.listen(Listener(queues, standing), deliver, refuse)

    @contextmanager
    def _used(self) -> Iterator[None]:
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self.used_at = trio.current_time()

    async def _is_called(self) -> bool:
        while not self._calls.any_wait:
            until = trio.current_time() + limits.MAILBOX_IDLE_SECONDS
            await self._calls.news.wait(until)
            if self.is_idle and trio.current_time() >= until:
                self.ended = True  # from now on whoever calls gets another link
                return False
        return True

    async def _serve_calls(self) -> None:
        try:
            stream, exchange = await self._open()
        except CoveyError as exc:
            self._failed = (trio.current_time() + limits.MAILBOX_AGAIN_SECONDS, exc)
            self._calls.fail_all(exc)
            return
        self._failed = None
        await CallStream(stream, exchange, self._calls).run()

    async def _open(self) -> tuple[Stream, Exchange]:
        """Connect where need be and open a stream up to the relay's hello."""
        host = self._host
        if host is None:
            raise StreamLost("the connection to the relay was ended")
        stream = await self._stream_on(host)
        self._relays.said(self.relay, serves=True)
        done = False
        try:
            exchange = Exchange(self.relay)
            with trio.move_on_after(limits.MAILBOX_HELLO_SECONDS):
                hello = await stream.read_frame(limit=core_limits.MAILBOX_HELLO_BYTES)
                if hello is None:
                    raise StreamLost("the relay ended the stream before its first word")
                exchange.begin(hello)
                done = True
                return stream, exchange
            raise StreamLost(f"the relay said nothing for {limits.MAILBOX_HELLO_SECONDS} s")
        finally:
            if not done:
                await stream.reset()

    async def _stream_on(self, host: Host) -> Stream:
        """Open a stream; on a new connection where the one that stands turns out to be broken."""
        protocol = host.network.protocol(MAILBOX_NAME)
        for is_first in (True, False):
            await host.connect(self.relay, self.addrs, timeout_seconds=limits.MAILBOX_CONNECT_SECONDS)
            began = trio.current_time()
            try:
                return await host.open_stream(self.relay, protocol)
            except ProtocolRefused as exc:
                self._relays.said(self.relay, serves=False)
                raise Unreachable("the relay serves no mailboxes") from exc
            except StreamLost:
                if not is_first or trio.current_time() > began + limits.MAILBOX_BROKEN_SECONDS:
                    raise
                await host.disconnect(self.relay)
        raise AssertionError("two tries end by returning or raising")
