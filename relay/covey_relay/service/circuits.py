"""The circuit relay service on any host: a relay's, or a publicly reachable node's.

Owns: the service's life, from its first slot to its last circuit. Spec: docs/spec/circuit.md.
Never touches: settings, files, the operations port (__main__ does), libp2p.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import trio
from prometheus_client import CollectorRegistry

from covey_core.host import Host
from covey_core.identity import Identity
from covey_core.peers import PeerId
from covey_core.wire.circuit import HOP_PROTOCOL
from covey_relay.limits import RelayLimits
from covey_relay.metrics import RelayMetrics
from covey_relay.net.hop import Hop


class RelayService:
    """A running service: how much of it is in use."""

    def __init__(self, hop: Hop) -> None:
        self._hop = hop

    @property
    def reservations(self) -> int:
        """How many peers hold a slot."""
        return len(self._hop.reservations)

    @property
    def circuits(self) -> int:
        """How many circuits stand or are being opened."""
        return len(self._hop.circuits)

    def holds(self, peer: PeerId) -> bool:
        """Whether a peer holds a slot now."""
        return self._hop.reservations.holds(peer, now=trio.current_time())

    async def drain(self) -> None:
        """Refuse new slots and circuits from now on and reset the circuits that stand; takes 3 s at most."""
        await self._hop.close()


@asynccontextmanager
async def open_relay_service(
    host: Host,
    *,
    identity: Identity,
    limits: RelayLimits | None = None,
    metrics: RelayMetrics | None = None,
    addrs: Callable[[], Iterable[str]] | None = None,
) -> AsyncIterator[RelayService]:
    """Serve /libp2p/circuit/relay/0.2.0/hop on `host` for the length of the block.

    `identity` must be the host's own: it signs the vouchers. `limits` are the defaults of limits.py when not given;
    without `metrics` nothing is measured; `addrs` are named in reservations, the host's own when not given. When the
    block ends, circuits are reset and slots forgotten.
    """
    hop = Hop(
        host,
        identity=identity,
        limits=limits or RelayLimits(),
        metrics=metrics or RelayMetrics(CollectorRegistry()),
        addrs=addrs,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(hop.watch)
        host.handle(HOP_PROTOCOL, hop.serve)
        try:
            yield RelayService(hop)
        finally:
            host.unhandle(HOP_PROTOCOL)
            await hop.close()
            nursery.cancel_scope.cancel()
