"""The table of connections: who may come in, how dials are made, how every connection ends.

Owns: libp2p's Swarm with our own rules in place of its resource manager, pruner, auto-connector, retries, negative
cache and health monitor (docs/adr/0001 and 0004 say what each did when measured). Spec: docs/spec/host.md.
Never touches: protocols, admission.
"""

import functools
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

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

from covey_core.host import addresses, limits, transports
from covey_core.host.connection import Connection
from covey_core.host.contained import Contained, kind_of, place_of, shielded, system_error_in
from covey_core.host.counts import Counts
from covey_core.host.names import Names
from covey_core.host.upgrader import NoiseYamuxUpgrader

_log: Final = structlog.get_logger("covey.host")


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
        self.keeps_both_to: Final[set[ID]] = set()

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
        """Log an error that was contained, by its class and place only."""
        _log.error("host.task.failed", error=kind_of(error), place=place_of(error))

    # --- coming in ------------------------------------------------------------------------------------------------

    async def _handle_inbound_connection(self, read_write_closer: ReadWriteCloser, maddr: Multiaddr) -> None:
        """Serve one accepted connection and return when it has ended.

        Upstream's handler returned only at shutdown: after 250 connections in its life a default host took no more.
        """
        remote = transports.remote_address(read_write_closer, maddr)
        ip = addresses.ip_of(remote)
        group = addresses.ip_group(ip) if ip else "unknown"
        if self._is_full(group):
            self.counts.refused(inbound=True)
            with shielded(limits.CLOSE_SECONDS), Contained():
                await read_write_closer.close()
            return
        self._per_ip[group] += 1
        try:
            with Contained() as outcome:
                await self._live(read_write_closer, maddr, remote)
            if outcome.error is not None:
                _log.debug("host.upgrade.failed", error=kind_of(outcome.error))
        finally:
            self._per_ip[group] -= 1
            if not self._per_ip[group]:
                del self._per_ip[group]

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
                connection = await self._upgrade(RawConnection(stream, initiator=False, addresses=[remote]), None)
                scope.deadline = math.inf
                handshake.close()
                await connection.event_closed.wait()

    @contextmanager
    def _counted_upgrade(self) -> Iterator[None]:
        self._upgrading += 1
        try:
            yield
        finally:
            self._upgrading -= 1

    # --- going out ------------------------------------------------------------------------------------------------

    async def dial(self, address: Multiaddr, peer_id: ID, source: tuple[str, int] | None = None) -> Connection:
        """Return a new connection to `peer_id` at one direct address, not yet admitted; `SwarmException` otherwise.

        No retries, no negative cache (upstream's blocks a peer for 60 s), no 250 ms per address.
        """
        if len(self.get_connections()) >= self._max_connections:
            raise SwarmException(f"all {self._max_connections} connections are in use")
        async with self._dials:
            with Contained() as outcome, trio.fail_after(limits.DIAL_SECONDS):
                raw = await transports.dial(self.transport_manager, address, peer_id, source, names=self._names)
                return await self._upgrade(raw, peer_id)
        self.counts.dial_failed(address, outcome.error)
        raise SwarmException(_dial_error(outcome.error)) from outcome.error

    async def dial_addr(self, addr: Multiaddr, peer_id: ID, source: tuple[str, int] | None = None) -> INetConn:
        """Dial one address, as libp2p's own code asks for it."""
        return await self.dial(addr, peer_id, source)

    async def _dial_with_retry(self, addr: Multiaddr, peer_id: ID, source: tuple[str, int] | None = None) -> INetConn:
        return await self.dial(addr, peer_id, source)

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

    async def upgrade(self, raw: IRawConnection, peer_id: ID | None) -> Connection:
        """Make a connection of a byte stream: as dialer of `peer_id`, or as listener when that is None."""
        return await self._upgrade(raw, peer_id)

    async def _upgrade(self, raw: IRawConnection, peer_id: ID | None) -> Connection:
        done = False
        try:
            with trio.fail_after(limits.UPGRADE_SECONDS):
                secured = await self.upgrader.upgrade_security(raw, peer_id is not None, peer_id)
                remote = secured.get_remote_peer()
                if remote == self.self_id:
                    raise SwarmException("this host itself answered")
                muxed = await self.upgrader.upgrade_connection(secured, remote)
                connection = await self.add_conn(muxed, "inbound" if peer_id is None else "outbound")
            done = True
            return connection
        finally:
            if not done:
                with shielded(limits.CLOSE_SECONDS), Contained():
                    await raw.close()

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> Connection:
        """Take a multiplexed connection into the table, start its tasks and tell those who listen."""
        connection = Connection(muxed_conn, self, inbound=direction == "inbound")
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
            for surplus in held[: -limits.MAX_CONNECTIONS_PER_PEER]:
                self._tasks.start_soon(surplus.close)
            await self.notify_connected(connection)
            done = True
            return connection
        finally:
            if not done:
                await connection.close()

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
        """Return a peer's open connections, the one to use first; see `preference`."""
        held = [one for one in self.connections.get(peer_id, []) if isinstance(one, Connection) and not one.is_closed]
        return sorted(held, key=functools.cmp_to_key(self.preference))

    def preference(self, one: Connection, other: Connection) -> int:
        """Return < 0 if `one` is to be used before `other`: the same answer on both sides, wherever it can be.

        Admitted before not, direct before relayed, then the newest, since who dials anew had no use for the older one.
        Two dials that crossed each other come in another order on each side: there the smaller PeerId's goes first.
        """
        ours, theirs = (_rough_order(each) for each in (one, other))
        if ours != theirs:
            return -1 if ours < theirs else 1
        crossed = one.inbound != other.inbound and abs(one.opened_at - other.opened_at) < limits.SIMULTANEOUS_SECONDS
        if crossed:
            dialed_by_us = not one.inbound
            return -1 if dialed_by_us == (self.self_id.to_base58() < one.peer) else 1
        return other.number - one.number

    def all_connections(self) -> list[Connection]:
        """Return every connection in the table."""
        return [one for held in self.connections.values() for one in held if isinstance(one, Connection)]

    async def close_connections(self) -> None:
        """Close every connection, at once rather than one after the other (upstream: 0.2 s each)."""
        async with trio.open_nursery() as nursery:
            for connection in self.all_connections():
                nursery.start_soon(connection.close)


def _rough_order(connection: Connection) -> tuple[bool, bool, bool]:
    return (not connection.admitted.is_set(), connection.relayed, connection.retired)


def _dial_error(error: BaseException | None) -> str:
    if isinstance(error, trio.TooSlowError):
        return f"no answer within {limits.DIAL_SECONDS:g} s"
    system = system_error_in(error)
    if system is not None and system.errno:
        return os.strerror(system.errno).lower()  # trio's own text repeats the address
    return str(error) if error is not None and str(error) else "failed"
