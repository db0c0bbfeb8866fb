"""Asking the DHT's servers, so that the routing table learns who answers and no server is asked too much at once.

Owns: how many requests to each server are open. Spec: docs/spec/dht.md. Never touches: whom to ask, and in which order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

import structlog
import trio

from covey_core.errors import CoveyError
from covey_core.host import kad_limits as limits
from covey_core.host.kad_addrs import dialable
from covey_core.host.kad_client import request
from covey_core.host.kad_wire import KadMessage, KadPeer, Kind
from covey_core.peers import PeerId, short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from covey_core.host import Host
    from covey_core.host.kad_table import RoutingTable

_log: Final = structlog.get_logger("covey.dht")


class Asking:
    """The requests of one DHT."""

    def __init__(self, host: Host, protocol: str, table: RoutingTable) -> None:
        self._host = host
        self._protocol = protocol
        self._table = table
        self._places: WeakValueDictionary[PeerId, trio.Semaphore] = WeakValueDictionary()

    async def ask(self, peer: KadPeer, message: KadMessage) -> KadMessage | None:
        """Return the answer, or None when there was none; the table learns of both.

        At most 6 requests to one peer are open at once, so that a server never refuses one of ours for their number.
        """
        places = self._places.get(peer.peer)
        if places is None:
            self._places[peer.peer] = places = trio.Semaphore(limits.CONCURRENT_REQUESTS)
        try:
            async with places:
                answer = await request(self._host, self._protocol, peer, message)
        except CoveyError as exc:
            if message.kind is not Kind.PUT_VALUE:  # a put may be refused for its value
                self._table.failed(peer.peer, now=trio.current_time())
            _log.debug("dht.request.failed", peer=short(peer.peer), problem=str(exc))
            return None
        self._table.answered(peer.peer, peer.addrs, now=trio.current_time())
        return answer

    def worth_asking(self, peers: Sequence[KadPeer]) -> list[KadPeer]:
        """Return the named peers that we could reach and that did not just fail to answer."""
        scope, now = self._host.network.scope, trio.current_time()
        named = (KadPeer(p.peer, dialable(p.addrs, scope)) for p in peers if not self._table.in_pause(p.peer, now=now))
        return [p for p in named if p.addrs or self._host.connections(p.peer)]
