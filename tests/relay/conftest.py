"""A relay on loopback, and hosts that are connected to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from prometheus_client import CollectorRegistry

from covey_core.host import Host, HostConfig, open_host
from covey_core.identity import Identity
from covey_core.lifecycle import TaskStatus
from covey_core.network import Network, new_network
from covey_relay.limits import RelayLimits
from covey_relay.metrics import RelayMetrics
from covey_relay.service import RelayService, open_relay_service

TCP = "/ip4/127.0.0.1/tcp/0"
TCP6 = "/ip6/::1/tcp/0"


@pytest.fixture
def public() -> Network:
    return new_network("public", private=False)


@asynccontextmanager
async def host_on(network: Network, *listen: str, identity: Identity | None = None) -> AsyncIterator[Host]:
    """A host; without addresses to listen on it only dials."""
    config = HostConfig(identity=identity or Identity.generate(), network=network, listen=listen, max_connections=200)
    async with open_host(config) as host:
        yield host


@dataclass
class Relay:
    """A running relay service and everything a test asks of it."""

    host: Host
    service: RelayService
    registry: CollectorRegistry
    clients: trio.Nursery = field(repr=False)

    def sample(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(name, labels)
        assert value is not None, f"no metric {name}{labels}"
        return value

    @property
    def draining(self) -> bool:
        return self.service._hop.circuits.draining

    async def client(self, family: str = "ip4") -> Host:
        """A new host, connected to the relay; it lives as long as the relay."""
        host: Host = await self.clients.start(self._run_client, family)
        return host

    async def _run_client(self, family: str, *, task_status: TaskStatus[Host]) -> None:
        async with host_on(self.host.network) as host:
            addrs = [addr for addr in self.host.addrs if addr.startswith(f"/{family}/")]
            await host.connect(self.host.peer_id, addrs)
            task_status.started(host)
            await trio.sleep_forever()


@asynccontextmanager
async def relay_on(network: Network, *listen: str, **limits: Any) -> AsyncIterator[Relay]:
    """A relay on loopback with these limits instead of the defaults."""
    identity, registry = Identity.generate(), CollectorRegistry()
    async with (
        host_on(network, *listen or (TCP,), identity=identity) as host,
        open_relay_service(
            host, identity=identity, limits=RelayLimits(**limits), metrics=RelayMetrics(registry)
        ) as service,
        trio.open_nursery() as clients,
    ):
        yield Relay(host, service, registry, clients)
        clients.cancel_scope.cancel()
