"""One connection in the swarm: its streams, its proof of admission, its end.

Owns: the tasks of the streams that the peer opens, and their end with the connection. Spec: docs/spec/host.md.
Never touches: the table of connections (swarm.py), what streams speak.
"""

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import trio
from libp2p.abc import IMuxedConn
from libp2p.connection_types import ConnectionType
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.stream.net_stream import NetStream, StreamState
from libp2p.rcmgr import Direction
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable
from multiaddr import Multiaddr

from covey_core.errors import StreamLost
from covey_core.host import addresses, limits
from covey_core.host.contained import Contained
from covey_core.peers import PeerId

_numbers: Final = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a peer said of itself, and of us, on one connection (identify)."""

    agent: str
    protocols: frozenset[str]
    listen_addrs: tuple[str, ...]
    observed: str | None


@dataclass(frozen=True, slots=True)
class Observation:
    """Our address `observed` as one peer sees it on one direct connection from a listening port of ours."""

    peer: PeerId
    remote_addr: str
    observed: str
    transport: str
    inbound: bool


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """What may be known about a connection. `remote_addr` is a multiaddr without the peer's own /p2p."""

    number: int
    peer: PeerId
    remote_addr: str
    inbound: bool
    relayed: bool
    admitted: bool
    transport: str
    relay: PeerId | None = None
    observed: str | None = None
    """Our address as the peer sees it on this very connection; None before identify answered, and on circuits."""
    from_listen_port: bool = False
    """Its bytes leave from one of our listening ports: it was dialed from there, or accepted."""
    punched: bool = False
    """It came of `Host.punch`, on either side."""
    opened_at: float = 0.0
    """When it came to stand, on trio's clock."""


class _NetStream(NetStream):
    """libp2p's stream, which remembers that nobody reads it any more."""

    async def close(self) -> None:
        """End our side; what still comes is dropped, and the stream is reset when the peer does not end its own."""
        muxed: Any = self.muxed_stream
        muxed.abandon()
        await super().close()


