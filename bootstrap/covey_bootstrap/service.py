"""The life of a seed: from its settings to its end.

Owns: the order of starting and stopping, remembering peers, readiness. Spec: docs/spec/dht.md, "Seeds".
Never touches: argument parsing, protocols.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from importlib.metadata import version
from typing import Any

import trio
from prometheus_client import CollectorRegistry

from covey_bootstrap import limits
from covey_bootstrap.membership import made_or_widened, own_addresses, with_seed
from covey_bootstrap.net.seed import Seed, open_seed
from covey_bootstrap.remembered import RememberedPeers
from covey_bootstrap.settings import BootstrapSettings
from covey_bootstrap.store.peers_file import load_peers, save_peers
from covey_core.descriptors import provide_descriptors
from covey_core.errors import CoveyError, SettingsInvalid
from covey_core.files import unusable
from covey_core.health import Health, Heartbeat, State
from covey_core.host import HostConfig
from covey_core.identity import load_or_create_identity
from covey_core.lifecycle import Lifecycle
from covey_core.logs import get_logger
from covey_core.metrics import CoreMetrics
from covey_core.network import Network, load_network, qr_text, update_network
from covey_core.ops import serve_ops

_log: Any = get_logger("bootstrap")


async def run_seed(settings: BootstrapSettings, lifecycle: Lifecycle) -> None:
    """Run a seed until the lifecycle stops.

    Raises a `CoveyError` that says what to mend when it cannot start.
    """
    _make_folder(settings)
    provide_descriptors(settings.max_connections)
    identity = load_or_create_identity(settings.identity_path)
    network = update_network(
        settings.network_path,
        lambda present: made_or_widened(
            present,
            name=settings.network_name,
            private=settings.network_private,
            subnets=settings.network_subnets,
        ),
    )
    registry = CollectorRegistry()
    metrics = CoreMetrics(registry, role="bootstrap", version=version("covey"))
    health = Health(metrics=metrics)
    config = HostConfig(
        identity=identity,
        network=network,
        listen=settings.listen,
        announce=settings.announce,
        max_connections=settings.max_connections,
    )
    peers = load_peers(settings.peers_path)
    ops_host, ops_port = settings.ops_host_port
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_ops, host=ops_host, port=ops_port, registry=registry, health=health))
        async with open_seed(config, registry=registry, metrics=metrics) as seed:
            addrs = own_addresses(network, seed.host.addrs, announced=bool(settings.announce))
            complete = update_network(settings.network_path, partial(_entered, seed=seed, addrs=addrs))
            nursery.start_soon(_upkeep, settings, seed, peers, health, _others(complete, peers))
            health.set_state(State.READY)
            _log.info("bootstrap.seed.started", addresses=len(addrs), remembered=len(peers))
            _show_link(complete)
            await lifecycle.stopping.wait()
            health.set_state(State.DRAINING)
            _remember(seed, peers)
            save_peers(settings.peers_path, peers)
            nursery.cancel_scope.cancel()
    _log.info("bootstrap.seed.stopped")


def network_link(settings: BootstrapSettings) -> str:
    """Return the link of the network that this seed serves; `CoveyError` when there is none yet."""
    if not settings.network_path.exists():
        raise SettingsInvalid(f"there is no network in {settings.network_path} yet: start covey-bootstrap run first")
    return load_network(settings.network_path).to_link()


def _entered(present: Network | None, *, seed: Seed, addrs: tuple[str, ...]) -> Network:
    """Return the network in the file, as it is by now, with our entry."""
    if present is None or present.id != seed.host.network.id:
        raise SettingsInvalid("the network file was replaced while this seed started: start it again")
    return with_seed(present, seed.host.peer_id, addrs)


def _others(network: Network, peers: RememberedPeers) -> tuple[str, ...]:
    """Return where other servers may be: remembered, seeds and relays of the network file."""
    remembered = (addr for entry in peers.newest_first() for addr in entry.addrs)
    relays = (addr for relay in network.relays for addr in relay.addrs)
    return tuple(dict.fromkeys((*network.bootstraps, *relays, *remembered)))


async def _upkeep(
    settings: BootstrapSettings, seed: Seed, peers: RememberedPeers, health: Health, others: tuple[str, ...]
) -> None:
    """Join the others and remember who is there, for as long as the seed runs."""
    heartbeat: Heartbeat = health.heartbeat("upkeep", bound_seconds=limits.UPKEEP_BOUND_SECONDS)
    with trio.move_on_after(limits.JOIN_SECONDS):
        await seed.join(others)
    while True:
        heartbeat.touch()
        if _remember(seed, peers):
            save_peers(settings.peers_path, peers)
        await trio.sleep(limits.REMEMBER_SECONDS)


def _remember(seed: Seed, peers: RememberedPeers) -> bool:
    now = time.time()
    changed = [peers.saw(entry.peer, entry.addrs, now=now) for entry in seed.servers()]
    return peers.forget_old(now=now) or any(changed)


def _show_link(network: Network) -> None:
    """Print the link as a line of its own, and as a QR code where a person is looking."""
    try:
        link = network.to_link()
        sys.stdout.write(link + "\n")
        if sys.stdout.isatty():
            sys.stdout.write(qr_text(link) + "\n")
        sys.stdout.flush()
    except (CoveyError, OSError) as exc:  # a closed standard output is no reason to stop
        _log.warning("bootstrap.link.not_shown", problem=str(exc))


def _make_folder(settings: BootstrapSettings) -> None:
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        raise unusable(settings.data_dir, exc) from exc
