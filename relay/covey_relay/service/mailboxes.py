"""The mailbox service of a relay, from its store to its streams.

Owns: which store serves, how the parts come together, the service's life. Spec: docs/spec/mailbox.md; settings:
docs/operators.md. Never touches: settings' names, libp2p, tables.
"""

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio
from prometheus_client import CollectorRegistry

from covey_core.host import Host
from covey_core.identity import Identity
from covey_relay.limits import MailboxLimits
from covey_relay.mailbox.clerk import Clerk
from covey_relay.mailbox.complaints import Complaints
from covey_relay.mailbox.disk import Disk
from covey_relay.mailbox.forward_keys import ForwardKeys
from covey_relay.mailbox.line import open_line
from covey_relay.mailbox.operations import Arrived, MailboxStore
from covey_relay.mailbox.outcomes import Outcomes
from covey_relay.mailbox.pace import Pace
from covey_relay.mailbox.reception import Reception
from covey_relay.mailbox.round import Rounds
from covey_relay.mailbox.stores import open_store
from covey_relay.mailbox.subscriptions import Subscriptions
from covey_relay.mailbox.sweep import Sweeper
from covey_relay.mailbox.work import WorkDesk
from covey_relay.mailbox_metrics import MailboxMetrics
from covey_relay.net.known_relays import KnownRelays
from covey_relay.net.mailbox_forwarder import Forwarder
from covey_relay.net.mailbox_office import Office
from covey_relay.net.mailbox_server import MailboxServer, serve_streams
from covey_relay.settings import RelaySettings

_WORK_KEY_BYTES = 32


class MailboxService:
    """A running service: how much of it is in use."""

    def __init__(self, disk: Disk, office: Office, server: MailboxServer, sweeper: Sweeper) -> None:
        self._disk = disk
        self._office = office
        self._server = server
        self._sweeper = sweeper

    @property
    def disk_ratio(self) -> float:
        """The share of the disk in use, 0 to 1."""
        return self._disk.ratio

    @property
    def subscriptions(self) -> int:
        """How many queues somebody hears of."""
        return len(self._office.subscriptions)

    async def drain(self) -> None:
        """End all streams and take no more of them; what stands in a commit is finished."""
        await self._server.close()

    async def sweep(self) -> None:
        """Delete what is over now, instead of within 15 s."""
        await self._sweeper.sweep()


def store_of(settings: RelaySettings) -> Callable[[], MailboxStore]:
    """Return what opens the store that the settings name; called in a worker thread."""
    url = settings.mailbox_url
    return partial(
        open_store,
        path=settings.mailbox_path,
        bounds=settings.mailbox_limits,
        url="" if url is None else url.get_secret_value(),
    )


def sqlite_store(path: Path, bounds: MailboxLimits) -> Callable[[], MailboxStore]:
    """Return what opens the store in one SQLite file."""
    return partial(open_store, path=path, bounds=bounds)


@asynccontextmanager
async def open_mailboxes(
    host: Host,
    *,
    identity: Identity,
    make_store: Callable[[], MailboxStore],
    bounds: MailboxLimits | None = None,
    metrics: MailboxMetrics | None = None,
    relays: KnownRelays | None = None,
    wall_clock: Callable[[], float] = time.time,
) -> AsyncIterator[MailboxService]:
    """Serve `/covey/mailbox/1` on `host` for the length of the block.

    `identity` must be the host's own. `make_store` is called in a worker thread; it raises `FileDamaged`, `StoreFailed`
    or `SettingsInvalid`. `relays`: to whom is forwarded; those of the host's network when not given. `wall_clock` gives
    Unix seconds.
    """
    bounds = bounds or MailboxLimits()
    metrics = metrics or MailboxMetrics(CollectorRegistry())
    relays = relays or KnownRelays(host.network, own=host.peer_id)
    subscriptions, disk, pace = Subscriptions(), Disk(cap_bytes=bounds.disk_bytes), Pace(bounds)
    keys = ForwardKeys(identity, random=secrets.token_bytes)
    desk = WorkDesk(key=secrets.token_bytes(_WORK_KEY_BYTES))
    clerk = Clerk(
        host.peer_id,
        bounds=bounds,
        disk=disk,
        desk=desk,
        pace=pace,
        random=secrets.token_bytes,
        happened=metrics.happened,
    )
    outcomes = Outcomes(bounds, disk=disk, desk=desk, happened=metrics.happened)
    async with open_line(make_store, wall_clock=wall_clock) as line, trio.open_nursery() as nursery:
        complaints = Complaints()
        rounds = Rounds(line, clerk, outcomes, disk, complaints, changed=subscriptions.wake, wall_clock=wall_clock)
        sweeper = Sweeper(line, disk, bounds, subscriptions, complaints, metrics=metrics, wall_clock=wall_clock)
        forwarder = Forwarder(host, relays)
        office = Office(
            line,
            Reception(host.peer_id, pace=pace, keys=keys),
            rounds,
            subscriptions,
            complaints,
            forward=forwarder.forward,
            metrics=metrics,
            wall_clock=wall_clock,
        )
        server = MailboxServer(
            office, hello=lambda nonce: keys.hello(nonce, now=wall_clock()), is_listed=relays.is_listed
        )
        await sweeper.sweep()
        nursery.start_soon(sweeper.run)
        nursery.start_soon(forwarder.run)
        nursery.start_soon(relays.keep_up, host)
        nursery.start_soon(line.listen, partial(_tell, subscriptions))
        async with serve_streams(host, server):
            yield MailboxService(disk, office, server, sweeper)
        nursery.cancel_scope.cancel()


def _tell(subscriptions: Subscriptions, arrived: Arrived) -> None:
    if arrived.missed:
        subscriptions.wake_all()
    for recv_key in arrived.recv_keys:
        subscriptions.wake(recv_key)
