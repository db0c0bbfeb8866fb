"""Connections that come in: whether there is room for one, which side of the handshake it is, its life to the end.

Owns: how many handshakes are under way, and how many connections each IP has. Spec: docs/spec/host.md.
Never touches: dials, the table of connections and how one is made of bytes (swarm.py), protocols, admission.
"""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, Protocol

import structlog
import trio
from libp2p.io.abc import ReadWriteCloser
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from covey_core.host import addresses, limits, tcp, transports
from covey_core.host.connection import Connection
from covey_core.host.contained import Contained, kind_of, shielded
from covey_core.host.quic_connection import QuicMuxed

if TYPE_CHECKING:
    from covey_core.host.swarm import CoveySwarm

_log: Final = structlog.get_logger("covey.host")


class Window(Protocol):
    """A time in which one peer is dialed from both sides (punch.py)."""

    @property
    def target(self) -> ID:
        """Who is dialed."""
        ...

    @property
    def is_client(self) -> bool:
        """Whether we are the dialer of the handshakes, whoever dialed."""
        ...

    @property
    def ips(self) -> frozenset[str]:
        """Where the peer is dialed."""
        ...

    def tcp_handshake(self) -> AbstractContextManager[None]:
        """Say that a TCP connection stands and is being upgraded, for the length of the block."""
        ...

    def met(self, connection: Connection) -> None:
        """Hear of a new connection, whoever's it is."""
        ...


class Incoming:
    """The way in of one swarm."""

    def __init__(self, swarm: "CoveySwarm", *, max_connections: int, max_per_ip: int) -> None:
        self._swarm = swarm
        self._max_connections = max_connections
        self._max_per_ip = max_per_ip
        self.upgrading = 0
        """Handshakes under way."""
        self.per_ip: Counter[str] = Counter()
        """Connections by the group of their IP, those in their handshake among them."""

    async def serve(self, closer: ReadWriteCloser, listener: Multiaddr) -> None:
        """Serve one accepted byte stream, from its handshake on, and return when it has ended."""
        remote = transports.remote_address(closer, listener)
        if not await self._live_counted(remote, lambda: self._live(closer, listener, remote)):
            with shielded(limits.CLOSE_SECONDS), Contained():
                await closer.close()

    async def serve_quic(self, muxed: QuicMuxed) -> None:
        """Serve one accepted QUIC connection, from its handshake on, and return when it has ended."""
        await self._live_counted(muxed.remote, lambda: self._live_quic(muxed))

    def may_accept(self, ip: str) -> bool:
        """Whether one more connection from this IP may come in now; one that may not is counted."""
        if self._is_full(addresses.ip_group(ip)):
            self._swarm.counts.refused(inbound=True)
            return False
        return True

    async def _live_counted(self, remote: Multiaddr, live: Callable[[], Awaitable[None]]) -> bool:
        """Run an accepted connection if there is room for it; False when there is none."""
        ip = addresses.ip_of(remote)
        group = addresses.ip_group(ip) if ip else "unknown"
        if self._is_full(group):
            self._swarm.counts.refused(inbound=True)
            return False
        self.per_ip[group] += 1
        try:
            with Contained() as outcome:
                await live()
            if outcome.error is not None:
                _log.debug("host.upgrade.failed", error=kind_of(outcome.error))
        finally:
            self.per_ip[group] -= 1
            if not self.per_ip[group]:
                del self.per_ip[group]
        return True

    def _is_full(self, group: str) -> bool:
        return (
            self.upgrading >= limits.MAX_UPGRADES
            or self.per_ip[group] >= self._max_per_ip
            or len(self._swarm.get_connections()) + self.upgrading >= self._max_connections
        )

    async def _live(self, closer: ReadWriteCloser, listener: Multiaddr, remote: Multiaddr) -> None:
        with trio.CancelScope() as scope, ExitStack() as handshake:
            scope.deadline = trio.current_time() + limits.UPGRADE_SECONDS
            handshake.enter_context(self._counted_upgrade())
            async with transports.carried(closer, listener) as stream:
                connection = await self._accept(stream, remote)
                scope.deadline = math.inf
                handshake.close()
                await connection.event_closed.wait()

    async def _accept(self, stream: ReadWriteCloser, remote: Multiaddr) -> Connection:
        """Upgrade an accepted connection, as its listener; but as its dialer where a peer punches and waits for us.

        The SYN of the side that is not the client came before ours left, so that it met our listener, not our dial.
        """
        swarm, ip = self._swarm, addresses.ip_of(remote)
        punch = next((one for one in swarm.punches if one.is_client and ip in one.ips), None)
        if punch is None or not isinstance(stream, tcp.TcpBytes):
            raw = RawConnection(stream, initiator=False, addresses=[remote])
            return await swarm.upgrade(raw, None, from_listen_port=True)
        with punch.tcp_handshake():
            is_dialer = not await stream.speaks_first(limits.SILENCE_SECONDS)
            if is_dialer and punch not in swarm.punches:
                raise SwarmException("another dial of that punch was quicker")
            raw = RawConnection(stream, initiator=is_dialer, addresses=[remote])
            return await swarm.upgrade(raw, punch.target if is_dialer else None, punched=is_dialer)

    async def _live_quic(self, muxed: QuicMuxed) -> None:
        with self._counted_upgrade(), trio.fail_after(limits.UPGRADE_SECONDS):
            if await muxed.proven() == self._swarm.self_id:
                raise SwarmException("this host itself dialed")
            connection = await self._swarm.add_conn(muxed, "inbound", from_listen_port=True)
        await connection.event_closed.wait()

    @contextmanager
    def _counted_upgrade(self) -> Iterator[None]:
        self.upgrading += 1
        try:
            yield
        finally:
            self.upgrading -= 1
