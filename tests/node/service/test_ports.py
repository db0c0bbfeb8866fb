"""The ports that the kernel chose stay ours, TCP's and UDP's."""

import socket

from covey_node.service.ports import _port_of, _with_port

TCP, QUIC, WS = "/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0/ws"


def _bound(kind: socket.SocketKind) -> socket.socket:
    taken = socket.socket(socket.AF_INET, kind)
    taken.bind(("127.0.0.1", 0))
    return taken


def test_each_listener_finds_its_own_port_among_the_bound_addresses() -> None:
    bound = ["/ip4/127.0.0.1/tcp/4201/p2p/x", "/ip4/127.0.0.1/udp/4202/quic-v1/p2p/x", "/ip4/127.0.0.1/tcp/4203/ws"]
    for addr, port in ((TCP, 4201), (QUIC, 4202), (WS, 4203)):
        assert [_port_of(addr, real) for real in bound].count(None) == 2
        assert port in [_port_of(addr, real) for real in bound]


def test_a_port_of_the_last_run_is_taken_again_while_it_is_free() -> None:
    with _bound(socket.SOCK_DGRAM) as udp, _bound(socket.SOCK_STREAM) as tcp:
        udp_port, tcp_port = udp.getsockname()[1], tcp.getsockname()[1]
        assert _with_port(QUIC, udp_port) == QUIC
        assert _with_port(TCP, tcp_port) == TCP or tcp_port == udp_port
    assert _with_port(QUIC, udp_port) == f"/ip4/127.0.0.1/udp/{udp_port}/quic-v1"
    assert _with_port(WS, tcp_port) == f"/ip4/127.0.0.1/tcp/{tcp_port}/ws"


def test_ports_that_the_user_chose_stay() -> None:
    for chosen in ("/ip4/127.0.0.1/udp/4201/quic-v1", "/ip4/127.0.0.1/tcp/04201"):
        assert _with_port(chosen, 4999) == chosen
        assert _port_of(chosen, "/ip4/127.0.0.1/udp/4201/quic-v1") is None
