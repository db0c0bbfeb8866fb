"""The table of connections: who may come in, how dials are made, how every connection ends.

Owns: libp2p's Swarm with our own rules in place of its resource manager, pruner, auto-connector, retries, negative
cache and health monitor (docs/adr/0001 and 0004 say what each did when measured). Spec: docs/spec/host.md.
Never touches: protocols, admission.
"""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final, Protocol

import structlog
import trio
from libp2p.abc import IMuxedConn, INetConn, INetStream, IPeerStore, IRawConnection, ITransport
from libp2p.io.abc import ReadWriteCloser
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from covey_core.host import addresses, duplicates, limits, outgoing, tcp, transports
from covey_core.host.connection import Connection
from covey_core.host.contained import Contained, kind_of, note_unforeseen, place_of, shielded
from covey_core.host.counts import Counts
from covey_core.host.names import Names
from covey_core.host.quic import Quic
from covey_core.host.quic_connection import QuicMuxed
from covey_core.host.upgrader import NoiseYamuxUpgrader
from covey_core.metrics import Unforeseen

_log: Final = structlog.get_logger("covey.host")


class WrongPeer(SwarmException):
    """A handshake succeeded, with another peer than the expected one."""


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


class CoveySwarm(Swarm):
    """libp2p's swarm. Every connection's tasks run in `tasks`, a nursery of `open_host`."""

    def __init__(
        self,
        *,
        peer_id: ID,
        peerstore: IPeerStore,
        upgrader: NoiseYamuxUpgrader,
        carriers: Sequence[ITransport],
        tasks: trio.Nursery,
        counts: Counts,
        max_connections: int,
        max_connections_per_ip: int,
        names: Names,
        keeps_both: bool = False,
    ) -> None:
        super().__init__(
            peer_id,
            peerstore,
            upgrader,
            transports=list(carriers),
            retry_config=RetryConfig(max_retries=0),
            connection_config=ConnectionConfig(
                max_connections=max_connections,
                min_connections=0,
                low_watermark=0,
                high_watermark=max_connections,
                max_connections_per_peer=limits.MAX_CONNECTIONS_PER_PEER,
                dial_timeout=limits.DIAL_SECONDS,
                inbound_upgrade_timeout=limits.UPGRADE_SECONDS,
                outbound_upgrade_timeout=limits.UPGRADE_SECONDS,
                outbound_stream_protocol_negotiation_timeout=limits.NEGOTIATE_SECONDS,
                inbound_stream_protocol_negotiation_timeout=limits.NEGOTIATE_SECONDS,
            ),
        )
        self.notifees.clear()  # the tag store's: it remembers every peer for ever
        self._tasks = tasks
        self._max_connections = max_connections
        self._names = names
        self._max_per_ip = max_connections_per_ip
        self._per_ip: Counter[str] = Counter()
        self._upgrading = 0
        self._dials = trio.CapacityLimiter(limits.MAX_DIALS)
        self.counts: Final = counts
        self.quic: Quic | None = None
        self.keeps_both: Final = keeps_both
        self.keeps_both_to: Final[set[ID]] = set()
        self.punches: Final[set[Window]] = set()

    async def run(self) -> None:
        """Live until stopped. Upstream also starts its pruner and a task that dials peers by itself."""
        async with trio.open_nursery() as nursery:
            self.background_nursery = nursery
            self.transport_manager.set_background_nursery(nursery)
            self.transport_manager.set_swarm(self)
            self.event_background_nursery_created.set()
            try:
                await self.manager.wait_finished()
            finally:
                nursery.cancel_scope.cancel()
                self.background_nursery = None

    def report(self, error: BaseException) -> None:
        """Log and count an error that was contained, by its class and place only."""
        note_unforeseen(Unforeseen.TASK)
        _log.error("host.task.failed", error=kind_of(error), place=place_of(error))

    # --- coming in ------------------------------------------------------------------------------------------------

    async def _handle_inbound_connection(self, read_write_closer: ReadWriteCloser, maddr: Multiaddr) -> None:
        """Serve one accepted connection and return when it has ended.

        Upstream's handler returned only at shutdown: after 250 connections in its life a default host took no more.
        """
        remote = transports.remote_address(read_write_closer, maddr)
        if not await self._live_counted(remote, lambda: self._live(read_write_closer, maddr, remote)):
            with shielded(limits.CLOSE_SECONDS), Contained():
                await read_write_closer.close()

    async def serve_quic(self, muxed: QuicMuxed) -> None:
        """Serve one accepted QUIC connection, from its handshake on, and return when it has ended."""
        await self._live_counted(muxed.remote, lambda: self._live_quic(muxed))

    def may_accept(self, ip: str) -> bool:
        """Whether one more connection from this IP may come in now; one that may not is counted."""
        if self._is_full(addresses.ip_group(ip)):
            self.counts.refused(inbound=True)
            return False
        return True

    async def _live_counted(self, remote: Multiaddr, live: Callable[[], Awaitable[None]]) -> bool:
        """Run an accepted connection if there is room for it; False when there is none."""
        ip = addresses.ip_of(remote)
        group = addresses.ip_group(ip) if ip else "unknown"
        if self._is_full(group):
            self.counts.refused(inbound=True)
            return False
        self._per_ip[group] += 1
        try:
            with Contained() as outcome:
                await live()
            if outcome.error is not None:
                _log.debug("host.upgrade.failed", error=kind_of(outcome.error))
        finally:
            self._per_ip[group] -= 1
            if not self._per_ip[group]:
                del self._per_ip[group]
        return True

    def _is_full(self, group: str) -> bool:
        return (
            self._upgrading >= limits.MAX_UPGRADES
            or self._per_ip[group] >= self._max_per_ip
            or len(self.get_connections()) + self._upgrading >= self._max_connections
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
        ip = addresses.ip_of(remote)
        punch = next((one for one in self.punches if one.is_client and ip in one.ips), None)
        if punch is None or not isinstance(stream, tcp.TcpBytes):
            raw = RawConnection(stream, initiator=False, addresses=[remote])
            return await self._upgrade(raw, None, from_listen_port=True)
        with punch.tcp_handshake():
            is_dialer = not await stream.speaks_first(limits.SILENCE_SECONDS)
            if is_dialer and punch not in self.punches:
                raise SwarmException("another dial of that punch was quicker")
            raw = RawConnection(stream, initiator=is_dialer, addresses=[remote])
            return await self._upgrade(raw, punch.target if is_dialer else None, punched=is_dialer)

    async def _live_quic(self, muxed: QuicMuxed) -> None:
        with self._counted_upgrade(), trio.fail_after(limits.UPGRADE_SECONDS):
            if await muxed.proven() == self.self_id:
                raise SwarmException("this host itself dialed")
            connection = await self.add_conn(muxed, "inbound", from_listen_port=True)
        await connection.event_closed.wait()

    @contextmanager
    def _counted_upgrade(self) -> Iterator[None]:
        self._upgrading += 1
        try:
            yield
        finally:
            self._upgrading -= 1

    # --- going out ------------------------------------------------------------------------------------------------

    async def dial(self, address: Multiaddr, peer_id: ID) -> Connection:
        """Return a new connection to `peer_id` at one direct address, not yet admitted; `SwarmException` otherwise.

        No retries, no negative cache (upstream's blocks a peer for 60 s), no 250 ms per address.
        """
        if len(self.get_connections()) >= self._max_connections:
            raise SwarmException(f"all {self._max_connections} connections are in use")
        async with self._dials:
            with Contained() as outcome, trio.fail_after(limits.DIAL_SECONDS):
                return await outgoing.dial(self, address, peer_id, names=self._names)
        self.counts.dial_failed(address, outcome.error)
        raise SwarmException(outgoing.problem(outcome.error)) from outcome.error

    def tcp_places(self) -> tuple[tcp.Place, ...]:
        """Return the IPs and ports on which we accept TCP, and from which we dial it."""
        found: list[tcp.Place] = []
        for text, listener in self.listeners.items():
            if addresses.transport_label(Multiaddr(text)) == "tcp":
                sockets: Any = listener
                found += [one.socket.getsockname()[:2] for one in sockets.listeners]
        return tuple(found)

    async def dial_addr(self, addr: Multiaddr, peer_id: ID, source: tuple[str, int] | None = None) -> INetConn:
        """Dial one address, as libp2p's own code asks for it."""
        del source  # every dial leaves from the listening port anyway
        return await self.dial(addr, peer_id)

    async def _dial_with_retry(self, addr: Multiaddr, peer_id: ID, source: tuple[str, int] | None = None) -> INetConn:
        del source
        return await self.dial(addr, peer_id)

    # --- both -----------------------------------------------------------------------------------------------------

    async def upgrade_outbound_raw_conn(
        self, raw_conn: IRawConnection, peer_id: ID, pre_scope: Any = None
    ) -> Connection:
        """Make a connection of a byte stream, as its dialer."""
        del pre_scope
        return await self._upgrade(raw_conn, peer_id)

    async def upgrade_inbound_raw_conn(self, raw_conn: IRawConnection, maddr: Multiaddr) -> IMuxedConn:
        """Make a connection of a byte stream, as its listener."""
        del maddr
        return (await self._upgrade(raw_conn, None)).muxed_conn

    async def upgrade(
        self, raw: IRawConnection, peer_id: ID | None, *, expected: ID | None = None, punched: bool = False
    ) -> Connection:
        """Make a connection of a byte stream: as dialer of `peer_id`, or without it as listener of `expected`."""
        return await self._upgrade(raw, peer_id, expected=expected, punched=punched)

    async def _upgrade(
        self,
        raw: IRawConnection,
        peer_id: ID | None,
        *,
        from_listen_port: bool = False,
        expected: ID | None = None,
        punched: bool = False,
    ) -> Connection:
        done = False
        from_listen_port = from_listen_port or tcp.from_listen_port(raw)
        try:
            with trio.fail_after(limits.UPGRADE_SECONDS):
                secured = await self.upgrader.upgrade_security(raw, peer_id is not None, peer_id)
                remote = secured.get_remote_peer()
                if remote == self.self_id:
                    raise SwarmException("this host itself answered")
                if expected not in {None, remote}:
                    raise WrongPeer("another peer than expected answered")
                muxed = await self.upgrader.upgrade_connection(secured, remote)
                direction = "inbound" if peer_id is None else "outbound"
                connection = await self.add_conn(muxed, direction, from_listen_port=from_listen_port, punched=punched)
            done = True
            return connection
        finally:
            if not done:
                with shielded(limits.CLOSE_SECONDS), Contained():
                    await raw.close()

    async def add_conn(
        self,
        muxed_conn: IMuxedConn,
        direction: str = "unknown",
        *,
        from_listen_port: bool = False,
        punched: bool = False,
    ) -> Connection:
        """Take a multiplexed connection into the table, start its tasks and tell those who listen."""
        connection = Connection(muxed_conn, self, inbound=direction == "inbound", from_listen_port=from_listen_port)
        connection.punched = punched
        if len(self.get_connections()) >= self._max_connections:
            self.counts.refused(inbound=connection.inbound)
            await connection.close()
            raise SwarmException(f"all {self._max_connections} connections are in use")
        done = False
        try:
            self._tasks.start_soon(self._run_contained, muxed_conn.start)
            await muxed_conn.event_started.wait()
            self._tasks.start_soon(self._run_contained, connection.start)
            await connection.event_started.wait()
            if connection.is_closed or muxed_conn.is_closed:
                raise SwarmException("the connection closed while it started")
            held = self.connections.setdefault(muxed_conn.peer_id, [])
            held.append(connection)
            self.counts.opened(connection)
            for punch in self.punches:
                punch.met(connection)
            for surplus in held[: -limits.MAX_CONNECTIONS_PER_PEER]:
                self._tasks.start_soon(surplus.close)
            await self.notify_connected(connection)
            done = True
            return connection
        finally:
            if not done:
                await connection.close()

    def run_on(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run something that must go on whatever becomes of the caller, for the host's life at most."""
        self._tasks.start_soon(self._run_contained, run)

    async def _run_contained(self, run: Any) -> None:
        with Contained() as outcome:
            await run()
        if outcome.error is not None:
            self.report(outcome.error)

    async def notify_disconnected(self, conn: INetConn) -> None:
        """Tell those who listen. Upstream also starts its own redials from here."""
        await self._notify("disconnected", conn)

    async def notify_opened_stream(self, stream: INetStream) -> None:
        """Nothing: nobody listens, and upstream starts a task for everybody who might."""

    async def notify_closed_stream(self, stream: INetStream) -> None:
        """Nothing, as above."""

    async def new_stream(self, peer_id: ID) -> INetStream:
        """Open a stream on the best connection there is; upstream would dial, and wait without a deadline."""
        best = self.best(peer_id)
        if not best:
            raise SwarmException("not connected")
        return await best[0].open()

    def best(self, peer_id: ID) -> list[Connection]:
        """Return a peer's open connections, the one to use first; see `duplicates.to_use`."""
        return duplicates.to_use(self._open(peer_id), ours_is_smaller=self._is_smaller(peer_id))

    def surplus(self, peer_id: ID) -> list[Connection]:
        """Return a peer's connections that are too many, for this side to close; none where that is the peer's duty.

        It is the smaller PeerId's: were both to choose, both of two connections could go.
        """
        if not self._is_smaller(peer_id):
            return []
        keeps_both = self.keeps_both or peer_id in self.keeps_both_to
        return duplicates.surplus(self._open(peer_id), ours_is_smaller=True, keeps_both=keeps_both)

    def _open(self, peer_id: ID) -> list[Connection]:
        return [one for one in self.connections.get(peer_id, []) if isinstance(one, Connection) and not one.is_closed]

    def _is_smaller(self, peer_id: ID) -> bool:
        return self.self_id.to_base58() < peer_id.to_base58()

    def all_connections(self) -> list[Connection]:
        """Return every connection in the table."""
        return [one for held in self.connections.values() for one in held if isinstance(one, Connection)]

    async def close_connections(self) -> None:
        """Close every connection, at once rather than one after the other (upstream: 0.2 s each)."""
        async with trio.open_nursery() as nursery:
            for connection in self.all_connections():
                nursery.start_soon(connection.close)
