"""The table of connections: how dials are made, how bytes become connections, how every connection ends.

Owns: libp2p's Swarm with our own rules in place of its resource manager, pruner, auto-connector, retries, negative
cache and health monitor (docs/adr/0001 and 0004 say what each did when measured). Spec: docs/spec/host.md.
Never touches: who may come in (incoming.py), protocols, admission.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import structlog
import trio
from libp2p.abc import IMuxedConn, INetConn, INetStream, IPeerStore, IRawConnection, ITransport
from libp2p.io.abc import ReadWriteCloser
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from covey_core.host import addresses, duplicates, limits, outgoing, tcp
from covey_core.host.connection import Connection
from covey_core.host.contained import Contained, kind_of, note_unforeseen, place_of, shielded
from covey_core.host.counts import Counts
from covey_core.host.incoming import Incoming, Window
from covey_core.host.names import Names
from covey_core.host.quic import Quic
from covey_core.host.upgrader import NoiseYamuxUpgrader
from covey_core.metrics import Unforeseen

_log: Final = structlog.get_logger("covey.host")


class WrongPeer(SwarmException):
    """A handshake succeeded, with another peer than the expected one."""


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
        self._dials = trio.CapacityLimiter(limits.MAX_DIALS)
        self.counts: Final = counts
        self.incoming: Final = Incoming(self, max_connections=max_connections, max_per_ip=max_connections_per_ip)
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
        await self.incoming.serve(read_write_closer, maddr)

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
        return await self.upgrade(raw_conn, peer_id)

    async def upgrade_inbound_raw_conn(self, raw_conn: IRawConnection, maddr: Multiaddr) -> IMuxedConn:
        """Make a connection of a byte stream, as its listener."""
        del maddr
        return (await self.upgrade(raw_conn, None)).muxed_conn

    async def upgrade(
        self,
        raw: IRawConnection,
        peer_id: ID | None,
        *,
        from_listen_port: bool = False,
        expected: ID | None = None,
        punched: bool = False,
    ) -> Connection:
        """Make a connection of a byte stream: as dialer of `peer_id`, or without it as listener of `expected`."""
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
