"""A mailbox relay on loopback, over the SQLite store, and hosts that only dial."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client import CollectorRegistry

from covey_core.host import Host
from covey_core.identity import Identity
from covey_core.lifecycle import TaskStatus
from covey_core.network import Network, new_network
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox.operations import MailboxStore
from covey_relay.mailbox_metrics import MailboxMetrics
from covey_relay.service.mailboxes import MailboxService, open_mailboxes, sqlite_store
from tests.relay.conftest import TCP, host_on
from tests.support.mailbox_client import MailboxClient
from tests.support.postgres import Server, running


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A PostgreSQL server for all tests of a run."""
    with running() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: Server) -> Server:
    """The server, without any store."""
    postgres_server.forget()
    return postgres_server


class Clock:
    """Unix seconds that a test may turn."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class MailboxRelay:
    """A relay that serves mailboxes."""

    host: Host
    service: MailboxService
    clock: Clock
    registry: CollectorRegistry
    clients: trio.Nursery = field(repr=False)

    def sample(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(name, labels)
        assert value is not None, f"no metric {name}{labels}"
        return value

    async def dialer(self) -> Host:
        """A new host under a PeerId that nobody has seen, connected to the relay."""
        host: Host = await self.clients.start(self._run_client)
        return host

    async def client(self) -> MailboxClient:
        """A stream of a new host."""
        return await self.open(await self.dialer())

    async def open(self, host: Host) -> MailboxClient:
        return await MailboxClient.open(host, self.host.peer_id)

    async def _run_client(self, *, task_status: TaskStatus[Host]) -> None:
        async with host_on(self.host.network) as host:
            await host.connect(self.host.peer_id, self.host.addrs)
            task_status.started(host)
            await trio.sleep_forever()


@asynccontextmanager
async def mailbox_relay(
    network: Network,
    store: Path | Callable[[], MailboxStore],
    *,
    identity: Identity | None = None,
    clock: Clock | None = None,
    **bounds: Any,
) -> AsyncIterator[MailboxRelay]:
    """A relay over this store (a path: SQLite) with these bounds instead of the defaults."""
    identity, registry, clock = identity or Identity.generate(), CollectorRegistry(), clock or Clock()
    limits = MailboxLimits(**bounds)
    make_store = sqlite_store(store, limits) if isinstance(store, Path) else store
    with trio.fail_after(60):
        async with (
            host_on(network, TCP, identity=identity) as host,
            open_mailboxes(
                host,
                identity=identity,
                make_store=make_store,
                bounds=limits,
                metrics=MailboxMetrics(registry),
                wall_clock=clock,
            ) as service,
            trio.open_nursery() as clients,
        ):
            yield MailboxRelay(host, service, clock, registry, clients)
            clients.cancel_scope.cancel()


@pytest.fixture
def public_network() -> Network:
    return new_network("public", private=False)
