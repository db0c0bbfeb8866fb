"""Hosts over QUIC on loopback: who may come in, where dials leave from, what garbage does, what is left behind."""

import contextlib
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from aioquic.buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicPacketType, pull_quic_header
from libp2p.crypto.ed25519 import create_new_key_pair
from multiaddr import Multiaddr

from covey_core.errors import SettingsInvalid, StreamLost, Unreachable
from covey_core.host import Connected, Disconnected, Host, Stream, limits, quic_endpoint
from covey_core.host.opening import libp2p_id
from covey_core.host.quic_engine import Engine
from covey_core.host.quic_tls import configuration, credentials
from covey_core.host.supervision import Supervision
from covey_core.identity import Identity
from covey_core.network import Network, new_network
from tests.host.conftest import TCP, host_on

QUIC = "/ip4/127.0.0.1/udp/0/quic-v1"


async def echo(stream: Stream) -> None:
    while data := await stream.read_some():
        await stream.write(data)


def bare(addr: str) -> str:
    return addr.partition("/p2p/")[0]


def port_of(host: Host) -> int:
    return int(host.addrs[0].split("/")[4])


def quic_of(host: Host) -> Any:
    return host._swarm.quic


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def udp_socket() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.bind(("127.0.0.1", 0))
        plain.settimeout(5)
        yield plain


def first_datagram(config: QuicConfiguration | None = None) -> bytes:
    """What a client says first."""
    engine = Engine(configuration=config or configuration(credentials(create_new_key_pair()), is_client=True))
    engine.connect(("127.0.0.1", 1), 0.0)
    return engine.datagrams_to_send(0.0)[0][0]


async def until(true: Any) -> None:
    with trio.fail_after(10):
        while not true():
            await trio.testing.wait_all_tasks_blocked(0.005)


async def nothing_comes(plain: socket.socket) -> None:
    await trio.testing.wait_all_tasks_blocked(0.05)
    plain.settimeout(0)
    with pytest.raises(BlockingIOError):
        plain.recv(2_000)
    plain.settimeout(5)


@pytest.mark.parametrize("kind", ["public", "private"])
@pytest.mark.parametrize("listen", [QUIC, "/ip6/::1/udp/0/quic-v1"])
async def test_two_hosts_talk_over_quic(kind: str, listen: str, request: pytest.FixtureRequest) -> None:
    network: Network = request.getfixturevalue(kind)
    with trio.fail_after(20):
        async with host_on(network, listen) as bob, host_on(network) as alice:
            bob.handle("/test/echo/1", echo)
            with alice.subscribe() as events:
                await alice.connect(bob.peer_id, bob.addrs)
                assert isinstance(await events.receive(), Connected)
                (ours,), (theirs,) = alice.connections(), bob.connections()
                assert (ours.transport, ours.inbound, ours.admitted, ours.remote_addr) == (
                    "quic",
                    False,
                    True,
                    bare(bob.addrs[0]),
                )
                assert (theirs.transport, theirs.inbound, theirs.admitted) == ("quic", True, True)
                stream = await alice.open_stream(bob.peer_id, "/test/echo/1")
                async with trio.open_nursery() as nursery:
                    data = bytes(range(256)) * 4_000
                    nursery.start_soon(lambda: stream.write_frame(data, limit=2_000_000))
                    assert await stream.read_frame(limit=2_000_000) == data
                await stream.close_write()
                assert await stream.read_frame(limit=10) is None
                assert await alice.ping(bob.peer_id) > 0
                assert await bob.ping(alice.peer_id) > 0
                await alice.disconnect(bob.peer_id)
                assert isinstance(await events.receive(), Disconnected)
            await until(lambda: bob.connections() == ())


