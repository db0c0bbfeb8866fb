"""How a relay stays known to its network: a server of the DHT, registered at the seeds' rendezvous points.

Owns: joining the DHT and the registrations. Spec: docs/spec/dht.md, docs/spec/rendezvous.md. Never touches: the circuit
service, files.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import structlog
import trio

from covey_core.errors import CoveyError
from covey_core.host import Host
from covey_core.host.dht import Dht
from covey_core.host.rendezvous import register, relay_namespace
from covey_core.identity import Identity
from covey_core.network import Network, peer_in
from covey_core.peers import PeerId, short
from covey_relay import limits

_log: Final = structlog.get_logger("covey.relay")


async def stay_known(host: Host, dht: Dht, identity: Identity, network: Network) -> None:
    """Join the DHT at the network's seeds and relays and stay registered at every seed; runs until cancelled.

    The hop protocol must be served before: seeds register nobody who does not offer it.
    """
    relays = [addr for relay in network.relays for addr in relay.addrs]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dht.bootstrap, (*network.bootstraps, *relays))
        for seed, addrs in by_peer(network.bootstraps).items():
            if seed != host.peer_id:
                nursery.start_soon(_stay_registered, host, identity, seed, addrs)


async def _stay_registered(host: Host, identity: Identity, seed: PeerId, addrs: tuple[str, ...]) -> None:
    pause_seconds = limits.REGISTER_RETRY_SECONDS
    while True:
        try:
            await host.connect(seed, addrs)
            holds_seconds = await register(
                host, identity, seed, namespace=relay_namespace(host.network), sequence=int(time.time())
            )
        except CoveyError as exc:
            _log.debug("relay.registration.failed", seed=short(seed), problem=str(exc))
            await trio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, limits.REGISTER_RETRY_MAX_SECONDS)
        else:
            _log.info("relay.registration.made", seconds=holds_seconds)
            pause_seconds = limits.REGISTER_RETRY_SECONDS
            await trio.sleep(min(holds_seconds / 2, limits.REGISTER_AGAIN_SECONDS))


def by_peer(addrs: Iterable[str]) -> dict[PeerId, tuple[str, ...]]:
    """Return addresses that end in /p2p/<PeerId>, by that peer."""
    found: dict[PeerId, tuple[str, ...]] = defaultdict(tuple)
    for addr in addrs:
        found[peer_in(addr)] += (addr,)
    return dict(found)
