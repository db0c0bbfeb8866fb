"""Punches over loopback: roles, windows, what becomes of each address. Real NATs stand in tests/nat."""

import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from libp2p.network.connection.raw_connection import RawConnection
from multiaddr import Multiaddr

from covey_core.errors import Unreachable
from covey_core.host import Host, PunchAddress, PunchResult, limits, punch_dials, tcp
from covey_core.host.opening import libp2p_id
from covey_core.host.quic import Quic
from covey_core.identity import Identity
from covey_core.network import Network, new_network
from tests.host.conftest import TCP, host_on
from tests.host.test_dials import free_port
from tests.host.test_lifetime import descriptors, settled, until_gone
from tests.host.test_listen_port import QUIC, bare, crossed_pair
from tests.relay.test_connect import has_ip6

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SO_REUSEPORT as Linux has it")

TCP6, QUIC6 = "/ip6/::1/tcp/0", "/ip6/::1/udp/0/quic-v1"
LISTENS = [(TCP,), (QUIC,), (TCP, QUIC), (TCP6,), (QUIC6,), (TCP, TCP6, QUIC6)]


@pytest.fixture
def public() -> Network:
    """A public network in which loopback may be dialed."""
    return new_network("punches", private=False, subnets=("127.0.0.0/8", "::1/128"))


@pytest.fixture
def private() -> Network:
    return new_network("punches", private=True, subnets=("127.0.0.0/8",))


async def both_punch(client: Host, server: Host, *, window: float = 5) -> tuple[PunchResult, PunchResult]:
    """One punch of two hosts; the results of client and server."""
    results: dict[bool, PunchResult] = {}

    async def one(host: Host, other: Host, is_client: bool) -> None:
        results[is_client] = await host.punch(other.peer_id, other.addrs, client=is_client, window_seconds=window)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, client, server, True)
        nursery.start_soon(one, server, client, False)
    return results[True], results[False]


