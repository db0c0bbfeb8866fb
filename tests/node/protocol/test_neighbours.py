"""Who is believed on a local network, for how long, and how much is kept."""

from ipaddress import ip_network

import pytest

from covey_core.identity import Identity
from covey_node import limits
from covey_node.protocol.mdns import Found
from covey_node.protocol.neighbours import Neighbours, believed

LAN = (ip_network("192.168.1.0/24"), ip_network("fd00:1::/64"))
PEER = Identity.generate().peer_id
HERE = f"/ip4/192.168.1.7/tcp/4001/p2p/{PEER}"


@pytest.mark.parametrize(
    ("addr", "counts"),
    [
        ("/ip4/192.168.1.7/tcp/4001", True),
        ("/ip4/192.168.1.8/tcp/4001", False),  # another machine on the network, named by somebody else
        ("/ip4/192.168.2.7/tcp/4001", False),
        ("/ip4/8.8.8.8/tcp/53", False),
        ("/ip4/127.0.0.1/tcp/22", False),
        ("/ip4/169.254.169.254/tcp/80", False),
        ("/ip6/fd00:1::7/udp/4001/quic-v1", True),
        ("/ip6/fd00:2::7/tcp/4001", False),
        ("/ip6/::1/tcp/22", False),
        ("/dns4/router.local/tcp/80", False),
        ("/dns4/192.168.1.7/tcp/80", True),  # a name that is an address leads to that address
        ("nonsense", False),
    ],
)
def test_nobody_can_make_us_dial_another_machine(addr: str, counts: bool) -> None:
    assert bool(believed([addr], sender="192.168.1.7", subnets=LAN)) is counts


def test_a_neighbour_is_known_until_its_time_is_over() -> None:
    table = Neighbours()
    found = Found(PEER, (HERE,), 60)
    assert table.heard(found, sender="192.168.1.7", subnets=LAN, now=0.0)
    assert not table.heard(found, sender="192.168.1.7", subnets=LAN, now=30.0), "nothing new"
    assert table.addrs_of(PEER, now=89.0) == (HERE,)
    assert table.addrs_of(PEER, now=90.0) == ()
    table.expire(now=90.0)
    assert table._known == {}
    assert table.heard(found, sender="192.168.1.7", subnets=LAN, now=91.0), "it is there again"


def test_no_time_is_longer_than_ours() -> None:
    table = Neighbours()
    table.heard(Found(PEER, (HERE,), 2**31 - 1), sender="192.168.1.7", subnets=LAN, now=0.0)
    assert table.addrs_of(PEER, now=limits.MDNS_TTL_SECONDS) == ()


def test_who_says_goodbye_is_forgotten_but_only_by_its_own_word() -> None:
    table = Neighbours()
    table.heard(Found(PEER, (HERE,), 60), sender="192.168.1.7", subnets=LAN, now=0.0)
    assert not table.heard(Found(PEER, (HERE,), 0), sender="192.168.1.66", subnets=LAN, now=1.0)
    assert table.addrs_of(PEER, now=1.0) == (HERE,)
    assert not table.heard(Found(PEER, (HERE,), 0), sender="192.168.1.7", subnets=LAN, now=1.0)
    assert table.addrs_of(PEER, now=1.0) == ()


def test_the_addresses_heard_last_come_first_and_are_bounded() -> None:
    table = Neighbours()
    for number in range(2, 2 + 2 * limits.MDNS_ADDRS_PER_PEER):
        ip = f"192.168.1.{number}"
        addrs = (f"/ip4/{ip}/tcp/4001/p2p/{PEER}", f"/ip4/{ip}/udp/4001/quic-v1/p2p/{PEER}")
        assert table.heard(Found(PEER, addrs, 60), sender=ip, subnets=LAN, now=float(number))
    known = table.addrs_of(PEER, now=20.0)
    assert len(known) == limits.MDNS_ADDRS_PER_PEER
    assert known[:2] == (f"/ip4/192.168.1.17/tcp/4001/p2p/{PEER}", f"/ip4/192.168.1.17/udp/4001/quic-v1/p2p/{PEER}")


def test_a_full_table_forgets_who_was_heard_least_lately() -> None:
    table = Neighbours()
    peers = [Identity.generate().peer_id for _ in range(limits.MDNS_PEERS_MAX + 1)]
    for at, peer in enumerate(peers):
        found = Found(peer, (f"/ip4/192.168.1.7/tcp/4001/p2p/{peer}",), 120)
        table.heard(found, sender="192.168.1.7", subnets=LAN, now=at / 10)
    assert table.addrs_of(peers[0], now=26.0) == ()
    assert table.addrs_of(peers[1], now=26.0)
    assert table.addrs_of(peers[-1], now=26.0)