class Connection(SwarmConn):
    """libp2p's connection, whose tasks end with it and whose waits are bounded."""

    def __init__(self, muxed_conn: IMuxedConn, swarm: Any, *, inbound: bool, from_listen_port: bool = False) -> None:
        self._owner = swarm
        super().__init__(muxed_conn, swarm, direction=Direction.INBOUND if inbound else Direction.OUTBOUND)
        self.number: Final = next(_numbers)
        self.peer: Final = PeerId(muxed_conn.peer_id.to_base58())
        self.inbound: Final = inbound
        self.admitted: Final = trio.Event()
        self.opened_at: Final = trio.current_time()
        self.retired = False
        """It is being closed in favour of another one."""
        self.punched = False
        self.identity: Identity | None = None
        self._serving = 0
        found = muxed_conn.get_transport_addresses()
        self.remote: Final = found[0] if found else Multiaddr("/ip4/0.0.0.0")
        self.relayed: Final = addresses.is_circuit(self.remote)
        self.from_listen_port: Final = from_listen_port and not self.relayed
        self.is_quic: Final = addresses.transport_label(self.remote) == "quic"
        self.set_transport_info(found, ConnectionType.RELAYED if self.relayed else ConnectionType.DIRECT)

    @property
    def is_admitted(self) -> bool:
        """Whether both sides have proven themselves."""
        return self.admitted.is_set()

    @property
    def suspect(self) -> bool:
        """Whether somebody waited on the peer in vain, and it has not answered the probe since."""
        muxed: Any = self.muxed_conn
        return bool(getattr(muxed, "suspect", False))

    def info(self) -> ConnectionInfo:
        """Return what may be known about this connection now."""
        return ConnectionInfo(
            number=self.number,
            peer=self.peer,
            remote_addr=str(self.remote),
            inbound=self.inbound,
            relayed=self.relayed,
            admitted=self.admitted.is_set(),
            transport=addresses.transport_label(self.remote),
            relay=addresses.relay_of(self.remote) if self.relayed else None,
            observed=self.identity.observed if self.identity is not None else None,
            from_listen_port=self.from_listen_port,
            punched=self.punched,
            opened_at=self.opened_at,
        )

    async def start(self) -> None:
        """Accept streams until the connection ends, and end with it.

        Upstream waits for every stream handler, however long it takes after the connection has gone.
        """
        self.event_started.set()
        async with trio.open_nursery() as handlers:
            with Contained() as outcome:
                while not self.event_closed.is_set():
                    muxed_stream = await self.muxed_conn.accept_stream()
                    handlers.start_soon(self._serve, muxed_stream)
            await self.close()
            handlers.cancel_scope.deadline = trio.current_time() + limits.HANDLER_GRACE_SECONDS
        if outcome.error is not None and not isinstance(outcome.error, MuxedConnUnavailable):
            self._owner.report(outcome.error)

    async def _serve(self, muxed_stream: Any) -> None:
        allowed = (
            limits.INBOUND_STREAMS_PER_CONNECTION if self.admitted.is_set() else limits.UNPROVEN_STREAMS_PER_CONNECTION
        )
        muxed: Any = self.muxed_conn
        if self._serving >= allowed or len(muxed.streams) > limits.STREAMS_PER_CONNECTION:
            self._owner.counts.stream_refused(inbound=True)
            with Contained():
                await muxed_stream.reset()
            return
        self._serving += 1
        try:
            with Contained():
                net = await self._add_stream(muxed_stream)
                try:
                    await self.swarm.common_stream_handler(net)
                finally:
                    self.remove_stream(net)
        finally:
            self._serving -= 1

    async def _add_stream(self, muxed_stream: Any) -> NetStream:
        net = _NetStream(muxed_stream, self, None)
        await net.set_state(StreamState.OPEN)
        self.streams.add(net)
        return net

    def doubt(self) -> None:
        """Probe the peer now: somebody waited for it in vain."""
        muxed: Any = self.muxed_conn
        muxed.doubt()

    async def open(self) -> NetStream:
        """Return a new stream on this connection, no protocol agreed yet; `StreamLost` when it cannot be had."""
        muxed: Any = self.muxed_conn
        if self.is_closed or muxed.event_shutting_down.is_set():
            raise StreamLost("the connection is closed")
        if muxed.stream_backlog_semaphore.value == 0:
            self._owner.counts.stream_refused(inbound=False)
            raise StreamLost(f"{limits.OUTBOUND_STREAMS_PER_CONNECTION} streams are open on that connection already")
        with Contained() as outcome, trio.CancelScope(shield=True):
            return await self.new_stream()
        raise StreamLost("the connection broke while opening a stream") from outcome.error

    async def wait_admitted(self, seconds: float) -> None:
        """Return when both sides have proven themselves; `StreamLost` when the connection ends or `seconds` pass."""
        if not self.admitted.is_set():
            with trio.move_on_after(seconds):
                await first_of(self.admitted.wait, self.event_closed.wait)
        if self.is_closed:
            raise StreamLost("the connection was closed")
        if not self.admitted.is_set():
            raise StreamLost(f"the peer did not prove membership of the network within {seconds:g} s")

    async def close(self) -> None:
        """Close the connection and all its streams. Never raises and takes a second at most; safe to repeat."""
        if self.event_closed.is_set():
            return
        self.event_closed.set()
        with trio.CancelScope(shield=True), Contained():
            await self.muxed_conn.close()
        self.swarm.remove_conn(self)
        self._owner.counts.closed(self)
        self.streams.clear()
        with trio.CancelScope(shield=True):
            await self._notify_disconnected()


async def first_of(*waits: Callable[[], Awaitable[object]]) -> None:
    """Return when the first of the waits returns; the others are cancelled."""

    async def wait(one: Callable[[], Awaitable[object]], scope: trio.CancelScope) -> None:
        await one()
        scope.cancel()

    async with trio.open_nursery() as nursery:
        for each in waits:
            nursery.start_soon(wait, each, nursery.cancel_scope)
