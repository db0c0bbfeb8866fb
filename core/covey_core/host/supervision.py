"""What happens to each connection between its handshake and its end: admission, duplicates, events.

Owns: one task a connection. Spec: docs/spec/host.md, docs/spec/admission.md.
Never touches: dialing, streams of protocols.
"""

from collections.abc import Awaitable, Callable
from functools import partial

import trio
from libp2p.abc import INetConn, INetStream, INetwork, INotifee
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from covey_core.host import limits
from covey_core.host.connection import Connection, first_of
from covey_core.host.contained import Contained
from covey_core.host.events import Connected, Disconnected, Events
from covey_core.host.swarm import CoveySwarm

Ask = Callable[[Connection], Awaitable[None]]


class Supervision(INotifee):
    """Starts one task for each connection that libp2p reports."""

    def __init__(self, *, swarm: CoveySwarm, events: Events, prove: Ask, greet: Ask, ping: Ask) -> None:
        self._swarm = swarm
        self._events = events
        self._prove = prove
        self._greet = greet
        self._ping = ping

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        """Start to look after a new connection."""
        del network
        if isinstance(conn, Connection):
            self._swarm.run_on(partial(self._live, conn))

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
        self._retire_surplus(connection.muxed_conn.peer_id)
        with Contained():
            await self._greet(connection)
        await connection.event_closed.wait()
        left = sum(1 for one in self._swarm.best(connection.muxed_conn.peer_id) if one.admitted.is_set())
        self._events.publish(Disconnected(connection.info(), left))

    def _retire_surplus(self, target: ID) -> None:
        """Start to close the connections that are too many, on one side only: the smaller PeerId's."""
        for surplus in self._swarm.surplus(target):
            if not surplus.retired:
                surplus.retired = True
                self._swarm.run_on(partial(self._retire, surplus, target))

    async def _retire(self, connection: Connection, target: ID) -> None:
        """Close a connection after 3 s for the streams on it, if the better ones live: they may have died unnoticed."""
        with trio.move_on_after(limits.RETIRE_SECONDS):
            await connection.event_closed.wait()
        while not connection.is_closed and connection in (surplus := self._swarm.surplus(target)):
            kept = [one for one in self._swarm.best(target) if one.relayed == connection.relayed and one not in surplus]
            with Contained() as outcome:
                await self._ping(kept[0])
            if outcome.error is None:
                await connection.close()
            else:
                kept[0].doubt()
                with trio.move_on_after(limits.LIVENESS_TIMEOUT_SECONDS):
                    await first_of(kept[0].event_closed.wait, connection.event_closed.wait)
        connection.retired = False
        self._retire_surplus(target)