@asynccontextmanager
async def silent_port() -> AsyncIterator[str]:
    """The address of somebody who takes connections and never says a word."""

    async def silent(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            while await stream.receive_some():
                pass

    async with trio.open_nursery() as nursery:
        listeners: list[Any] = await nursery.start(trio.serve_tcp, silent, 0)
        yield f"/ip4/127.0.0.1/tcp/{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


def of(result: PunchResult, addr: str) -> PunchAddress:
    (found,) = [one for one in result.addresses if one.addr == bare(addr)]
    return found


@pytest.mark.parametrize("listen", LISTENS)
async def test_punches_in_a_row_lead_to_a_connection_on_both_sides(public: Network, listen: tuple[str, ...]) -> None:
    if any("/ip6/" in addr for addr in listen) and not has_ip6():
        pytest.skip("this machine has no IPv6 loopback")
    versions = {addr.split("/")[1] for addr in listen}
    turns = 40 if versions == {"ip4"} else 10
    with trio.fail_after(90):
        async with host_on(public, *listen) as alice, host_on(public, *listen) as bob:
            for turn in range(turns):
                client, server = (alice, bob) if turn % 2 else (bob, alice)
                for result in await both_punch(client, server):
                    assert result.connection is not None, f"turn {turn}: {result.addresses}"
                    assert result.connection.punched
                    assert result.connection.admitted
                    assert "success" in [one.outcome for one in result.addresses]
                    assert {one.ip_version for one in result.addresses} == versions
                    assert result.connection.remote_addr.split("/")[1] in versions
                assert await alice.ping(bob.peer_id) > 0
                assert await bob.ping(alice.peer_id) > 0
                await alice.disconnect(bob.peer_id)
                await until_gone(bob)
                assert not alice._swarm.punches
                assert not bob._swarm.punches


async def test_a_punch_ends_with_proof_of_membership(private: Network) -> None:
    with trio.fail_after(30):
        async with host_on(private) as alice, host_on(private) as bob:
            for result in await both_punch(alice, bob):
                assert result.connection is not None
                assert result.connection.admitted
            assert await alice.ping(bob.peer_id) > 0


@pytest.mark.parametrize("turn", range(5))
async def test_in_a_simultaneous_open_the_client_is_the_dialer(
    public: Network, turn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both dials become one connection: the roles are the punch's, whoever dialed."""
    del turn
    ends = await crossed_pair()

    async def joined(target: tcp.Place, source: tcp.Place | None) -> tcp.TcpBytes:
        if not ends:
            await trio.sleep_forever()
        return ends.pop()

    monkeypatch.setattr(tcp, "_dial_from", joined)
    with trio.fail_after(20):
        async with host_on(public) as alice, host_on(public) as bob:
            ours, theirs = await both_punch(alice, bob)
            assert ours.connection is not None
            assert theirs.connection is not None
            assert (ours.connection.inbound, theirs.connection.inbound) == (False, True)
            assert of(ours, bob.addrs[0]).outcome == of(theirs, alice.addrs[0]).outcome == "success"
            assert await alice.ping(bob.peer_id) > 0
            assert await bob.ping(alice.peer_id) > 0


@pytest.mark.parametrize("listen", [TCP, QUIC])
async def test_a_connection_that_the_peer_made_is_the_punchs_too(public: Network, listen: str) -> None:
    """Only one way through: the side that cannot reach the other one still has its result."""
    with trio.fail_after(30):
        async with host_on(public, listen) as alice, host_on(public, listen) as bob, trio.open_nursery() as nursery:
            results: list[PunchResult] = []

            async def wait_for_alice() -> None:
                dead = f"/ip4/127.0.0.1/tcp/{free_port()}"
                results.append(await bob.punch(alice.peer_id, [dead], client=False, window_seconds=5))

            nursery.start_soon(wait_for_alice)
            while not bob._swarm.punches:
                await trio.lowlevel.checkpoint()
            await alice.connect(bob.peer_id, bob.addrs)
        (result,) = results
        assert result.connection is not None
        assert (result.connection.punched, result.connection.inbound) == (True, True)
        assert [one.outcome for one in result.addresses if one.addr == result.connection.remote_addr] == ["success"]


async def test_a_connection_that_came_just_before_the_window_counts_and_an_old_one_does_not(
    public: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trio.fail_after(30):
        async with host_on(public) as alice, host_on(public) as bob:
            await alice.connect(bob.peer_id, bob.addrs)
            early = await bob.punch(alice.peer_id, [], client=False, window_seconds=5)
            assert early.connection is not None
            assert early.connection.punched
            monkeypatch.setattr(limits, "SIMULTANEOUS_SECONDS", 0.0)
            late = await bob.punch(alice.peer_id, [], client=False, window_seconds=0.2)
            assert late.connection is None


async def test_only_the_client_drops_a_handshake_when_another_connection_was_quicker(
    public: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were both sides to keep only what each saw first, both of two connections could fall."""
    near, far = await crossed_pair()

    async def joined(target: tcp.Place, source: tcp.Place | None) -> tcp.TcpBytes:
        return near

    dial_from = tcp._dial_from
    with trio.fail_after(20):
        async with host_on(public) as alice, host_on(public) as bob, trio.open_nursery() as nursery:
            monkeypatch.setattr(tcp, "_dial_from", joined)
            results: list[PunchResult] = []

            async def server() -> None:
                results.append(await bob.punch(alice.peer_id, alice.addrs, client=False, window_seconds=5))

            await opened(nursery, server, bob)
            await trio.lowlevel.wait_readable(far.stream.socket)  # bob's greeting: his handshake has begun
            monkeypatch.setattr(tcp, "_dial_from", dial_from)
            await alice.connect(bob.peer_id, bob.addrs)
            while not results:
                await trio.lowlevel.checkpoint()
            raw = RawConnection(far, initiator=True, addresses=[Multiaddr("/ip4/127.0.0.1/tcp/1")])
            late = await alice._swarm.upgrade(raw, libp2p_id(bob.peer_id))
            assert await alice.ping(bob.peer_id, on=late.number) > 0


# --- what does not work ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", [True, False])
async def test_dead_addresses_end_with_the_window_and_say_why(public: Network, *, client: bool) -> None:
    with trio.fail_after(10):
        async with host_on(public, TCP, QUIC) as alice, silent_port() as silent:
            refusing = f"/ip4/127.0.0.1/tcp/{free_port()}"
            mute = f"/ip4/127.0.0.1/udp/{free_port()}/quic-v1"
            unknown = Identity.generate().peer_id
            result = await alice.punch(unknown, [refusing, silent, mute], client=client, window_seconds=0.5)
            assert result.connection is None
            reasons = {one.addr: (one.outcome, one.reason) for one in result.addresses}
            assert reasons == {
                refusing: ("failed", "refused"),
                silent: ("failed", "timeout"),
                mute: ("failed", "timeout"),
            }
            assert [one.transport for one in result.addresses] == ["tcp", "tcp", "quic"]
            assert [one.ip_version for one in result.addresses] == ["ip4"] * 3


@pytest.mark.parametrize("listen", [TCP, QUIC])
async def test_another_peer_at_the_address_is_told_and_left(public: Network, listen: str) -> None:
    with trio.fail_after(20):
        async with host_on(public, listen) as alice, host_on(public, listen) as carol:
            expected = Identity.generate().peer_id
            result = await alice.punch(expected, [bare(carol.addrs[0])], client=True, window_seconds=1)
            assert result.connection is None
            assert of(result, carol.addrs[0]).reason == "wrong_peer"
            assert not alice.connections()


async def test_the_side_that_answers_looks_whom_it_answers(public: Network) -> None:
    """carol punches with alice; alice, who is not the client of hers, expects bob at carol's address."""
    with trio.fail_after(20):
        async with host_on(public) as alice, host_on(public) as carol, trio.open_nursery() as nursery:
            bob = Identity.generate().peer_id
            results: list[PunchResult] = []
            address = carol.addrs[0]

            async def as_client() -> None:
                await carol.punch(alice.peer_id, [], client=True, window_seconds=2)

            async def as_server() -> None:
                results.append(await alice.punch(bob, [bare(address)], client=False, window_seconds=2))

            (window,) = await opened(nursery, as_client, carol)
            window.ips = frozenset({"127.0.0.1"})
            nursery.start_soon(as_server)
        assert results[0].connection is None
        assert of(results[0], address).reason == "wrong_peer"


async def opened(nursery: trio.Nursery, punch: Any, host: Host) -> list[Any]:
    nursery.start_soon(punch)
    while not host._swarm.punches:
        await trio.lowlevel.checkpoint()
    return list(host._swarm.punches)


async def test_only_addresses_of_the_scope_are_dialed_and_sixteen_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dialed: list[str] = []

    async def note(self: punch_dials.Dials, address: Any, *, failed: Any) -> None:
        dialed.append(str(address))

    monkeypatch.setattr(punch_dials.Dials, "run", note)
    forbidden = [
        "/ip4/127.0.0.1/tcp/22",
        "/ip4/169.254.169.254/tcp/80",
        "/ip4/224.0.0.1/udp/1/quic-v1",
        "/dns4/localhost/tcp/1",
        f"/ip4/8.8.4.4/tcp/1/p2p/{Identity.generate().peer_id}",
        f"/ip4/8.8.8.8/tcp/1/p2p/{Identity.generate().peer_id}/p2p-circuit",
    ]
    allowed = [f"/ip4/8.8.8.{number}/tcp/4001" for number in range(14)]
    quic = [f"/ip4/8.8.8.{number}/udp/4001/quic-v1" for number in range(6)]
    async with host_on(new_network("wide", private=False)) as alice:
        addrs = [*forbidden, "nonsense", "/ip4/8.8.4.4/tcp/80/ws", *allowed, *quic]
        result = await alice.punch(Identity.generate().peer_id, addrs, client=True, window_seconds=0.1)
    assert sorted(dialed) == sorted(allowed + quic[:2])
    reasons = [one.reason for one in result.addresses]
    assert reasons == ["not_allowed"] * 7 + ["no_transport"] + ["timeout"] * 16 + ["too_many"] * 4
    assert {one.outcome for one in result.addresses} == {"failed"}


async def test_many_punches_at_once_are_bounded(public: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PUNCHES", 2)
    with trio.fail_after(10):
        async with host_on(public) as alice, silent_port() as silent, trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(_punch_nobody, alice, silent)
            while len(alice._swarm.punches) < 2:
                await trio.lowlevel.checkpoint()
            third = await alice.punch(Identity.generate().peer_id, [silent], client=True, window_seconds=1)
            assert [one.reason for one in third.addresses] == ["busy"]
            nursery.cancel_scope.cancel()


async def _punch_nobody(host: Host, addr: str) -> None:
    await host.punch(Identity.generate().peer_id, [addr], client=True, window_seconds=30)


async def test_nobody_punches_with_himself(public: Network) -> None:
    async with host_on(public) as alice:
        with pytest.raises(Unreachable):
            await alice.punch(alice.peer_id, alice.addrs, client=True, window_seconds=1)


@pytest.mark.parametrize("client", [True, False])
async def test_a_cancelled_punch_leaves_no_task_and_no_descriptor(
    public: Network, monkeypatch: pytest.MonkeyPatch, *, client: bool
) -> None:
    monkeypatch.setattr(limits, "UPGRADE_SECONDS", 0.2)
    with trio.fail_after(30):
        async with host_on(public, TCP, QUIC) as alice, silent_port() as silent:
            mute = f"/ip4/127.0.0.1/udp/{free_port()}/quic-v1"
            refusing = f"/ip4/127.0.0.1/tcp/{free_port()}"
            gc.collect()
            before, open_files = await settled(0), descriptors()
            for turn in range(10):
                with trio.move_on_after(0.02 * (turn % 3)):
                    await alice.punch(
                        Identity.generate().peer_id, [silent, mute, refusing], client=client, window_seconds=30
                    )
            assert not alice._swarm.punches
            assert await settled(before) <= before
            assert descriptors() <= open_files
            assert alice._swarm.counts.open_connections == 0


async def test_tcp_is_taken_where_both_ways_are_open(public: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """QUIC would be quicker: it takes two round trips less."""
    monkeypatch.setattr(limits, "PUNCH_QUIC_AFTER_SECONDS", 1.0)
    with trio.fail_after(30):
        async with host_on(public, TCP, QUIC) as alice, host_on(public, TCP, QUIC) as bob:
            for result in await both_punch(alice, bob):
                assert result.connection is not None
                assert result.connection.transport == "tcp"


async def test_the_server_sprays_and_the_client_sends_one_datagram_before_it_dials(
    public: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, str]] = []
    spray, dial = Quic.spray, Quic.dial

    def note(self: Quic, address: Any) -> None:
        sent.append(("spray", str(address)))
        spray(self, address)

    async def note_dial(self: Quic, address: Any, peer_id: Any) -> Any:
        sent.append(("dial", str(address)))
        return await dial(self, address, peer_id)

    monkeypatch.setattr(Quic, "spray", note)
    monkeypatch.setattr(Quic, "dial", note_dial)
    mute = f"/ip4/127.0.0.1/udp/{free_port()}/quic-v1"
    with trio.fail_after(10):
        async with host_on(public, QUIC) as alice:
            await alice.punch(Identity.generate().peer_id, [mute], client=True, window_seconds=0.4)
            assert sent[:2] == [("spray", mute), ("dial", mute)]
            sent.clear()
            await alice.punch(Identity.generate().peer_id, [mute], client=False, window_seconds=1)
            assert 4 <= len(sent) <= 100
            assert {kind for kind, _ in sent} == {"spray"}
