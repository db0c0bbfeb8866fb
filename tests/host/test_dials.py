"""Reaching peers, and being reached."""

import socket
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing
from libp2p.host.exceptions import StreamFailure
from libp2p.network.swarm import _NegativePeerCache
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr
from prometheus_client import CollectorRegistry

from covey_core.errors import CoveyError, SettingsInvalid, StreamLost, Unreachable
from covey_core.host import (
    Connected,
    Disconnected,
    Host,
    HostConfig,
    addresses,
    admitting,
    duplicates,
    factory,
    limits,
    open_host,
)
from covey_core.identity import Identity
from covey_core.metrics import CoreMetrics
from covey_core.network import Network
from tests.host.conftest import TCP, WS, host_on
from tests.host.test_lifetime import until_gone
from tests.host.test_security import port_of


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_peer_that_failed_can_be_dialed_again_at_once(public: Network) -> None:
    identity = Identity.generate()
    address = f"/ip4/127.0.0.1/tcp/{free_port()}"
    registry = CollectorRegistry()
    metrics = CoreMetrics(registry, role="node", version="0")
    with trio.fail_after(30):
        async with host_on(public, metrics=metrics) as alice:
            for _ in range(3):
                with pytest.raises(Unreachable, match="refused"):
                    await alice.connect(identity.peer_id, [address])
            async with host_on(public, address, identity=identity) as bob:
                await alice.connect(bob.peer_id, bob.addrs)
                assert await alice.ping(bob.peer_id) > 0
    failed = {"transport": "tcp", "error": "connection refused"}
    assert registry.get_sample_value("libp2p_swarm_dial_errors_total", failed) == 3


def test_upstream_still_blocks_a_peer_that_failed() -> None:
    cache = _NegativePeerCache()
    cache.mark_failed("peer")
    assert cache.is_blocked("peer"), "upstream dials failed peers again: say so in docs/adr/0004"


async def test_all_addresses_are_tried_and_every_failure_is_told(public: Network) -> None:
    with trio.fail_after(30):
        async with host_on(public) as alice, host_on(public) as bob, host_on(public) as carol:
            dead = [f"/ip4/127.0.0.1/tcp/{free_port()}" for _ in range(2)]
            wrong = carol.addrs[0].partition("/p2p/")[0]
            await alice.connect(bob.peer_id, [*dead, wrong, "nonsense", *bob.addrs])
            assert len(alice.connections(bob.peer_id)) == 1
            other = Identity.generate().peer_id
            with pytest.raises(Unreachable) as caught:
                await alice.connect(other, [*dead, wrong, "nonsense", bob.addrs[0], f"{wrong}/p2p-circuit"])
            for reason in (*dead, wrong, "no multiaddr", "another peer", "circuit"):
                assert reason in str(caught.value)


