"""Dials that leave from the port that is listened on: what makes a NAT show everybody the same address of ours."""

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from covey_core.errors import Unreachable
from covey_core.host import Host, HostConfig, Identified, identify, limits, open_host, tcp
from covey_core.identity import Identity
from covey_core.network import Network
from tests.host.conftest import TCP, WS, host_on
from tests.host.test_lifetime import until_gone
from tests.host.test_security import port_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SO_REUSEPORT and TIME_WAIT as Linux has them")

QUIC = "/ip4/127.0.0.1/udp/0/quic-v1"


def bare(address: str) -> str:
    return address.partition("/p2p/")[0]


@pytest.mark.parametrize("listen", [TCP, "/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0"])
async def test_a_tcp_dial_leaves_from_the_port_that_is_listened_on(public: Network, listen: str) -> None:
    with trio.fail_after(30):
        async with host_on(public, listen) as alice, host_on(public) as bob:
            await alice.connect(bob.peer_id, bob.addrs)
            (seen,), (own,) = bob.connections(), alice.connections()
            assert port_of(seen.remote_addr) == port_of(alice.addrs[0])
            assert own.from_listen_port
            assert seen.from_listen_port


@pytest.mark.parametrize("listen", [(), (WS,), ("/ip6/::1/tcp/0",)])
async def test_a_host_that_listens_nowhere_near_dials_from_any_port(public: Network, listen: tuple[str, ...]) -> None:
    with trio.fail_after(30):
        config = HostConfig(identity=Identity.generate(), network=public, listen=listen)
        async with open_host(config) as alice, host_on(public) as bob:
            await alice.connect(bob.peer_id, bob.addrs)
            (own,) = alice.connections()
            assert not own.from_listen_port
            assert not alice.observations()


async def test_a_second_connection_between_two_ports_leaves_from_another_one(public: Network) -> None:
    with trio.fail_after(30):
        async with host_on(public) as alice, host_on(public) as bob:
            await alice.connect(bob.peer_id, bob.addrs)
            second = await alice.dial_also(bob.peer_id, bob.addrs[0])
            assert not second.from_listen_port
            assert len(alice.connections()) == 2
            back = await bob.dial_also(alice.peer_id, alice.addrs[0])
            assert not back.from_listen_port


def held(*ports: int) -> list[str]:
    """The system's entries for connections between these two ports, in whatever state."""
    entries = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [state for one, other, state in entries if {int(end.split(":")[1], 16) for end in (one, other)} == {*ports}]


async def test_the_ports_are_free_as_soon_as_the_connection_is_closed(public: Network) -> None:
    """A FIN alone would keep this pair of ports for a minute, on the side that closed."""
    with trio.fail_after(60):
        async with host_on(public) as alice, host_on(public) as bob:
            for turn in range(20):
                dialer, other = (alice, bob) if turn % 2 else (bob, alice)
                closer = alice if turn % 3 else bob
                await dialer.connect(other.peer_id, other.addrs)
                (info,) = dialer.connections()
                assert info.from_listen_port, f"turn {turn}"
                await closer.disconnect((bob if closer is alice else alice).peer_id)
                await until_gone(alice)
                await until_gone(bob)
                while alice._swarm.incoming.per_ip or bob._swarm.incoming.per_ip:
                    await trio.lowlevel.checkpoint()
                assert not held(port_of(alice.addrs[0]), port_of(bob.addrs[0])), f"turn {turn}"


async def test_a_close_on_both_sides_leaves_no_entry() -> None:
    near, far = await crossed_pair()
    ports = near.stream.socket.getsockname()[1], far.stream.socket.getsockname()[1]
    with trio.fail_after(5):
        assert held(*ports)
        await near.close()
        assert await far.read(1) == b""  # the FIN before the reset: an end, not an error
        await far.close()
        assert not held(*ports)


async def test_what_was_written_before_a_close_arrives() -> None:
    """A reset drops what the other side has not taken yet: a close waits for that."""
    with trio.fail_after(10):
        near, far = await crossed_pair(send_buffer_bytes=1_000_000)
        await near.write(b"x" * 400_000)
        total = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.close)
            await wait_all_tasks_blocked()
            while more := await far.read(65_536):
                total += len(more)
        assert total == 400_000
        await far.close()


