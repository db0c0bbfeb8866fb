"""One dial to one address: TCP from the listening port, WebSocket, QUIC; what went wrong, in words.

Owns: the second try after a simultaneous open that nobody had agreed on. Spec: docs/spec/host.md, docs/adr/0051.
Never touches: how many dials there may be, the table of connections.
"""

import os
from typing import TYPE_CHECKING

import trio
from cryptography.exceptions import InvalidTag
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.transport.exceptions import SecurityUpgradeFailure
from multiaddr import Multiaddr

from covey_core.host import addresses, limits, tcp, transports
from covey_core.host.connection import Connection
from covey_core.host.contained import system_error_in
from covey_core.host.names import Names

if TYPE_CHECKING:
    from covey_core.host.swarm import CoveySwarm


async def dial(swarm: "CoveySwarm", address: Multiaddr, peer_id: ID, *, names: Names) -> Connection:
    """Return a new connection to `peer_id` at a direct address; raises libp2p's and the system's errors."""
    if addresses.transport_label(address) == "quic":
        return await _dial_quic(swarm, address, peer_id, names)
    raw = await transports.dial(swarm.transport_manager, address, peer_id, swarm.tcp_places(), names=names)
    try:
        return await swarm.upgrade(raw, peer_id)
    except SecurityUpgradeFailure as exc:
        if not tcp.from_listen_port(raw) or not _both_dialed(exc):
            raise
    raw = await transports.dial(swarm.transport_manager, address, peer_id, (), names=names)
    return await swarm.upgrade(raw, peer_id)


async def _dial_quic(swarm: "CoveySwarm", address: Multiaddr, peer_id: ID, names: Names) -> Connection:
    if swarm.quic is None or peer_id == swarm.self_id:
        raise SwarmException("this host dials no QUIC" if swarm.quic is None else "that is this host itself")
    target = await names.resolve(addresses.split_peer(address)[0])
    muxed = await swarm.quic.dial(target, peer_id)
    return await swarm.add_conn(muxed, "outbound", from_listen_port=swarm.quic.listening)


def _both_dialed(failure: SecurityUpgradeFailure) -> bool:
    """Whether a handshake failed as it does when both sides dialed from their listening ports at once.

    The system makes one connection of that, with a Noise initiator at each end: both agree on Noise, and each takes the
    other's first message for the second.
    """
    return isinstance(failure.__cause__, InvalidTag)


def problem(error: BaseException | None) -> str:
    """Return why a dial failed, without the address."""
    if isinstance(error, trio.TooSlowError):
        return f"no answer within {limits.DIAL_SECONDS:g} s"
    system = system_error_in(error)
    if system is not None and system.errno:
        return os.strerror(system.errno).lower()  # trio's own text repeats the address
    return str(error) if error is not None and str(error) else "failed"
