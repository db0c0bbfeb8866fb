"""The one way to a running host.

Owns: building libp2p's parts with safe options, starting and ending them. Spec: docs/adr/0001, docs/spec/host.md.
Never touches: protocols.
"""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.tools.anyio_service import TrioManager
from libp2p.transport.tcp.tcp import TCP
from multiaddr import Multiaddr

from covey_core.errors import SettingsInvalid
from covey_core.host import addresses, limits
from covey_core.host.contained import Contained, counted, shielded
from covey_core.host.counts import Counts
from covey_core.host.host import Host
from covey_core.host.names import Names
from covey_core.host.node import LibP2PHost
from covey_core.host.quic import Quic
from covey_core.host.quiet import silence_libp2p
from covey_core.host.supervision import Supervision
from covey_core.host.swarm import CoveySwarm
from covey_core.host.upgrader import NoiseYamuxUpgrader
from covey_core.host.websocket import WebSocketTransport
from covey_core.identity import Identity
from covey_core.metrics import CoreMetrics
from covey_core.network import Network


@dataclass(frozen=True, slots=True)
class HostConfig:
    """What a host is to be. `listen` and `announce` are multiaddrs; without `listen` it only dials."""

    identity: Identity
    network: Network
    listen: tuple[str, ...] = ()
    announce: tuple[str, ...] = ()
    max_connections: int = limits.MAX_CONNECTIONS
    max_connections_per_ip: int | None = None
    """None: a quarter of `max_connections`."""
    keeps_both: bool = False
    """Whether a peer's QUIC connection stays beside its TCP one, as at a relay: each tells the peer its address."""
    liveness_interval_seconds: float = limits.LIVENESS_INTERVAL_SECONDS
    liveness_timeout_seconds: float = limits.LIVENESS_TIMEOUT_SECONDS


@asynccontextmanager
async def open_host(config: HostConfig, *, metrics: CoreMetrics | None = None) -> AsyncIterator[Host]:
    """Run a host for the length of the block: listening when it begins, every connection closed when it ends.

    Raises `SettingsInvalid` for an address that cannot be listened on or announced.
    """
    silence_libp2p()
    listen = addresses.parse_listen(config.listen)
    announce = [addresses.parse(text) for text in config.announce]
    _refuse_taken_ports(listen)
    with counted(metrics.unforeseen if metrics is not None else None):
        async with trio.open_nursery() as tasks:
            swarm, node = _build(config, announce, tasks, metrics)
            host = Host(peer_id=config.identity.peer_id, network=config.network, node=node, swarm=swarm)
            node.reach = host
            supervision = Supervision(
                swarm=swarm, events=host.events, prove=host.prove, greet=host.acquaintances.greet, ping=host.ping_on
            )
            swarm.register_notifee(supervision)
            manager = TrioManager(swarm)
            tasks.start_soon(manager.run)
            try:
                # The block's own error leaves as it is, not in the groups of the nurseries around it.
                with Contained() as block:
                    await manager.wait_started()
                    await _listen(swarm, listen)
                    yield host
            finally:
                await _shut_down(swarm, manager, host)
            tasks.cancel_scope.cancel()
    if block.error is not None:
        raise block.error


def _build(
    config: HostConfig, announce: list[Multiaddr], tasks: trio.Nursery, metrics: CoreMetrics | None
) -> tuple[CoveySwarm, LibP2PHost]:
    keys = create_new_key_pair(config.identity.seed)
    peer_id = ID.from_pubkey(keys.public_key)
    store = PeerStore(max_peers=limits.REMEMBERED_PEERS)
    store.add_key_pair(peer_id, keys)
    upgrader = NoiseYamuxUpgrader(
        keys,
        liveness_interval_seconds=config.liveness_interval_seconds,
        liveness_timeout_seconds=config.liveness_timeout_seconds,
    )
    swarm = CoveySwarm(
        peer_id=peer_id,
        peerstore=store,
        upgrader=upgrader,
        carriers=[TCP(), WebSocketTransport(tasks)],
        tasks=tasks,
        counts=Counts(metrics),
        max_connections=config.max_connections,
        max_connections_per_ip=config.max_connections_per_ip or max(1, config.max_connections // limits.SHARE_PER_IP),
        names=Names.of(config.network),
        keeps_both=config.keeps_both,
    )
    swarm.quic = Quic(
        keys,
        tasks=tasks,
        liveness=(config.liveness_interval_seconds, config.liveness_timeout_seconds),
        may_accept=swarm.incoming.may_accept,
        serve=swarm.incoming.serve_quic,
    )
    node = LibP2PHost(
        swarm,
        negotiate_timeout=int(limits.NEGOTIATE_SECONDS),
        announce_addrs=announce or None,
        # Observed addresses are what strangers say we are; until somebody dials back they are nobody's business.
        disable_identify_address_discovery=True,
    )
    swarm.notifees.clear()  # BasicHost's identify, in system tasks; identify.py takes its place
    return swarm, node


def _refuse_taken_ports(listen: tuple[Multiaddr, ...]) -> None:
    """Refuse a port that another process listens on.

    Upstream listens with SO_REUSEPORT: two processes would both succeed, and each get half of the connections.
    """
    for address in listen:
        if addresses.transport_label(address) == "quic":
            continue  # its socket is bound alone
        port = int(address.value_for_protocol("tcp") or 0)
        if not port:
            continue
        ip = addresses.ip_of(address) or ""
        with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ip, port))
            except OSError as exc:
                raise SettingsInvalid(f"cannot listen on {address}: {exc.strerror}") from exc


async def _listen(swarm: CoveySwarm, listen: tuple[Multiaddr, ...]) -> None:
    """Listen on all addresses or fail; upstream is content with one of them."""
    for address in listen:
        if swarm.quic is not None and addresses.transport_label(address) == "quic":
            swarm.listeners[str(address)] = swarm.quic.listen(address)
        elif not await swarm.listen(address):
            raise SettingsInvalid(f"cannot listen on {address}")


async def _shut_down(swarm: CoveySwarm, manager: TrioManager, host: Host) -> None:
    """Close connections, then listeners, within 4 s; upstream leaves both open when its block is left."""
    host.events.close()
    with shielded(limits.SHUTDOWN_SECONDS):
        await swarm.close_connections()
        for listener in list(swarm.listeners.values()):
            with Contained():
                await listener.close()
        swarm.listeners.clear()
        if swarm.quic is not None:
            await swarm.quic.close()
        if manager.is_started:  # not when the host was cancelled while it opened
            await manager.stop()
