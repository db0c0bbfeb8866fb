"""The life of a relay's process: from its settings to its end.

Owns: the order of starting and stopping, the relay's entry in the network file, readiness. Spec: docs/operators.md.
Never touches: argument parsing, protocols.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Final

import structlog
import trio
from prometheus_client import CollectorRegistry

from covey_core.autonat import serve_autonat
from covey_core.descriptors import provide_descriptors
from covey_core.errors import CoveyError, SettingsInvalid
from covey_core.files import unusable
from covey_core.health import Health, State
from covey_core.host import Host, HostConfig, open_host
from covey_core.host.dht import Dht, open_dht
from covey_core.host.dht_metrics import DhtMetrics
from covey_core.identity import Identity, load_or_create_identity
from covey_core.lifecycle import Lifecycle
from covey_core.metrics import CoreMetrics
from covey_core.network import Network, load_network, qr_text, update_network
from covey_core.ops import serve_ops
from covey_core.records import NAMESPACE, ContactRecordValidator
from covey_relay import limits
from covey_relay.mailbox_metrics import MailboxMetrics
from covey_relay.membership import joined, own_addresses, with_relay
from covey_relay.metrics import RelayMetrics
from covey_relay.net.ahead import serve_ahead
from covey_relay.net.presence import stay_known
from covey_relay.net.reports import serve_reports
from covey_relay.service.circuits import open_relay_service
from covey_relay.service.mailboxes import open_mailboxes, store_of
from covey_relay.settings import RelaySettings

_log: Final = structlog.get_logger("covey.relay")


async def run_relay(settings: RelaySettings, lifecycle: Lifecycle) -> None:
    """Run a relay until the lifecycle stops; raises a `CoveyError` that says what to mend when it cannot start."""
    _make_folder(settings)
    identity = load_or_create_identity(settings.identity_path)
    registry = CollectorRegistry()
    core_metrics = CoreMetrics(registry, role="relay", version=version("covey"))
    relay_metrics, dht_metrics = RelayMetrics(registry), DhtMetrics(registry)
    mailbox_metrics = MailboxMetrics(registry)
    health = Health(metrics=core_metrics)
    provide_descriptors(settings.connections)
    ops_host, ops_port = settings.ops_host_port
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_ops, host=ops_host, port=ops_port, registry=registry, health=health))
        network = await _awaited_network(settings, lifecycle)
        if network is None:
            nursery.cancel_scope.cancel()
            return
        config = HostConfig(
            identity=identity,
            network=network,
            listen=settings.listen,
            announce=settings.announce,
            max_connections=settings.connections,
            max_connections_per_ip=settings.max_connections_per_ip,
            keeps_both=True,
        )
        validators = {NAMESPACE: ContactRecordValidator()}
        async with (
            open_host(config, metrics=core_metrics) as host,
            open_dht(host, server=True, validators=validators, metrics=dht_metrics) as dht,
            open_relay_service(host, identity=identity, limits=settings.limits, metrics=relay_metrics) as service,
            serve_reports(host, holds_slot=service.holds, metrics=relay_metrics),
            serve_autonat(host, on_served=relay_metrics.reachability_checked),
            _ahead(settings, host, dht, relay_metrics),
            _mailboxes(settings, host, identity=identity, relay_metrics=relay_metrics, metrics=mailbox_metrics),
        ):
            complete = _enter(settings, host)
            nursery.start_soon(stay_known, host, dht, identity, complete)
            health.set_state(State.READY)
            _log.info("relay.process.started", relays=len(complete.relays), seeds=len(complete.bootstraps))
            show_link(complete)
            await lifecycle.stopping.wait()
            health.set_state(State.DRAINING)
        nursery.cancel_scope.cancel()
    _log.info("relay.process.stopped")


def join_network(settings: RelaySettings, link: str) -> Network:
    """Write the network of `link` to the network file and return it; `LinkInvalid`, `SettingsInvalid`."""
    wanted = Network.from_link(link)
    return update_network(settings.network_path, lambda present: joined(present, wanted))


def network_of(settings: RelaySettings) -> Network:
    """Return the network that this relay serves; `CoveyError` when there is none yet."""
    if not settings.network_path.exists():
        raise _no_network(settings)
    return load_network(settings.network_path)


def show_link(network: Network) -> None:
    """Print the link as a line of its own, and as a QR code where a person is looking."""
    try:
        link = network.to_link()
        sys.stdout.write(link + "\n")
        if sys.stdout.isatty():
            sys.stdout.write(qr_text(link) + "\n")
        sys.stdout.flush()
    except (CoveyError, OSError) as exc:  # a closed standard output is no reason to stop
        _log.warning("relay.link.not_shown", problem=str(exc))


@asynccontextmanager
async def _ahead(settings: RelaySettings, host: Host, dht: Dht, metrics: RelayMetrics) -> AsyncIterator[None]:
    """Take and publish records signed ahead for the length of the block, unless the operator does not want any."""
    if settings.ahead == "off":
        yield
        return
    async with serve_ahead(host, dht, settings.ahead_path, metrics=metrics):
        yield


@asynccontextmanager
async def _mailboxes(
    settings: RelaySettings, host: Host, *, identity: Identity, relay_metrics: RelayMetrics, metrics: MailboxMetrics
) -> AsyncIterator[None]:
    """Serve mailboxes for the length of the block, unless the operator does not want any."""
    if settings.mailbox == "off":
        yield
        return
    make_store, bounds = store_of(settings), settings.mailbox_limits
    async with open_mailboxes(
        host, identity=identity, make_store=make_store, bounds=bounds, metrics=metrics
    ) as mailboxes:
        relay_metrics.watch_disk(lambda: mailboxes.disk_ratio)
        yield


async def _awaited_network(settings: RelaySettings, lifecycle: Lifecycle) -> Network | None:
    """Return the network as soon as its file is there; None when the process shall stop before."""
    deadline = trio.current_time() + settings.network_wait_seconds
    while not settings.network_path.exists():
        if trio.current_time() >= deadline:
            raise _no_network(settings)
        with trio.move_on_after(limits.NETWORK_FILE_POLL_SECONDS):
            await lifecycle.stopping.wait()
            return None
    return load_network(settings.network_path)


def _no_network(settings: RelaySettings) -> SettingsInvalid:
    return SettingsInvalid(
        f"there is no network in {settings.network_path}: start a seed that shares this file, or give the network's "
        "link with `covey-relay join LINK`"
    )


def _enter(settings: RelaySettings, host: Host) -> Network:
    addrs = own_addresses(host.network, host.addrs, announced=bool(settings.announce))

    def entered(present: Network | None) -> Network:
        if present is None or present.id != host.network.id:
            raise SettingsInvalid("the network file was replaced while this relay started: start it again")
        return with_relay(present, host.peer_id, operator=settings.operator, addrs=addrs)

    return update_network(settings.network_path, entered)


def _make_folder(settings: RelaySettings) -> None:
    folder = settings.identity_path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        raise unusable(folder, exc) from exc
