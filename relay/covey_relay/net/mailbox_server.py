"""Who may have a mailbox stream, and the end of them all.

Owns: the counts of streams by peer and address, the handler of `/covey/mailbox/1`. Spec: docs/spec/mailbox.md,
"Limits". Never touches: what goes over a stream (mailbox.py).
"""

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import structlog
import trio

from covey_core.host import Host, Stream
from covey_core.peers import PeerId
from covey_core.wire.mailbox import MAILBOX_NAME, Hello
from covey_core.wire.mailbox_bounds import NONCE_BYTES
from covey_relay import limits
from covey_relay.addresses import ip_in, origins_of
from covey_relay.mailbox.case import Asker
from covey_relay.net.mailbox import MailboxStream
from covey_relay.net.mailbox_office import Office

_log: Final = structlog.get_logger("covey.relay")

_Key = TypeVar("_Key", bound=Hashable)


class MailboxServer:
    """The streams of one relay. `hello(nonce)` makes a stream's first words; `is_listed`: is it in the network file."""

    def __init__(self, office: Office, *, hello: Callable[[bytes], Hello], is_listed: Callable[[PeerId], bool]) -> None:
        self._office = office
        self._hello = hello
        self._is_listed = is_listed
        self._scopes: Final[set[trio.CancelScope]] = set()
        self._peers: Final[Counter[PeerId]] = Counter()
        self._groups: Final[Counter[Hashable]] = Counter()
        self._emptied = trio.Event()
        self._closing = False

    async def serve(self, stream: Stream) -> None:
        """Serve one stream, unless its peer, its address or the relay has as many as may be."""
        groups = groups_of(stream)
        if not self._has_room(stream.peer, groups):
            _log.debug("relay.mailbox.full", streams=len(self._scopes))
            await stream.reset()
            return
        nonce = secrets.token_bytes(NONCE_BYTES)
        asker = Asker(stream.peer, groups, nonce, is_listed=self._is_listed(stream.peer))
        with trio.CancelScope() as scope:
            self._enter(scope, stream.peer, groups)
            try:
                await MailboxStream(stream, asker=asker, office=self._office).run(self._hello(nonce))
            finally:
                self._leave(scope, stream.peer, groups)
        if scope.cancelled_caught:
            await stream.reset()

    async def close(self) -> None:
        """End all streams and take no more; what waits in a commit is finished."""
        self._closing = True
        for scope in tuple(self._scopes):
            scope.cancel()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.DRAIN_SECONDS):
            while self._scopes:
                self._emptied = trio.Event()
                await self._emptied.wait()

    def _has_room(self, peer: PeerId, groups: frozenset[Hashable]) -> bool:
        return (
            not self._closing
            and len(self._scopes) < limits.MAILBOX_STREAMS
            and self._peers[peer] < limits.MAILBOX_STREAMS_PER_PEER
            and all(self._groups[group] < limits.MAILBOX_STREAMS_PER_ADDRESS for group in groups)
        )

    def _enter(self, scope: trio.CancelScope, peer: PeerId, groups: frozenset[Hashable]) -> None:
        self._scopes.add(scope)
        self._peers[peer] += 1
        self._groups.update(groups)

    def _leave(self, scope: trio.CancelScope, peer: PeerId, groups: frozenset[Hashable]) -> None:
        self._scopes.discard(scope)
        _take_one(self._peers, peer)
        for group in groups:
            _take_one(self._groups, group)
        self._emptied.set()


def _take_one(counter: Counter[_Key], key: _Key) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def groups_of(stream: Stream) -> frozenset[Hashable]:
    """Return what counts as a stream's address: its IP's groups, or the circuit relay that it came through."""
    if stream.relayed:
        return frozenset({stream.remote_addr.partition("/p2p-circuit")[0]})
    return frozenset(origins_of(ip_in(stream.remote_addr)))


@asynccontextmanager
async def serve_streams(host: Host, server: MailboxServer) -> AsyncIterator[None]:
    """Serve `/covey/mailbox/1` on `host` for the length of the block; then all its streams end."""
    protocol = host.network.protocol(MAILBOX_NAME)
    host.handle(protocol, server.serve)
    try:
        yield
    finally:
        host.unhandle(protocol)
        await server.close()
