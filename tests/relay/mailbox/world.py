"""A mailbox relay on loopback, over the SQLite store, and hosts that only dial."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from prometheus_client import CollectorRegistry

from covey_core.host import Host
from covey_core.identity import Identity
from covey_core.lifecycle import TaskStatus
from covey_core.network import Network, RelayEntry
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox.operations import MailboxStore
from covey_relay.mailbox_metrics import MailboxMetrics
from covey_relay.net.known_relays import KnownRelays
from covey_relay.service.mailboxes import MailboxService, open_mailboxes, sqlite_store
from tests.relay.conftest import TCP, host_on
from tests.support.mailbox_client import MailboxClient


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
    relays: KnownRelays
    clients: trio.Nursery = field(repr=False)
    dialers: list[Host] = field(default_factory=list)

    @property
    def forwarder(self) -> Any:
        """Its way to other relays."""
        return self.office.forward.__self__

    @property
    def office(self) -> Any:
        """What its streams share, for tests that stand in for a part of it."""
        return self.service._office

    def sample(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(name, labels)
        assert value is not None, f"no metric {name}{labels}"
        return value

    async def dialer(self) -> Host:
        """A new host under a PeerId that nobody has seen, connected to the relay."""
        host: Host = await self.clients.start(self._run_client)
        self.dialers.append(host)
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
    knows: Sequence[Host] = (),
    **bounds: Any,
) -> AsyncIterator[MailboxRelay]:
    """A relay over this store (a path: SQLite) with these bounds; `knows`: those in its network file."""
    identity, registry, clock = identity or Identity.generate(), CollectorRegistry(), clock or Clock()
    limits = MailboxLimits(**bounds)
    listed = tuple(RelayEntry("other", host.addrs) for host in knows)
    known = KnownRelays(dataclasses.replace(network, relays=listed), own=identity.peer_id)
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
                relays=known,
                wall_clock=clock,
            ) as service,
            trio.open_nursery() as clients,
        ):
            yield MailboxRelay(host, service, clock, registry, known, clients)
            clients.cancel_scope.cancel()