async def test_a_silent_address_costs_a_bounded_time(public: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIAL_SECONDS", 0.3)
    monkeypatch.setattr(limits, "UPGRADE_SECONDS", 0.3)

    async def silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    with trio.fail_after(30):
        async with host_on(public) as alice, trio.open_nursery() as nursery:
            listeners: list[Any] = await nursery.start(trio.serve_tcp, silent, 0)
            port = listeners[0].socket.getsockname()[1]
            with pytest.raises(Unreachable):
                await alice.connect(Identity.generate().peer_id, [f"/ip4/127.0.0.1/tcp/{port}"])
            with pytest.raises(Unreachable):
                await alice.connect(Identity.generate().peer_id, [f"/ip4/127.0.0.1/tcp/{port}/ws"])
            with pytest.raises(Unreachable, match=r"within 0\.1 s"):
                await alice.connect(Identity.generate().peer_id, [f"/ip4/127.0.0.1/tcp/{port}"], timeout_seconds=0.1)
            nursery.cancel_scope.cancel()


async def test_a_second_address_is_not_dialed_while_the_first_is_quick(public: Network) -> None:
    with trio.fail_after(30):
        async with host_on(public, TCP, WS) as bob, host_on(public) as alice:
            for _ in range(5):
                await alice.connect(bob.peer_id, bob.addrs)
                assert [one.transport for one in bob.connections()] == ["tcp"]
                assert bob._swarm.incoming.upgrading == 0
                await alice.disconnect(bob.peer_id)
                await until_gone(bob)


async def test_a_websocket_peer_that_hangs_up_is_noticed_at_once(public: Network) -> None:
    async def rude(stream: trio.SocketStream) -> None:
        await stream.receive_some()

    with trio.fail_after(3):
        async with host_on(public) as alice, trio.open_nursery() as nursery:
            listeners: list[Any] = await nursery.start(trio.serve_tcp, rude, 0)
            port = listeners[0].socket.getsockname()[1]
            with pytest.raises(Unreachable):
                await alice.connect(Identity.generate().peer_id, [f"/ip4/127.0.0.1/tcp/{port}/ws"])
            nursery.cancel_scope.cancel()


async def test_names_are_resolved_as_the_system_does(public: Network) -> None:
    public = replace(public, bootstraps=(f"/dns4/localhost/tcp/1/p2p/{Identity.generate().peer_id}",))
    with trio.fail_after(30):
        for listen, suffix in ((TCP, ""), (WS, "/ws")):
            async with host_on(public) as alice, host_on(public, listen) as bob:
                await alice.connect(bob.peer_id, [f"/dns4/localhost/tcp/{port_of(bob.addrs[0])}{suffix}"])
                with pytest.raises(Unreachable, match=r"nobody\.invalid"):
                    await alice.connect(Identity.generate().peer_id, ["/dns4/nobody.invalid/tcp/1"])


@pytest.mark.parametrize("place", ["/dns4/localhost", "/dnsaddr/localhost", "/ip4/192.0.2.1/ip4/127.0.0.1"])
@pytest.mark.parametrize("listen", [TCP, WS])
async def test_an_address_that_hides_where_it_leads_is_not_dialed(public: Network, place: str, listen: str) -> None:
    with trio.fail_after(30):
        async with host_on(public) as alice, host_on(public, listen) as bob:
            suffix = "/ws" if listen == WS else ""
            with pytest.raises(Unreachable, match=r"scope|kind|one machine"):
                await alice.connect(bob.peer_id, [f"{place}/tcp/{port_of(bob.addrs[0])}{suffix}"])
            assert not bob.connections()


async def test_a_host_that_only_dials_listens_nowhere(public: Network) -> None:
    config = HostConfig(identity=Identity.generate(), network=public)
    with trio.fail_after(30):
        async with open_host(config) as alice, host_on(public) as bob:
            assert alice.addrs == ()
            await alice.connect(bob.peer_id, bob.addrs)
            assert await bob.ping(alice.peer_id) > 0


async def test_ip6_and_two_ports_and_announced_addresses(public: Network) -> None:
    announced = ("/dns4/relay.example/tcp/4001", "/ip4/203.0.113.7/tcp/4002/ws")
    with trio.fail_after(30):
        async with (
            host_on(public, TCP, WS, "/ip6/::1/tcp/0") as bob,
            host_on(public, announce=announced) as carol,
            host_on(public) as alice,
        ):
            assert len(bob.addrs) == 3
            for address in bob.addrs:
                await alice.connect(bob.peer_id, [address])
                (seen,) = alice.connections()
                assert seen.remote_addr == address.partition("/p2p/")[0]
                (seen,) = bob.connections()
                kind, ip, _, port = seen.remote_addr.split("/")[1:5]
                assert (kind, ip) == (("ip6", "::1") if "ip6" in address else ("ip4", "127.0.0.1"))
                assert int(port) > 0
                assert seen.transport == ("ws" if "/ws" in address else "tcp")
                assert bob._swarm.incoming.per_ip == {"::/56" if "ip6" in address else "127.0.0.1": 1}
                await alice.disconnect(bob.peer_id)
                await until_gone(bob)
            assert carol.addrs == tuple(f"{one}/p2p/{carol.peer_id}" for one in announced)


@pytest.mark.parametrize(
    "listen",
    [
        ("/ip4/127.0.0.1/tcp/4801", "/ip4/127.0.0.1/tcp/4801/ws"),
        ("/ip4/127.0.0.1/udp/4801/quic",),
        ("/dns4/localhost/tcp/4801",),
        ("localhost:4801",),
        ("/ip4/127.0.0.1",),
        ("/ip4/192.0.2.1/tcp/4801",),
    ],
)
async def test_an_address_that_cannot_be_listened_on_is_refused(public: Network, listen: tuple[str, ...]) -> None:
    with pytest.raises(SettingsInvalid):
        async with host_on(public, *listen):
            raise AssertionError("it listens")


async def test_one_address_that_fails_is_enough_to_refuse(public: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream is content when one of several addresses works."""
    monkeypatch.setattr(factory, "_refuse_taken_ports", lambda _listen: None)
    with pytest.raises(SettingsInvalid):
        async with host_on(public, TCP, "/ip4/192.0.2.1/tcp/0"):
            raise AssertionError("it listens")


@pytest.mark.parametrize("suffix", ["", "/ws"])
async def test_a_port_that_is_taken_is_refused(public: Network, suffix: str) -> None:
    """Upstream listens with SO_REUSEPORT: a second process would get half of the connections of the first."""
    async with host_on(public) as bob:
        with pytest.raises(SettingsInvalid, match="cannot listen"):
            async with host_on(public, f"/ip4/127.0.0.1/tcp/{port_of(bob.addrs[0])}{suffix}"):
                raise AssertionError("it listens")


async def test_an_error_of_the_block_leaves_it_as_it_is(public: Network) -> None:
    with pytest.raises(CoveyError, match="mine"):
        async with host_on(public):
            raise CoveyError("mine")


@pytest.mark.parametrize("turn", range(20))
async def test_two_dials_that_cross_leave_one_connection_to_both(
    public: Network, turn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    del turn
    monkeypatch.setattr(limits, "RETIRE_SECONDS", 0.05)
    with trio.fail_after(30):
        async with host_on(public) as alice, host_on(public) as bob:
            with alice.subscribe() as events:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(alice.connect, bob.peer_id, bob.addrs)
                    nursery.start_soon(bob.connect, alice.peer_id, alice.addrs)
                assert await alice.ping(bob.peer_id) > 0
                assert await bob.ping(alice.peer_id) > 0
                first = await events.receive()
                assert isinstance(first, Connected)
                if len(alice.connections()) > 1 or len(bob.connections()) > 1:
                    ended = 0
                    while not ended:
                        ended += isinstance(await events.receive(), Disconnected)
            await both_have_one(alice, bob)
            assert await alice.ping(bob.peer_id) > 0
            assert await bob.ping(alice.peer_id) > 0


async def both_have_one(alice: Host, bob: Host) -> None:
    for host in (alice, bob):
        with host.subscribe() as events:
            while len(host.connections()) > 1:
                await events.receive()
        assert len(host.connections()) == 1


async def test_a_newer_connection_replaces_one_that_the_dialer_gave_up(
    public: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bob restarts without a word: his new process dials, alice still has the old connection."""
    monkeypatch.setattr(limits, "SIMULTANEOUS_SECONDS", 0.0)
    monkeypatch.setattr(limits, "RETIRE_SECONDS", 0.0)
    with trio.fail_after(30):
        async with host_on(public) as alice, host_on(public) as bob:
            await alice.connect(bob.peer_id, bob.addrs)
            (old,) = alice.connections()
            target = ID.from_base58(alice.peer_id)
            with alice.subscribe() as events:
                await bob._swarm.dial(Multiaddr(alice.addrs[0].partition("/p2p/")[0]), target)
                told = await events.receive()
                assert told.connection.inbound
                assert alice.connections(bob.peer_id)[0].number == told.connection.number
            await both_have_one(alice, bob)
            assert alice.connections()[0].number != old.number


async def test_a_peer_holds_a_bounded_number_of_connections(public: Network) -> None:
    with trio.fail_after(30):
        async with host_on(public) as alice, host_on(public) as bob:
            target = ID.from_base58(bob.peer_id)
            for _ in range(3 * limits.MAX_CONNECTIONS_PER_PEER):
                await alice._swarm.dial(Multiaddr(bob.addrs[0].partition("/p2p/")[0]), target)
                assert len(bob.connections()) <= limits.MAX_CONNECTIONS_PER_PEER + 1
            assert await alice.ping(bob.peer_id) > 0


async def test_libp2ps_own_code_connects_and_opens_through_the_same_door(private: Network) -> None:
    with trio.fail_after(30):
        async with host_on(private) as alice, host_on(private) as bob:
            target = ID.from_base58(bob.peer_id)
            await alice.libp2p.connect(PeerInfo(target, [Multiaddr(one) for one in bob.addrs]))
            (connection,) = alice.connections()
            assert connection.admitted
            await alice.disconnect(bob.peer_id)
            net = await alice.libp2p.new_stream(target, ["/ipfs/ping/1.0.0"])  # type: ignore[list-item]
            await net.write(b"x" * 32)
            assert await net.read(32) == b"x" * 32


async def test_identify_fills_the_peer_store_and_tells_where_a_peer_is_seen(public: Network) -> None:
    with trio.fail_after(30):
        async with host_on(public) as alice, host_on(public, WS) as bob:
            await alice.connect(bob.peer_id, bob.addrs)
            target = ID.from_base58(bob.peer_id)
            store = alice.libp2p.get_peerstore()
            while not store.has_peer(target) or "/ipfs/ping/1.0.0" not in store.get_protocols(target):
                await trio.lowlevel.checkpoint()
            assert [str(one) for one in store.addrs(target)] == list(bob.addrs)


@pytest.mark.parametrize("open_seconds", [1.0, 20.0])
async def test_open_stream_goes_on_with_the_next_connection_and_the_silent_one_is_closed(
    public: Network, monkeypatch: pytest.MonkeyPatch, open_seconds: float
) -> None:
    monkeypatch.setattr(limits, "OPEN_STREAM_SECONDS", open_seconds)
    monkeypatch.setattr(limits, "NEGOTIATE_SECONDS", 1.0)
    monkeypatch.setattr(limits, "RETIRE_SECONDS", 60.0)
    monkeypatch.setattr(duplicates, "to_use", lambda legs, **_: sorted(legs, key=lambda one: one.number))
    with trio.fail_after(30):
        async with (
            host_on(public, liveness_interval_seconds=1_000, liveness_timeout_seconds=0.2) as alice,
            host_on(public, liveness_interval_seconds=1_000) as bob,
        ):
            target = ID.from_base58(bob.peer_id)
            bare = Multiaddr(bob.addrs[0].partition("/p2p/")[0])
            with alice.subscribe() as events:
                first = await alice._swarm.dial(bare, target)
                await alice._swarm.dial(bare, target)
                deaf: Any = first.muxed_conn
                monkeypatch.setattr(deaf, "_write_frame", _swallow)
                assert await alice.ping(bob.peer_id) > 0
                gone = await events.receive()
                while not isinstance(gone, Disconnected):
                    gone = await events.receive()
                assert (gone.connection.number, gone.left) == (first.number, 1)


async def _swallow(data: bytes) -> None:
    await trio.lowlevel.checkpoint()


async def test_libp2ps_own_code_waits_for_admission_too(private: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(admitting.Admission, "prove", never)
    monkeypatch.setattr(limits, "OPEN_STREAM_SECONDS", 0.3)
    with trio.fail_after(30):
        async with host_on(private) as alice, host_on(private) as bob:
            target = ID.from_base58(bob.peer_id)
            await alice._swarm.dial(Multiaddr(bob.addrs[0].partition("/p2p/")[0]), target)
            with pytest.raises(StreamFailure):
                await alice.libp2p.new_stream(target, ["/ipfs/ping/1.0.0"])  # type: ignore[list-item]


async def test_waiting_for_nobody_is_an_error_with_its_reason(public: Network) -> None:
    async with host_on(public) as alice:
        with pytest.raises(Unreachable, match="not connected"):
            await alice.open_stream(Identity.generate().peer_id, "/x/1")
        with pytest.raises(CoveyError, match="no PeerId"):
            await alice.open_stream("nonsense", "/x/1")  # type: ignore[arg-type]
        with pytest.raises((Unreachable, StreamLost)):
            await alice.ping(Identity.generate().peer_id)


def test_addresses_are_read_for_what_they_are() -> None:
    relay = Identity.generate().peer_id
    circuit = addresses.parse(f"/ip4/192.0.2.1/tcp/4001/p2p/{relay}/p2p-circuit")
    assert addresses.is_circuit(circuit)
    assert addresses.relay_of(circuit) == relay
    assert addresses.transport_label(circuit) == "other"
    assert addresses.ip_of(circuit) is None
    labels = {
        "/ip4/192.0.2.1/tcp/1": ("tcp", "ip4"),
        "/ip6/2001:db8::1/tcp/1": ("tcp", "ip6"),
        "/dns6/a.example/tcp/1/ws": ("ws", "ip6"),
        "/dns4/a.example/tcp/443/wss": ("ws", "ip4"),
        "/ip4/192.0.2.1/udp/1/quic-v1": ("quic", "ip4"),
    }
    for text, (transport, version) in labels.items():
        address = addresses.parse(text)
        assert (addresses.transport_label(address), addresses.ip_version_label(address)) == (transport, version)
    assert addresses.ip_group("192.0.2.1") == "192.0.2.1"
    assert addresses.ip_group("2001:db8:1:2ff::1") == addresses.ip_group("2001:db8:1:200::9")
    assert addresses.ip_group("::ffff:192.0.2.1") == "192.0.2.1"
    assert addresses.ip_group("fe80::1%eth0") == "fe80::/56"


async def test_waiting_for_other_dials_to_the_peer_has_a_deadline_too(public: Network) -> None:
    with trio.fail_after(30), socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}"
        peer = Identity.generate().peer_id
        async with host_on(public) as alice, trio.open_nursery() as nursery:

            async def dial_for_long() -> None:
                await alice.connect(peer, [address], timeout_seconds=60)

            nursery.start_soon(dial_for_long)
            await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(3), pytest.raises(Unreachable, match="no answer within"):
                await alice.connect(peer, [address], timeout_seconds=0.01)
            nursery.cancel_scope.cancel()
        assert alice._dials._dialing == {}
