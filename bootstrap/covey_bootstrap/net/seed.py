"""A seed: a host that serves the DHT and a rendezvous point.

Owns: putting the two on one host, and whom the seed knows. Spec: docs/spec/dht.md, docs/spec/rendezvous.md.
Never touches: files, settings, the operations port.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import CollectorRegistry

from covey_core.host import Host, HostConfig, open_host
from covey_core.host.dht import Dht, open_dht
from covey_core.host.dht_metrics import DhtMetrics
from covey_core.host.kad_wire import KadPeer
from covey_core.host.rendezvous import relay_namespace, serve_rendezvous
from covey_core.host.rendezvous_table import Registrations
from covey_core.metrics import CoreMetrics
from covey_core.records import NAMESPACE, ContactRecordValidator


class Seed:
    """A running seed. Made by `open_seed`."""

    def __init__(self, host: Host, dht: Dht, registrations: Registrations) -> None:
        self.host: Final = host
        self.dht: Final = dht
        self._registrations = registrations

    async def join(self, addrs: Iterable[str]) -> int:
        """Dial the servers at `addrs` (ending in /p2p/<PeerId>); returns how many servers we know then."""
        return await self.dht.bootstrap(addrs)

    def servers(self) -> tuple[KadPeer, ...]:
        """Return the servers that answered last time: those of the DHT, and the relays registered here."""
        found = {entry.peer: entry for entry in self._registrations.peers(self.host.network.scope)}
        found |= {entry.peer: entry for entry in self.dht.servers()}
        return tuple(found.values())


@asynccontextmanager
async def open_seed(config: HostConfig, *, registry: CollectorRegistry, metrics: CoreMetrics) -> AsyncIterator[Seed]:
    """Run a seed until the block ends. Raises `SettingsInvalid` for addresses that cannot be listened on."""
    validators = {NAMESPACE: ContactRecordValidator()}
    async with (
        open_host(config, metrics=metrics) as host,
        open_dht(host, server=True, validators=validators, metrics=DhtMetrics(registry)) as dht,
    ):
        yield Seed(host, dht, serve_rendezvous(host, namespace=relay_namespace(host.network)))
