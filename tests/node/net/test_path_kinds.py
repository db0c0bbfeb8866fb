"""What a connection is called."""

from typing import Any

import pytest

from covey_core.host import ConnectionInfo
from covey_core.identity import Identity
from covey_core.network import Network, new_network
from covey_core.peers import PeerId
from covey_node.net.dialer import Dialer
from covey_node.protocol.paths import PathKind

PEER = Identity.generate().peer_id
RELAY = Identity.generate().peer_id
PUBLIC = new_network("test", private=False)
ON_LOOPBACK = new_network("test", private=True, subnets=("127.0.0.0/8", "::1/128"))


class _Host:
    def __init__(self, *standing: ConnectionInfo) -> None:
        self.network = PUBLIC
        self._standing = standing

    def connections(self, _peer: PeerId) -> tuple[ConnectionInfo, ...]:
        return self._standing


def _info(addr: str, **more: Any) -> ConnectionInfo:
    facts = {"inbound": False, "relayed": False, "admitted": True, "transport": "tcp", "number": 1} | more
    return ConnectionInfo(peer=PEER, remote_addr=addr, **facts)


def _kind(info: ConnectionInfo, mapped: tuple[str, ...] = (), network: Network = PUBLIC) -> PathKind:
    host = _Host(info)
    host.network = network
    dialer = Dialer(host, None)  # type: ignore[arg-type]
    dialer.mapped = lambda: mapped
    return dialer.kind_of(info)


LEG = _info(f"/ip4/8.8.8.8/tcp/1/p2p/{RELAY}/p2p-circuit", relayed=True, relay=RELAY, number=2)


@pytest.mark.parametrize("addr", ["/ip4/192.168.1.7/tcp/1", "/ip4/10.0.0.1/udp/1/quic-v1", "/ip6/fd00::1/tcp/1"])
def test_an_address_of_a_site_is_the_lan_also_when_it_was_punched(addr: str) -> None:
    assert _kind(_info(addr)) is PathKind.LAN
    assert _kind(_info(addr, punched=True)) is PathKind.LAN


def test_a_global_address_is_public_unless_a_hole_was_punched_to_it() -> None:
    assert _kind(_info("/ip4/8.8.4.4/tcp/1")) is PathKind.PUBLIC
    assert _kind(_info("/ip4/8.8.4.4/tcp/1", punched=True)) is PathKind.PUNCHED


def test_this_machine_itself_is_the_lan_where_a_network_counts_it_as_outside() -> None:
    for addr in ("/ip4/127.0.0.1/tcp/1", "/ip6/::1/udp/1/quic-v1"):
        assert _kind(_info(addr), network=ON_LOOPBACK) is PathKind.LAN
        assert _kind(_info(addr, punched=True), network=ON_LOOPBACK) is PathKind.PUNCHED


def test_a_place_where_a_neighbour_was_found_is_the_lan_in_a_private_network_too() -> None:
    dialer = Dialer(_Host(), None)  # type: ignore[arg-type]
    dialer.near = lambda peer: (f"/ip4/8.8.4.4/tcp/1/p2p/{peer}",)
    assert dialer.kind_of(_info("/ip4/8.8.4.4/tcp/1", inbound=True)) is PathKind.LAN
    assert dialer.kind_of(_info("/ip4/8.8.4.4/tcp/2")) is PathKind.PUBLIC


def test_who_came_in_through_the_routers_mapping_is_mapped() -> None:
    mapped = (f"/ip4/9.9.9.9/tcp/4000/p2p/{PEER}",)
    came_in = _info("/ip4/8.8.4.4/tcp/1", inbound=True, observed="/ip4/9.9.9.9/tcp/4000")
    assert _kind(came_in, mapped) is PathKind.MAPPED
    assert _kind(came_in) is PathKind.PUBLIC
    elsewhere = _info("/ip4/8.8.4.4/tcp/1", inbound=True, observed="/ip4/9.9.9.9/tcp/4001")
    assert _kind(elsewhere, mapped) is PathKind.PUBLIC
    went_out = _info("/ip4/8.8.4.4/tcp/1", observed="/ip4/9.9.9.9/tcp/4000")
    assert _kind(went_out, mapped) is PathKind.PUBLIC


def test_a_circuit_is_relayed_wherever_its_relay_is() -> None:
    assert _kind(LEG) is PathKind.RELAYED


def test_the_path_is_the_one_in_use_and_else_the_direct_one() -> None:
    direct = _info("/ip4/8.8.4.4/tcp/1")
    dialer = Dialer(_Host(LEG, direct), None)  # type: ignore[arg-type]
    assert dialer.path(PEER) == (PathKind.PUBLIC, direct.remote_addr)
    dialer.used = lambda _peer: LEG.number
    assert dialer.path(PEER) == (PathKind.RELAYED, LEG.remote_addr)
    assert Dialer(_Host(), None).path(PEER) == (PathKind.NONE, None)  # type: ignore[arg-type]
