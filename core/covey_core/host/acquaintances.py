"""What peers say of themselves: asked for after admission, heard when they push it, kept with the connection.

Owns: the moments at which identify is asked, answered and heard. Spec: libp2p specs, identify; docs/spec/host.md.
Never touches: the messages (identify.py), what is done with what they say.
"""

from typing import Any, Final

from libp2p.abc import INetStream
from libp2p.peer.id import ID

from covey_core.host import identify
from covey_core.host.connection import Connection, Identity
from covey_core.host.events import Events, Identified
from covey_core.host.node import LibP2PHost
from covey_core.host.opening import libp2p_id, negotiated
from covey_core.host.streams import wrapped
from covey_core.host.swarm import CoveySwarm


class Acquaintances:
    """Who the connected peers say they are."""

    def __init__(self, node: LibP2PHost, swarm: CoveySwarm, events: Events) -> None:
        self._node: Final = node
        self._swarm: Final = swarm
        self._events: Final = events

    def of(self, peer: ID) -> Identity | None:
        """Return what a connected peer said, on the best connection on which it did; None before it answered."""
        said = (connection.identity for connection in self._swarm.best(peer))
        return next((one for one in said if one is not None), None)

    async def greet(self, connection: Connection) -> None:
        """Ask a peer that was just admitted who it is, for libp2p's own protocols; it may as well not answer."""
        net = await negotiated(connection, [identify.IDENTIFY])
        await self._take(connection, net, identify.IDENTIFY)
        connected = frozenset(self._swarm.connections)
        identify.forget_strangers(self._node.get_peerstore(), connected=connected, own=self._node.get_id())

    async def answer(self, net: Any) -> None:
        """Tell a peer that asks who we are."""
        connection: Connection = net.swarm_conn
        await identify.answer(wrapped(net, identify.IDENTIFY), self._node, connection.remote)

    async def hear(self, net: Any) -> None:
        """Hear a peer that says anew who it is."""
        await self._take(net.swarm_conn, net, identify.PUSH)

    async def _take(self, connection: Connection, net: INetStream, protocol: str) -> None:
        peer, store = libp2p_id(connection.peer), self._node.get_peerstore()
        said = await identify.hear(wrapped(net, protocol), peer, store)
        connection.identity = identify.identity(said, connection.remote, connection.identity)
        self._events.publish(Identified(connection.info()))