async def test_a_dial_leaves_from_the_listening_port_and_the_peer_sees_it(public: Network) -> None:
    async with host_on(public, QUIC) as bob, host_on(public, TCP, QUIC) as alice:
        await alice.connect(bob.peer_id, bob.addrs)
        own = bare(alice.addrs[1])
        assert [one.remote_addr for one in bob.connections()] == [own]
        await until(lambda: alice.connections()[0].observed is not None)
        assert alice.connections()[0].observed == own
        assert alice.connections()[0].from_listen_port
        await until(lambda: bob.connections()[0].observed is not None)
        assert bob.connections()[0].observed == bare(bob.addrs[0])


async def test_a_host_that_listens_on_tcp_only_dials_quic_from_another_port(public: Network) -> None:
    async with host_on(public, QUIC) as bob, host_on(public, TCP) as alice:
        assert not quic_of(alice).listening
        await alice.connect(bob.peer_id, bob.addrs)
        assert await alice.ping(bob.peer_id) > 0
        assert not alice.connections()[0].from_listen_port
        seen = bob.connections()[0].remote_addr
        await alice.disconnect(bob.peer_id)
        with pytest.raises(Unreachable):  # such a socket takes nobody in
            await bob.connect(alice.peer_id, [seen], timeout_seconds=0.5)


async def test_spray_sends_one_random_datagram_from_the_listening_port(public: Network) -> None:
    async with host_on(public, QUIC) as alice:
        with udp_socket() as plain:
            target = Multiaddr(f"/ip4/127.0.0.1/udp/{plain.getsockname()[1]}/quic-v1")
            quic_of(alice).spray(target)
            quic_of(alice).spray(target)
            datagrams = [plain.recvfrom(2_000) for _ in range(2)]
        assert {source for _, source in datagrams} == {("127.0.0.1", port_of(alice))}
        assert [len(data) for data, _ in datagrams] == [64, 64]
        assert datagrams[0][0] != datagrams[1][0]


async def test_another_peer_than_the_one_dialed_is_refused(public: Network) -> None:
    async with host_on(public, QUIC) as bob, host_on(public, QUIC) as alice:
        with pytest.raises(Unreachable, match="another peer"):
            await alice.connect(Identity.generate().peer_id, [bare(bob.addrs[0])])
        assert alice.connections() == ()
        await until(lambda: bob.connections() == ())


