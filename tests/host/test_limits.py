"""Limits on what strangers and peers may hold."""

import contextlib

import pytest
import trio
from libp2p.network.stream.exceptions import StreamError
from prometheus_client import CollectorRegistry

from covey_core.errors import StreamLost, Unreachable
from covey_core.host import Stream, limits
from covey_core.metrics import CoreMetrics
from covey_core.network import Network
from tests.host.conftest import WS, host_on
from tests.host.test_security import port_of


def streams_blocked(registry: CollectorRegistry, direction: str) -> float:
    labels = {"dir": direction, "resource": "stream"}
    return registry.get_sample_value("libp2p_rcmgr_blocked_resources", labels) or 0.0


async def test_a_full_host_refuses_and_says_so_in_its_metrics(public: Network) -> None:
    registry = CollectorRegistry()
    metrics = CoreMetrics(registry, role="relay", version="0")
    with trio.fail_after(30):
        async with (
            host_on(public, max_connections=2, max_connections_per_ip=10, metrics=metrics) as bob,
            host_on(public) as one,
            host_on(public) as two,
            host_on(public) as three,
        ):
            await one.connect(bob.peer_id, bob.addrs)
            await two.connect(bob.peer_id, bob.addrs)
            with pytest.raises(Unreachable):
                await three.connect(bob.peer_id, bob.addrs)
            refused = await trio.open_tcp_stream("127.0.0.1", port_of(bob.addrs[0]))
            assert await refused.receive_some() == b"", "refused after a greeting: the handshake was begun"
            await refused.aclose()
            with bob.subscribe() as events:
                await one.disconnect(bob.peer_id)
                await events.receive()
            await three.connect(bob.peer_id, bob.addrs)
            assert len(bob.connections()) == 2
    blocked = {"dir": "inbound", "resource": "connection"}
    assert registry.get_sample_value("libp2p_rcmgr_blocked_resources", blocked) == 2
    assert registry.get_sample_value("libp2p_rcmgr_connections", {"dir": "inbound"}) == 0
    opened = {"dir": "inbound", "transport": "tcp", "ip_version": "ip4"}
    assert registry.get_sample_value("libp2p_swarm_connections_opened_total", opened) == 3


async def test_a_full_host_dials_nobody(public: Network) -> None:
    with trio.fail_after(30):
        async with host_on(public, max_connections=1) as alice, host_on(public) as bob, host_on(public) as carol:
            await alice.connect(bob.peer_id, bob.addrs)
            with pytest.raises(Unreachable, match="in use"):
                await alice.connect(carol.peer_id, carol.addrs)


@pytest.mark.parametrize("listen", ["/ip4/127.0.0.1/tcp/0", WS])
async def test_one_address_never_takes_the_whole_host(public: Network, listen: str) -> None:
    with trio.fail_after(30):
        async with host_on(public, listen, max_connections=8) as bob, host_on(public) as alice:
            held = [await trio.open_tcp_stream("127.0.0.1", port_of(bob.addrs[0])) for _ in range(2)]
            refused = await trio.open_tcp_stream("127.0.0.1", port_of(bob.addrs[0]))
            with pytest.raises(Unreachable):
                await alice.connect(bob.peer_id, bob.addrs)
            for stream in (*held, refused):
                await stream.aclose()


async def test_a_peer_that_never_finishes_its_handshake_is_cut_off(
    public: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UPGRADE_SECONDS", 0.2)
    for listen in ("/ip4/127.0.0.1/tcp/0", WS):
        with trio.fail_after(10):
            async with host_on(public, listen) as bob:
                stream = await trio.open_tcp_stream("127.0.0.1", port_of(bob.addrs[0]))
                while await stream.receive_some():
                    pass
                await stream.aclose()


async def test_a_peer_has_a_bounded_number_of_streams(public: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INBOUND_STREAMS_PER_CONNECTION", 4)

    async def hold(stream: Stream) -> None:
        await stream.write(b"held")
        while await stream.read_some():
            pass

    with trio.fail_after(30):
        async with host_on(public) as bob, host_on(public) as alice:
            bob.handle("/test/hold/1", hold)
            with alice.subscribe() as events:
                await alice.connect(bob.peer_id, bob.addrs)
                await events.receive()
            held: list[Stream] = []
            for _ in range(10):
                with contextlib.suppress(StreamLost):
                    stream = await alice.open_stream(bob.peer_id, "/test/hold/1")
                    assert await stream.read_some() == b"held"
                    held.append(stream)
            assert 1 <= len(held) <= 4
            await held[0].close()
            with trio.fail_after(10):
                while True:
                    try:
                        again = await alice.open_stream(bob.peer_id, "/test/hold/1")
                    except StreamLost:
                        continue
                    break
            assert await again.read_some() == b"held"
            assert len(alice.connections()) == 1


async def test_our_own_streams_are_bounded_and_do_not_wait(public: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INBOUND_STREAMS_PER_CONNECTION", 1_000)
    monkeypatch.setattr(limits, "UNPROVEN_STREAMS_PER_CONNECTION", 1_000)
    registry = CollectorRegistry()
    metrics = CoreMetrics(registry, role="node", version="1")
    with trio.fail_after(30):
        async with host_on(public) as bob, host_on(public, metrics=metrics) as alice:
            await alice.connect(bob.peer_id, bob.addrs)
            (connection,) = alice._swarm.all_connections()
            for _ in range(limits.OUTBOUND_STREAMS_PER_CONNECTION):
                if connection.muxed_conn.stream_backlog_semaphore.value == 0:  # type: ignore[attr-defined]
                    break
                await connection.open()
            with pytest.raises(StreamLost, match="256 streams"):
                await alice.open_stream(bob.peer_id, "/test/x/1")
    assert streams_blocked(registry, "outbound") == 1


async def test_an_idle_stream_is_dropped_when_it_negotiates_nothing(
    public: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "NEGOTIATE_SECONDS", 0.2)
    with trio.fail_after(30):
        async with host_on(public) as bob, host_on(public) as alice:
            await alice.connect(bob.peer_id, bob.addrs)
            (connection,) = alice._swarm.all_connections()
            net = await connection.open()
            ended = False
            while not ended:
                try:
                    await net.read(100)
                except StreamError:
                    ended = True
            assert await alice.ping(bob.peer_id) > 0


async def test_streams_that_a_peer_never_ends_are_bounded_too(public: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each asks for identify, is answered and closed by us, and stays open on the peer's side."""
    monkeypatch.setattr(limits, "STREAMS_PER_CONNECTION", 20)
    registry = CollectorRegistry()
    metrics = CoreMetrics(registry, role="relay", version="1")
    with trio.fail_after(30):
        async with host_on(public, metrics=metrics) as bob, host_on(public) as alice:
            await alice.connect(bob.peer_id, bob.addrs)
            refused = 0
            for _ in range(40):
                try:
                    stream = await alice.open_stream(bob.peer_id, "/ipfs/id/1.0.0")
                    await stream.read_frame(limit=limits.IDENTIFY_BYTES)
                except StreamLost:
                    refused += 1
            (connection,) = bob._swarm.all_connections()
            assert refused >= 15
            assert len(connection.muxed_conn.streams) <= 21  # type: ignore[attr-defined]
    assert streams_blocked(registry, "inbound") >= 15
