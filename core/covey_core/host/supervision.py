"""What happens to each connection between its handshake and its end: admission, duplicates, events.

Owns: one task a connection. Spec: docs/spec/host.md, docs/spec/admission.md.
Never touches: dialing, streams of protocols.
"""

from collections.abc import Awaitable, Callable
from typing import Any

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

    def __init__(self, *, swarm: CoveySwarm, events: Events, tasks: trio.Nursery, own_peer: str, prove: Prove) -> None:
        self._swarm = swarm
        self._events = events
        self._tasks = tasks
        self._own_peer = own_peer
        self._prove = prove

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
        self._replace_older(connection)
        await connection.event_closed.wait()
        left = sum(1 for one in self._others(connection) if one.admitted.is_set())
        self._events.publish(Disconnected(connection.info(), left))

    def _replace_older(self, connection: Connection) -> None:
        """Close older connections of the same kind, on one side only: the smaller PeerId's.

        Both sides see two simultaneous dials in different orders: were both to choose, both connections could go.
        """
        if self._own_peer > connection.peer:
            return
        kept = limits.KEPT_RELAYED if connection.relayed else limits.KEPT_DIRECT
        same = [one for one in self._others(connection) if one.relayed == connection.relayed and one.admitted.is_set()]
        same.sort(key=_number)
        for older in same[: max(0, len(same) + 1 - kept)]:
            self._tasks.start_soon(older.close)

    def _others(self, connection: Connection) -> list[Connection]:
        found: list[Any] = self._swarm.best(connection.muxed_conn.peer_id)
        return [one for one in found if one is not connection]


def _number(connection: Connection) -> int:
    return connection.number