async def test_a_dead_peer_does_not_hold_up_a_close() -> None:
    near, far = await crossed_pair(send_buffer_bytes=1_000_000)
    began = trio.current_time()
    with trio.fail_after(5):
        await near.write(b"x" * 400_000)
        await near.close()
    assert trio.current_time() - began < 2
    await far.close()


async def test_a_host_does_not_take_itself_for_a_peer(public: Network) -> None:
    with trio.fail_after(20):
        async with host_on(public) as alice:
            with pytest.raises(Unreachable, match="this host itself"):
                await alice.connect(Identity.generate().peer_id, [bare(alice.addrs[0])], timeout_seconds=5)
            assert not alice.connections()


async def crossed_pair(*, send_buffer_bytes: int | None = None) -> list[tcp.TcpBytes]:
    """Two ends of one connection, which both sides made by dialing: what a simultaneous open leaves."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    near = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
    if send_buffer_bytes is not None:
        near.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, send_buffer_bytes)
    far = await listener.accept()
    await listener.aclose()
    return [tcp.TcpBytes(near, from_listen_port=True), tcp.TcpBytes(far, from_listen_port=True)]


@pytest.mark.parametrize("turn", range(5))
async def test_two_ordinary_dials_that_become_one_connection_are_made_again(
    public: Network, turn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel joins two dials from the listening ports into one connection with a Noise initiator at each end."""
    del turn
    ends, dial_from = await crossed_pair(), tcp._dial_from
    elsewhere = []

    async def joined(target: tcp.Place, source: tcp.Place | None) -> tcp.TcpBytes:
        if ends and source is not None:
            return ends.pop()
        elsewhere.append(source is None)
        return await dial_from(target, source)

    monkeypatch.setattr(tcp, "_dial_from", joined)
    with trio.fail_after(20):
        async with host_on(public) as alice, host_on(public) as bob:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(alice.connect, bob.peer_id, bob.addrs)
                nursery.start_soon(bob.connect, alice.peer_id, alice.addrs)
            assert elsewhere == [True, True]
            assert await alice.ping(bob.peer_id) > 0
            assert await bob.ping(alice.peer_id) > 0


async def test_a_refused_handshake_is_not_made_twice(public: Network) -> None:
    """A full peer closes at once: that is no simultaneous open."""
    taken = 0

    async def rude(stream: trio.SocketStream) -> None:
        nonlocal taken
        taken += 1

    with trio.fail_after(20):
        async with host_on(public) as alice, trio.open_nursery() as nursery:
            listeners: list[Any] = await nursery.start(trio.serve_tcp, rude, 0)
            port = listeners[0].socket.getsockname()[1]
            with pytest.raises(Unreachable):
                await alice.connect(Identity.generate().peer_id, [f"/ip4/127.0.0.1/tcp/{port}"])
            assert taken == 1
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("target", "listening", "source"),
    [
        ("198.51.100.7", [("0.0.0.0", 4001)], ("0.0.0.0", 4001)),
        ("127.0.0.1", [("0.0.0.0", 4001)], ("0.0.0.0", 4001)),
        ("198.51.100.7", [("::", 4001)], ("0.0.0.0", 4001)),
        ("198.51.100.7", [("::", 4006), ("0.0.0.0", 4001)], ("0.0.0.0", 4001)),
        ("2001:db8::1", [("0.0.0.0", 4001)], None),
        ("2001:db8::1", [("0.0.0.0", 4001), ("::", 4006)], ("::", 4006)),
        ("127.0.0.1", [("127.0.0.1", 4001)], ("127.0.0.1", 4001)),
        ("198.51.100.7", [("127.0.0.1", 4001)], None),
        ("127.0.0.1", [("192.0.2.9", 4001)], None),
        ("127.0.0.1", [], None),
    ],
)
def test_where_a_dial_leaves_from(target: str, listening: list[tcp.Place], source: tcp.Place | None) -> None:
    assert tcp.source_for(target, listening) == source


# --- how we are seen -------------------------------------------------------------------------------------------------


async def seen(host: Host, count: int) -> None:
    with host.subscribe(identified=True) as events:
        while sum(one.observed is not None for one in host.connections()) < count:
            event = await events.receive()
            if isinstance(event, Identified):
                assert event.connection.observed is not None


