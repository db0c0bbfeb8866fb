"""The libp2p face of the host: what libp2p's own code (Kademlia, rendezvous, identify) is given.

Owns: libp2p's BasicHost with our dialing, opening and accepting of streams in it, so that nothing goes past admission
and deadlines. Spec: docs/spec/host.md. Never touches: what Covey's own protocols do.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.host.exceptions import StreamFailure
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo

from covey_core.errors import CoveyError


class Reach(Protocol):
    """What the libp2p face needs of `Host`."""

    async def reach(self, peer: ID, found: Sequence[Any]) -> None:
        """Connect to `peer` at these multiaddrs, if it is not connected."""
        ...

    async def open_net_stream(self, peer: ID, protocols: Sequence[str]) -> INetStream:
        """Open a stream that speaks the first of `protocols` that the peer speaks."""
        ...


class LibP2PHost(BasicHost):
    """BasicHost whose streams and connections are Covey's."""

    reach: Reach

    async def new_stream(self, peer_id: ID, protocol_ids: Sequence[TProtocol]) -> INetStream:
        """Open a stream, connecting at the addresses in the peer store first where need be."""
        try:
            if not self.get_network().get_connections(peer_id):
                await self.reach.reach(peer_id, self._known(peer_id))
            return await self.reach.open_net_stream(peer_id, [str(one) for one in protocol_ids])
        except CoveyError as exc:
            raise StreamFailure(str(exc)) from exc

    async def connect(self, peer_info: PeerInfo) -> None:
        """Connect to a peer; returns after admission."""
        self.peerstore.add_addrs(peer_info.peer_id, peer_info.addrs, 120)
        try:
            await self.reach.reach(peer_info.peer_id, self._known(peer_info.peer_id))
        except CoveyError as exc:
            raise StreamFailure(str(exc)) from exc

    def _schedule_identify(self, peer_id: ID, *, reason: str) -> None:
        """Nothing: every connection is identified when it has been admitted (identify.py)."""

    def _known(self, peer_id: ID) -> list[Any]:
        if not self.peerstore.has_peer(peer_id):
            return []
        return list(self.peerstore.addrs(peer_id))