async def test_a_client_without_a_certificate_is_refused(public: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless(own: Any, *, is_client: bool) -> QuicConfiguration:
        config = configuration(own, is_client=is_client)
        if is_client:
            config.certificate = config.private_key = None
        return config

    monkeypatch.setattr(quic_endpoint, "configuration", nameless)
    async with host_on(public, QUIC) as bob, host_on(public, QUIC) as alice:
        with bob.subscribe() as events:
            with contextlib.suppress(Unreachable):
                await alice.connect(bob.peer_id, bob.addrs)
            await until(lambda: alice.connections() == ())
            assert alice.connections() == ()
            assert bob.connections() == ()
            with pytest.raises(trio.WouldBlock):
                events.receive_nowait()


async def test_two_networks_do_not_meet_over_quic(private: Network) -> None:
    async with host_on(new_network("other", private=True), QUIC) as bob, host_on(private, QUIC) as alice:
        with pytest.raises(Unreachable):
            await alice.connect(bob.peer_id, bob.addrs)
        await until(lambda: bob.connections() == ())


async def test_garbage_ends_nobodys_connection(public: Network) -> None:
    first = first_datagram()
    flipped = bytearray(first)
    flipped[200] ^= 1
    async with host_on(public, QUIC) as bob, host_on(public, QUIC) as alice:
        await alice.connect(bob.peer_id, bob.addrs)
        standing = alice.connections()[0].number
        with udp_socket() as plain:
            place = ("127.0.0.1", port_of(bob))
            for garbage in (
                b"",
                b"\x00",
                b"\xc0",
                *(secrets.token_bytes(size) for size in (1, 8, 9, 20, 64, 1_199, 1_200, 1_500, 9_000)),
                *(bytes([head]) + secrets.token_bytes(1_300) for head in (0x40, 0x7F, 0x80, 0xC0, 0xF0, 0xFF)),
                *(first[:size] for size in (5, 6, 30, 100, 1_199)),
                bytes(flipped),
                b"\xc0\x00\x00\x00\x01\x08" + bytes(8) + b"\x14" + bytes(20) + b"\x80" * 1_200,
                b"\xc0\x00\x00\x00\x01\x01\x00\x00" + bytes(1_300),
            ):
                plain.sendto(garbage, place)
        assert await alice.ping(bob.peer_id) > 0
        async with host_on(public, QUIC) as carol:
            await carol.connect(bob.peer_id, bob.addrs)
            assert await carol.ping(bob.peer_id) > 0
        assert [one.number for one in alice.connections()] == [standing]
        kept = set(quic_of(bob)._listening[0]._by_cid.values())
        assert len(kept) <= 2


async def test_an_unknown_version_is_answered_with_ours_and_only_to_large_datagrams(public: Network) -> None:
    async with host_on(public, QUIC) as bob:
        with udp_socket() as plain:
            place = ("127.0.0.1", port_of(bob))
            strange = b"\xc0\xff\x00\x00\x1d\x08" + bytes(8) + b"\x08" + bytes(8)
            plain.sendto(strange + bytes(1_100), place)  # too small: no answer
            plain.sendto(strange + bytes(1_300), place)
            answer = await trio.to_thread.run_sync(plain.recv, 2_000)
        header = pull_quic_header(Buffer(data=answer), host_cid_length=8)
        assert header.packet_type is QuicPacketType.VERSION_NEGOTIATION
        assert header.supported_versions == [1]


async def test_many_open_handshakes_make_strangers_prove_their_address_first(public: Network) -> None:
    async with host_on(public, QUIC) as bob, host_on(public, QUIC) as alice:
        endpoint = quic_of(bob)._listening[0]
        with udp_socket() as plain:
            place = ("127.0.0.1", port_of(bob))
            for _ in range(limits.QUIC_UNVALIDATED_HANDSHAKES):
                plain.sendto(first_datagram(), place)
            await until(lambda: len(endpoint._unproven) == limits.QUIC_UNVALIDATED_HANDSHAKES)
            with udp_socket() as other:
                opening = first_datagram()
                other.sendto(opening, place)
                answer = await trio.to_thread.run_sync(other.recv, 2_000)
            header = pull_quic_header(Buffer(data=answer), host_cid_length=8)
            assert header.packet_type is QuicPacketType.RETRY
            assert len(answer) < len(opening)
            assert len(endpoint._unproven) == limits.QUIC_UNVALIDATED_HANDSHAKES, "nothing is kept for them"
            await alice.connect(bob.peer_id, bob.addrs)  # who answers comes in
            assert await alice.ping(bob.peer_id) > 0


async def test_a_handshake_that_is_not_finished_ends_in_time(public: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UPGRADE_SECONDS", 0.2)
    async with host_on(public, QUIC) as bob:
        endpoint = quic_of(bob)._listening[0]
        with udp_socket() as plain:
            plain.sendto(first_datagram(), ("127.0.0.1", port_of(bob)))
            await until(lambda: len(endpoint._unproven) == 1)
            await until(lambda: not endpoint._unproven and not endpoint._by_cid)


async def test_the_bounds_of_all_connections_hold_for_quic_too(public: Network) -> None:
    async with (
        host_on(public, QUIC, max_connections_per_ip=2) as bob,
        host_on(public, QUIC) as alice,
        host_on(public, QUIC) as carol,
        host_on(public, QUIC) as dave,
    ):
        for guest in (alice, carol):
            await guest.connect(bob.peer_id, bob.addrs)
        with pytest.raises(Unreachable):
            await dave.connect(bob.peer_id, bob.addrs, timeout_seconds=1)
        assert len(bob.connections()) == 2
        with udp_socket() as plain:  # no work is done for whom there is no room
            plain.settimeout(0)
            plain.sendto(first_datagram(), ("127.0.0.1", port_of(bob)))
            await trio.testing.wait_all_tasks_blocked(0.1)
            with pytest.raises(BlockingIOError):
                plain.recv(2_000)
        await alice.disconnect(bob.peer_id)
        await until(lambda: len(bob.connections()) == 1)
        await dave.connect(bob.peer_id, bob.addrs)


async def test_handshakes_are_bounded_with_those_of_all_other_transports(
    public: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_UPGRADES", 3)
    async with host_on(public, QUIC) as bob:
        endpoint = quic_of(bob)._listening[0]
        with udp_socket() as plain:
            for _ in range(10):
                plain.sendto(first_datagram(), ("127.0.0.1", port_of(bob)))
            await until(lambda: bob._swarm.incoming.upgrading == 3)
            await until(lambda: len(endpoint._unproven) == 3)


async def test_a_port_that_is_taken_is_refused(public: Network) -> None:
    with udp_socket() as plain, pytest.raises(SettingsInvalid, match="UDP port"):
        async with host_on(public, f"/ip4/127.0.0.1/udp/{plain.getsockname()[1]}/quic-v1"):
            raise AssertionError("it listens")


async def test_a_peer_that_vanishes_is_noticed(public: Network) -> None:
    async with (
        host_on(public, QUIC, liveness_interval_seconds=0.2, liveness_timeout_seconds=0.3) as alice,
        host_on(public, QUIC) as bob,
    ):
        with alice.subscribe() as events:
            await alice.connect(bob.peer_id, bob.addrs)
            assert isinstance(await events.receive(), Connected)
            lost = quic_of(bob)._listening[0]
            lost.transmit = lambda _datagram, _place: None
            for connection in set(lost._by_cid.values()):
                connection._transmit = lost.transmit
            with trio.fail_after(10):
                assert isinstance(await events.receive(), Disconnected)


async def test_nothing_is_left_of_200_connections(public: Network) -> None:
    async with host_on(public, QUIC) as bob, host_on(public, QUIC) as alice:
        bob.handle("/test/echo/1", echo)

        async def cycle() -> None:
            await alice.connect(bob.peer_id, bob.addrs)
            stream = await alice.open_stream(bob.peer_id, "/test/echo/1")
            await stream.write(b"x")
            assert await stream.read_some() == b"x"
            await alice.disconnect(bob.peer_id)
            await until(lambda: bob.connections() == ())

        await cycle()
        await trio.testing.wait_all_tasks_blocked(0.05)
        tasks, files = trio.lowlevel.current_statistics().tasks_living, open_files()
        for _ in range(200):
            await cycle()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert trio.lowlevel.current_statistics().tasks_living <= tasks
        assert open_files() <= files
        for host in (alice, bob):
            endpoint = quic_of(host)._listening[0]
            assert endpoint._by_cid == {}
            assert endpoint._unproven == set()
            assert host._swarm.incoming.per_ip == {}


async def test_sockets_close_with_the_host(public: Network) -> None:
    before = open_files()
    async with host_on(public, QUIC) as bob, host_on(public, TCP) as alice:
        await alice.connect(bob.peer_id, bob.addrs)
    assert open_files() <= before + 1


async def test_a_peer_that_missed_the_end_is_told_again(public: Network) -> None:
    async with host_on(public, QUIC) as bob, host_on(public, QUIC) as alice:
        await alice.connect(bob.peer_id, bob.addrs)
        await until(lambda: len(bob.connections()) == 1)
        endpoint, (gone,) = quic_of(bob)._listening[0], set(quic_of(bob)._listening[0]._by_cid.values())
        gone._transmit = lambda _datagram, _place: None
        await bob.disconnect(alice.peer_id)
        await until(lambda: endpoint._by_cid == {})
        with contextlib.suppress(StreamLost, Unreachable):
            await alice.ping(bob.peer_id)
        await until(lambda: alice.connections() == ())


async def test_who_names_an_ended_connection_is_answered_three_times_at_most(public: Network) -> None:
    async with host_on(public, QUIC) as bob:
        endpoint = quic_of(bob)._listening[0]
        with udp_socket() as plain:
            endpoint._bury(b"12345678", b"the end", plain.getsockname())
            for _ in range(20):
                plain.sendto(b"\x4012345678" + bytes(30), ("127.0.0.1", port_of(bob)))
            for _ in range(limits.QUIC_LAST_WORDS):
                assert await trio.to_thread.run_sync(plain.recv, 100) == b"the end"
            await nothing_comes(plain)
        for number in range(2_000):
            endpoint._bury(number.to_bytes(8, "big"), b"x", ("127.0.0.1", 1))
        assert len(endpoint._ended) == limits.QUIC_ENDED_REMEMBERED


async def test_nobody_has_the_end_of_a_connection_sent_to_somebody_else(public: Network) -> None:
    """A datagram of 9 bytes with a forged source would bring a third party up to 1,200."""
    async with host_on(public, QUIC) as bob:
        endpoint = quic_of(bob)._listening[0]
        with udp_socket() as victim, udp_socket() as asker:
            endpoint._bury(b"elsewere", b"the end", asker.getsockname())
            victim.sendto(b"\x40elsewere" + bytes(30), ("127.0.0.1", port_of(bob)))
            await nothing_comes(victim)
            endpoint._bury(b"too long", bytes(1_200), asker.getsockname())
            asker.sendto(b"\x40too long", ("127.0.0.1", port_of(bob)))
            await nothing_comes(asker)
            asker.sendto(b"\x40elsewere", ("127.0.0.1", port_of(bob)))
            assert await trio.to_thread.run_sync(asker.recv, 100) == b"the end"


async def test_an_error_in_a_connections_timer_ends_that_connection_only(public: Network) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    async with host_on(public, QUIC) as bob, host_on(public, TCP) as alice, host_on(public, TCP) as carol:
        await alice.connect(bob.peer_id, bob.addrs)
        await carol.connect(bob.peer_id, bob.addrs)
        await until(lambda: len(bob.connections()) == 2)
        (held,) = bob._swarm.best(libp2p_id(alice.peer_id))
        held.muxed_conn._engine.get_timer = broken
        held.muxed_conn._rearm.set()
        await until(lambda: not bob.connections(alice.peer_id))
        assert await carol.ping(bob.peer_id) > 0


async def test_an_error_after_a_connections_admission_ends_nothing_else(
    public: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    async with host_on(public, QUIC) as bob, host_on(public, TCP) as alice:
        monkeypatch.setattr(Supervision, "_retire_surplus", broken)
        await alice.connect(bob.peer_id, bob.addrs)
        assert await alice.ping(bob.peer_id) > 0


async def test_first_datagrams_that_nobody_can_read_soon_cost_little(
    public: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each took a state machine of its own, 2.3 ms, and never counted as a handshake under way."""
    made: list[Engine] = []

    def make(**rest: Any) -> Engine:
        made.append(Engine(**rest))
        return made[-1]

    monkeypatch.setattr(quic_endpoint, "Engine", make)
    async with host_on(public, QUIC) as bob, host_on(public, TCP) as alice:
        good = first_datagram()
        with udp_socket() as stranger:
            for _ in range(100):
                stranger.sendto(good[:6] + secrets.token_bytes(8) + good[14:], ("127.0.0.1", port_of(bob)))
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert len(made) == limits.QUIC_UNVALIDATED_HANDSHAKES
            answer = await trio.to_thread.run_sync(stranger.recv, 2_000)
            header = pull_quic_header(Buffer(data=answer), host_cid_length=limits.QUIC_CONNECTION_ID_BYTES)
            assert header.packet_type is QuicPacketType.RETRY
        await alice.connect(bob.peer_id, bob.addrs)