@pytest.mark.parametrize(("listen", "transport", "tail"), [(TCP, "tcp", "/tcp/{}"), (QUIC, "quic", "/udp/{}/quic-v1")])
async def test_each_connection_tells_the_address_that_it_is_seen_at(
    public: Network, listen: str, transport: str, tail: str
) -> None:
    with trio.fail_after(30):
        async with host_on(public, listen) as alice, host_on(public, listen) as bob:
            await alice.connect(bob.peer_id, bob.addrs)
            await seen(alice, 1)
            await seen(bob, 1)
            for host, other, inbound in ((alice, bob, False), (bob, alice, True)):
                (found,) = host.observations()
                assert found.observed == f"/ip4/127.0.0.1{tail.format(port_of(host.addrs[0]))}"
                assert (found.peer, found.transport, found.inbound) == (other.peer_id, transport, inbound)
                assert found.remote_addr == bare(other.addrs[0])


async def test_a_websocket_connection_is_seen_with_its_transport(public: Network) -> None:
    with trio.fail_after(30):
        async with host_on(public) as alice, host_on(public, WS) as bob:
            await alice.connect(bob.peer_id, bob.addrs)
            await seen(bob, 1)
            (found,) = bob.observations()
            assert found.observed == bare(bob.addrs[0])
            assert not alice.observations()


async def test_tcp_and_quic_to_one_peer_tell_an_address_each(public: Network) -> None:
    with trio.fail_after(30):
        async with host_on(public, TCP, QUIC) as alice, host_on(public, TCP, QUIC, keeps_both=True) as relay:
            alice.keep_both(relay.peer_id)
            for address in relay.addrs:
                await alice.dial_also(relay.peer_id, address)
            await seen(alice, 2)
            assert {one.observed for one in alice.observations()} == {bare(one) for one in alice.addrs}


async def test_a_peer_says_what_it_speaks_and_is_called_covey(public: Network) -> None:
    with trio.fail_after(30):
        async with host_on(public) as alice, host_on(public) as bob:
            bob.handle("/test/one/1", lambda stream: stream.close())
            assert alice.agent(bob.peer_id) is None
            assert not alice.speaks(bob.peer_id, "/test/one/1")
            await alice.connect(bob.peer_id, bob.addrs)
            await seen(alice, 1)
            assert alice.agent(bob.peer_id) == identify.agent()
            assert identify.agent().startswith("covey/")
            assert alice.speaks(bob.peer_id, "/test/one/1")
            assert not alice.speaks(bob.peer_id, "/test/two/1")
            assert alice.listen_addrs_of(bob.peer_id) == (bare(bob.addrs[0]),)


async def test_a_stream_and_a_ping_go_on_the_connection_that_is_named(public: Network) -> None:
    with trio.fail_after(30):
        async with host_on(public) as alice, host_on(public) as bob:
            at: list[str] = []

            async def note(stream: Any) -> None:
                at.append(stream.remote_addr)

            bob.handle("/test/note/1", note)
            await alice.connect(bob.peer_id, bob.addrs)
            second = await alice.dial_also(bob.peer_id, bob.addrs[0])
            for info in alice.connections():
                stream = await alice.open_stream(bob.peer_id, "/test/note/1", on=info.number)
                assert await stream.read_some() == b""
                assert await alice.ping(bob.peer_id, on=info.number) > 0
            assert len(set(at)) == 2
            await alice.close_connection(second.number)
            await alice.close_connection(second.number)
            with pytest.raises(Unreachable):
                await alice.ping(bob.peer_id, on=second.number)
            assert await alice.ping(bob.peer_id) > 0


async def test_dial_also_says_why_it_failed(public: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIAL_SECONDS", 1.0)
    with trio.fail_after(30):
        async with host_on(public) as alice, host_on(public) as bob:
            for address in ("nonsense", "/ip4/127.0.0.1/tcp/1", f"{bare(bob.addrs[0])}/p2p/{alice.peer_id}"):
                with pytest.raises(Unreachable):
                    await alice.dial_also(bob.peer_id, address)
            with pytest.raises(Unreachable):
                await alice.dial_also(alice.peer_id, alice.addrs[0])
