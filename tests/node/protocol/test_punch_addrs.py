"""What peers are told, and what of theirs is believed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiaddr import Multiaddr

from covey_core.identity import Identity
from covey_core.network import Scope
from covey_core.peers import PeerId
from covey_core.wire.direct_addr import DirectAddr
from covey_node import limits
from covey_node.protocol.punch_addrs import candidates, nearby, outside, punchable

RELAY, OTHER, STRANGER = (Identity.generate().peer_id for _ in range(3))
PUBLIC = Scope()
LISTEN = ("/ip4/192.168.1.2/tcp/4001", "/ip4/192.168.1.2/tcp/4002/ws", "/ip4/192.168.1.2/udp/4001/quic-v1")
OURS = ("/ip4/45.79.40.101/tcp/20001", "/ip4/45.79.40.101/udp/20002/quic-v1")


@dataclass(frozen=True)
class _Seen:
    observed: str | None
    peer: PeerId = RELAY
    remote_addr: str = "/ip4/45.79.10.10/tcp/4001"


def told(*addrs: str) -> list[bytes]:
    return [Multiaddr(addr).to_bytes() for addr in addrs]


def test_what_relays_see_is_told_the_newest_first() -> None:
    seen = [
        _Seen("/ip4/45.79.40.101/tcp/20001"),
        _Seen("/ip4/45.79.40.101/udp/20002/quic-v1"),
        _Seen("/ip4/45.79.40.102/tcp/20003", peer=OTHER),
    ]
    assert candidates(seen, LISTEN, (), scope=PUBLIC)[:3] == (
        "/ip4/45.79.40.102/tcp/20003",
        "/ip4/45.79.40.101/udp/20002/quic-v1",
        "/ip4/45.79.40.101/tcp/20001",
    )


def test_a_transport_that_nobody_saw_is_guessed_to_keep_its_port() -> None:
    seen = [_Seen("/ip4/45.79.40.101/tcp/20001")]
    assert candidates(seen, LISTEN, (), scope=PUBLIC) == (
        "/ip4/45.79.40.101/tcp/20001",
        "/ip4/45.79.40.101/udp/4001/quic-v1",
    )


def test_nothing_is_guessed_without_an_ip_that_was_seen() -> None:
    assert candidates([], LISTEN, (), scope=PUBLIC) == ()


@pytest.mark.parametrize(
    "seen",
    [
        _Seen("/ip4/192.168.1.2/tcp/4001"),  # a peer of our own site
        _Seen("/ip4/45.79.40.101/tcp/20001", remote_addr="/ip4/192.168.1.9/tcp/4001"),
        _Seen("/ip4/169.254.169.254/tcp/4001"),
        _Seen("/ip4/127.0.0.1/tcp/4001"),
        _Seen("/ip6/fe80::1/tcp/4001"),
        _Seen("/ip4/45.79.40.101/tcp/20001", remote_addr="/ip4/45.79.10.10/tcp/4001/p2p-circuit"),
        _Seen("/ip4/45.79.40.101/tcp/20001/ws"),
        _Seen(None),
    ],
    ids=str,
)
def test_an_address_that_is_not_ours_outside_is_not_told(seen: _Seen) -> None:
    assert candidates([seen], LISTEN, (), scope=PUBLIC) == ()


def test_only_the_named_observers_are_believed() -> None:
    lie = _Seen("/ip4/8.8.8.8/tcp/4001", peer=STRANGER)
    assert candidates([lie], LISTEN, (), scope=PUBLIC, observers={RELAY}) == ()
    assert candidates([lie], LISTEN, (), scope=PUBLIC, observers={STRANGER}) != ()


def test_mapped_and_global_addresses_are_told_too() -> None:
    listen = (*LISTEN, "/ip6/2a01:7e00::2/tcp/4001", "/ip6/2a01:7e00::2/udp/4001/quic-v1", "/ip6/fe80::1/tcp/4001")
    mapped = ("/ip4/45.79.40.101/tcp/30000", "/ip4/10.0.0.1/tcp/30000")
    assert candidates([], listen, mapped, scope=PUBLIC) == (
        "/ip4/45.79.40.101/tcp/30000",
        "/ip6/2a01:7e00::2/tcp/4001",
        "/ip6/2a01:7e00::2/udp/4001/quic-v1",
    )


def test_a_private_network_tells_its_own_subnets() -> None:
    scope = Scope(("10.0.0.0/8",))
    seen = [_Seen("/ip4/10.7.0.1/tcp/20001", remote_addr="/ip4/10.1.0.1/tcp/4001")]
    assert candidates(seen, (), (), scope=scope) == ("/ip4/10.7.0.1/tcp/20001",)


def test_of_many_mappings_on_one_ip_the_two_newest_are_told_and_eight_addresses_in_all() -> None:
    many = [_Seen(f"/ip4/45.79.40.101/tcp/{port}") for port in range(20000, 20020)]
    assert candidates(many, (), (), scope=PUBLIC) == ("/ip4/45.79.40.101/tcp/20019", "/ip4/45.79.40.101/tcp/20018")
    far = [_Seen(f"/ip4/45.79.40.{n}/tcp/20000") for n in range(1, 30)]
    assert len(candidates(far, (), (), scope=PUBLIC)) == limits.PUNCH_ADDRS_MAX


def test_what_a_peer_tells_is_punched_to_in_its_order() -> None:
    addrs = ("/ip4/45.79.50.102/udp/20002/quic-v1", "/ip4/45.79.50.102/tcp/20001")
    assert punchable(told(*addrs), OURS, scope=PUBLIC) == addrs


@pytest.mark.parametrize(
    "addr",
    [
        "/ip4/192.168.1.1/tcp/8080",
        "/ip4/127.0.0.1/tcp/8080",
        "/ip4/169.254.169.254/tcp/8080",
        "/ip4/100.100.100.200/tcp/8080",
        "/ip4/224.0.0.1/udp/5353/quic-v1",
        "/ip4/45.79.50.102/tcp/22",
        "/ip4/45.79.50.102/udp/53/quic-v1",
        "/ip4/45.79.50.102/tcp/4001/ws",
        "/dns4/victim.example/tcp/4001",
        "/ip4/45.79.50.102/udp/4001",
        "/ip6/::ffff:10.0.0.1/tcp/4001",
        "/ip6/::ffff:45.79.50.102/tcp/4001",
        "/ip6/fe80::1/tcp/4001",
        "/ip6/2a01:7e00::2/tcp/4001",  # we have no IPv6 ourselves
        *OURS,
    ],
)
def test_an_address_that_is_not_a_peers_outside_is_not_punched_to(addr: str) -> None:
    assert punchable(told(addr), OURS, scope=PUBLIC) == ()


def test_only_transports_that_we_have_are_punched_over() -> None:
    addrs = told("/ip4/45.79.50.102/udp/20002/quic-v1", "/ip4/45.79.50.102/tcp/20001")
    assert punchable(addrs, OURS[:1], scope=PUBLIC) == ("/ip4/45.79.50.102/tcp/20001",)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.builds(
                lambda ip, transport, port: DirectAddr(str(ip), transport, port).encode(),
                st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)),
                st.sampled_from(["tcp", "quic"]),
                st.integers(1, 65535),
            ),
        ),
        max_size=60,
    )
)
def test_whatever_a_peer_tells_few_machines_and_ports_are_written_to(raw: list[bytes]) -> None:
    ours = (*OURS, "/ip6/2a01:7e00::9/tcp/1", "/ip6/2a01:7e00::9/udp/1/quic-v1")
    found = [DirectAddr.parse(addr) for addr in punchable(raw, ours, scope=PUBLIC)]
    assert len(found) == len(set(found)) <= limits.PUNCH_ADDRS_MAX
    assert len({addr.ip for addr in found if addr}) <= limits.PUNCH_IPS_MAX
    for addr in found:
        assert addr is not None
        assert addr.port >= limits.PUNCH_PORT_MIN
        assert PUBLIC.may_dial(addr.ip)
        same = [other for other in found if other and (other.ip, other.transport) == (addr.ip, addr.transport)]
        assert len(same) <= limits.PUNCH_PORTS_PER_IP_MAX


def test_a_scan_of_one_machines_ports_is_cut_to_two() -> None:
    scan = told(*(f"/ip4/45.79.50.102/tcp/{port}" for port in range(2000, 2016)))
    assert len(punchable(scan, OURS, scope=PUBLIC)) == limits.PUNCH_PORTS_PER_IP_MAX


def test_a_crowd_of_victims_is_cut_to_four() -> None:
    crowd = told(*(f"/ip4/45.79.50.{n}/tcp/2000" for n in range(1, 17)))
    assert len(punchable(crowd, OURS, scope=PUBLIC)) == limits.PUNCH_IPS_MAX


def test_addresses_outside_are_worth_a_plain_dial_and_those_at_home_are_not() -> None:
    addrs = ("/ip4/192.168.1.2/tcp/4001", "/ip4/45.79.50.102/tcp/4001", "/ip4/127.0.0.1/tcp/1")
    assert outside(addrs, scope=PUBLIC) == ("/ip4/45.79.50.102/tcp/4001",)


def test_a_contact_in_the_same_local_network_is_near_and_one_in_another_is_not() -> None:
    addrs = ("/ip4/192.168.1.7/tcp/4001", "/ip4/10.7.0.2/tcp/4001", "/ip4/45.79.50.102/tcp/4001")
    assert nearby(addrs, LISTEN, scope=PUBLIC) == ("/ip4/192.168.1.7/tcp/4001",)
