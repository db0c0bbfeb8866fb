"""What happens to each connection between its handshake and its end: admission, duplicates, events.

Owns: one task a connection. Spec: docs/spec/host.md, docs/spec/admission.md.
Never touches: dialing, streams of protocols.
"""

from collections.abc import Awaitable, Callable

import trio
from libp2p.abc import INetConn, INetStream, INetwork, INotifee
from multiaddr import Multiaddr

from covey_core.host import limits
from covey_core.host.connection import Connection
from covey_core.host.contained import Contained
from covey_core.host.events import Connected, Disconnected, Events
from covey_core.host.swarm import CoveySwarm

Prove = Callable[[Connection], Awaitable[None]]


class Supervision(INotifee):
    """Starts one task for each connection that libp2p reports."""

    def __init__(
        self, *, swarm: CoveySwarm, events: Events, tasks: trio.Nursery, own_peer: str, prove: Prove, greet: Prove
    ) -> None:
        self._swarm = swarm
        self._events = events
        self._tasks = tasks
        self._own_peer = own_peer
        self._prove = prove
        self._greet = greet

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        """Start to look after a new connection."""
        del network
        if isinstance(conn, Connection):
            self._tasks.start_soon(self._live, conn)

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        """Nothing: each connection's own task notices."""

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None:
        """Nothing."""

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None:
        """Nothing."""

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Nothing."""

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Nothing."""

    async def _live(self, connection: Connection) -> None:
        with Contained() as outcome:
            await self._prove(connection)
        if outcome.error is not None or not connection.admitted.is_set():
            self._swarm.counts.not_admitted(connection)
            await connection.close()
            return
        self._events.publish(Connected(connection.info()))
        self._retire_surplus(connection)
        with Contained():
            await self._greet(connection)
        await connection.event_closed.wait()
        left = sum(1 for one in self._swarm.best(connection.muxed_conn.peer_id) if one.admitted.is_set())
        self._events.publish(Disconnected(connection.info(), left))

    def _retire_surplus(self, connection: Connection) -> None:
        """Close connections of which there are too many of one kind, on one side only: the smaller PeerId's.

        Both sides see two simultaneous dials in different orders: were both to choose, both connections could go.
        """
        if self._own_peer > connection.peer:
            return
        kept = limits.KEPT_RELAYED if connection.relayed else limits.KEPT_DIRECT
        found = self._swarm.best(connection.muxed_conn.peer_id)
        same = [one for one in found if one.relayed == connection.relayed and one.admitted.is_set()]
        for surplus in same[kept:]:
            if not surplus.retired:
                self._tasks.start_soon(surplus.retire)
