"""Which listeners are mapped, and what a mapping is called as an address."""

from covey_node.protocol.portmap import Port, PortMapping, Protocol, Via, mappable

PEER = "/p2p/12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo"


def test_tcp_and_quic_over_ipv4_are_mapped_once_each() -> None:
    listen = (
        f"/ip4/0.0.0.0/tcp/4001{PEER}",
        f"/ip4/192.168.1.2/tcp/4001{PEER}",
        "/ip4/0.0.0.0/udp/4001/quic-v1",
    )
    assert mappable(listen) == (Port(Protocol.TCP, 4001), Port(Protocol.UDP, 4001))


def test_loopback_websocket_ipv6_names_and_ports_not_yet_chosen_are_not() -> None:
    listen = (
        "/ip4/127.0.0.1/tcp/4001",
        "/ip4/0.0.0.0/tcp/4002/ws",
        "/ip6/::/tcp/4001",
        "/dns4/example.org/tcp/4001",
        "/ip4/0.0.0.0/tcp/0",
        "/ip4/0.0.0.0/udp/4001",
    )
    assert mappable(listen) == ()


def test_a_mapping_is_an_address() -> None:
    tcp = PortMapping(Protocol.TCP, 4001, "45.79.40.101", 8080, Via.PCP, 0.0)
    udp = PortMapping(Protocol.UDP, 4001, "2001:db8::1", 8080, Via.PCP, 0.0)
    assert (tcp.addr, udp.addr) == ("/ip4/45.79.40.101/tcp/8080", "/ip6/2001:db8::1/udp/8080/quic-v1")
