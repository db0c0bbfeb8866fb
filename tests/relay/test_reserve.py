"""RESERVE over real connections on loopback."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from multiaddr import Multiaddr

from covey_core.errors import StreamLost, Unreachable
from covey_core.host import Host, HostConfig, open_host
from covey_core.identity import Identity
from covey_core.network import Network, new_network
from covey_core.wire.circuit import (
    HOP_PROTOCOL,
    CircuitLimit,
    CircuitPeer,
    HopMessage,
    HopType,
    Status,
    encode_hop,
    open_voucher,
)
from covey_relay import limits
from covey_relay.limits import AddressCaps
from covey_relay.net.hop import fitting_addrs
from tests.relay.conftest import Relay, host_on, relay_on
from tests.support.circuit_client import accepting, ask, dial, reserve, until


async def test_a_reservation_tells_its_end_addresses_limits_and_a_signed_voucher(public: Network) -> None:
    with trio.fail_after(20):
        async with relay_on(public) as relay:
            alice = await relay.client()
            before = time.time()
            answer = await reserve(alice, relay.host)
            assert (answer.type, answer.status) == (HopType.STATUS, Status.OK)
            assert answer.reservation is not None
            assert before + 3590 <= answer.reservation.expires_at <= time.time() + 3600
            assert [str(Multiaddr(addr)) for addr in answer.reservation.addrs] == list(relay.host.addrs)
            assert str(Multiaddr(answer.reservation.addrs[0])).endswith(f"/p2p/{relay.host.peer_id}")
            assert answer.limit == CircuitLimit(duration_seconds=7200, data_bytes=256 * 1024 * 1024)
            assert answer.reservation.voucher is not None
            voucher = open_voucher(answer.reservation.voucher, relay=relay.host.peer_id)
            assert voucher.peer == alice.peer_id
            assert voucher.expires_at == answer.reservation.expires_at
            assert relay.service.reservations == 1
            assert relay.sample("libp2p_relaysvc_reservations_total", type="opened") == 1
            assert relay.sample("covey_usage_ratio", resource="reservations") == 1 / 4000


async def test_a_slot_is_only_for_the_peer_that_proved_itself(public: Network) -> None:
    with trio.fail_after(20):
        async with relay_on(public) as relay:
            alice = await relay.client()
            for _ in range(4):
                other = Identity.generate().peer_id
                message = HopMessage(HopType.RESERVE, peer=CircuitPeer(other))
                answer, _ = await ask(alice, relay.host, encode_hop(message))
                assert answer.status is Status.OK
                refused, _ = await dial(alice, relay.host, other)
                assert refused.status is Status.NO_RESERVATION
            assert relay.service.reservations == 1
            assert relay.sample("libp2p_relaysvc_reservations_total", type="renewed") == 3


async def test_a_slot_is_freed_when_its_peer_leaves(public: Network) -> None:
    with trio.fail_after(20):
        async with relay_on(public, reservations=1) as relay:
            alice, bob = await relay.client(), await relay.client()
            assert (await reserve(alice, relay.host)).status is Status.OK
            assert (await reserve(bob, relay.host)).status is Status.RESERVATION_REFUSED
            await alice.disconnect(relay.host.peer_id)
            await until(lambda: relay.service.reservations == 0)
            assert (await reserve(bob, relay.host)).status is Status.OK
            assert relay.sample("libp2p_relaysvc_reservations_total", type="closed") == 1
            assert relay.sample("libp2p_relaysvc_reservation_rejections_total", reason="table_full") == 1


async def test_a_slot_stays_while_one_connection_of_its_peer_is_left(public: Network) -> None:
    identity = Identity.generate()
    config = HostConfig(identity=identity, network=public)
    with trio.fail_after(20):
        async with relay_on(public) as relay, open_host(config) as first, AsyncExitStack() as second:
            await first.connect(relay.host.peer_id, relay.host.addrs)
            assert (await reserve(first, relay.host)).status is Status.OK
            again = await second.enter_async_context(open_host(config))
            await again.connect(relay.host.peer_id, relay.host.addrs)
            assert (await reserve(again, relay.host)).status is Status.OK
            await first.disconnect(relay.host.peer_id)
            await until(lambda: len(relay.host.connections(identity.peer_id)) == 1)
            await until(lambda: True)
            assert relay.service.reservations == 1
            await second.aclose()
            await until(lambda: relay.service.reservations == 0)


async def test_slots_end_with_their_hour_and_unseen_departures_are_noticed(
    public: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SWEEP_SECONDS", 0.02)
    with trio.fail_after(20):
        async with relay_on(public, reservation_seconds=0.05) as relay:
            alice = await relay.client()
            await reserve(alice, relay.host)
            await until(lambda: relay.service.reservations == 0)
            assert relay.sample("libp2p_relaysvc_reservations_total", type="closed") == 1
        async with relay_on(public) as relay:
            alice = await relay.client()
            await reserve(alice, relay.host)
            monkeypatch.setattr(relay.host.events, "publish", lambda _: None)
            await alice.disconnect(relay.host.peer_id)
            await until(lambda: relay.service.reservations == 0)


async def test_a_peer_that_left_while_it_asked_gets_no_slot(public: Network) -> None:
    class Left:
        """The hop stream of a peer whose connection has just ended."""

        peer, relayed, remote_addr = Identity.generate().peer_id, False, "/ip4/127.0.0.1/tcp/1"

        async def read_frame(self, *, limit: int) -> bytes:
            return encode_hop(HopMessage(HopType.RESERVE))

    with trio.fail_after(20):
        async with relay_on(public) as relay:
            await relay.service._hop.serve(Left())  # type: ignore[arg-type]
            assert relay.service.reservations == 0


async def test_one_address_holds_only_its_share_of_slots(public: Network) -> None:
    with trio.fail_after(20):
        async with relay_on(public, reservations_per_address=AddressCaps(2, 2, 2)) as relay:
            statuses = [(await reserve(await relay.client(), relay.host)).status for _ in range(3)]
    assert statuses == [Status.OK, Status.OK, Status.RESERVATION_REFUSED]


@asynccontextmanager
async def behind_a_relay(network: Network) -> AsyncIterator[tuple[Relay, Relay, Host]]:
    """A relay `far` that alice reaches over a circuit through the relay `near` only; gives near, far and alice."""
    with trio.fail_after(20):
        async with relay_on(network) as far, relay_on(network) as near:
            await far.host.connect(near.host.peer_id, near.host.addrs)
            alice = await near.client()
            assert (await reserve(far.host, near.host)).status is Status.OK
            async with accepting(far.host) as acceptor, trio.open_nursery() as nursery:
                answer, stream = await dial(alice, near.host, far.host.peer_id)
                assert answer.status is Status.OK
                _, inner = await acceptor.next()

                async def take() -> None:
                    await far.host.adopt_circuit(inner, peer=None, dialer=False, relay=near.host.peer_id)

                nursery.start_soon(take)
                await alice.adopt_circuit(stream, peer=far.host.peer_id, dialer=True, relay=near.host.peer_id)
                yield near, far, alice
                nursery.cancel_scope.cancel()


async def test_nobody_reserves_or_dials_over_a_relayed_connection(public: Network) -> None:
    async with behind_a_relay(public) as (_, far, alice):
        assert (await reserve(alice, far.host)).status is Status.PERMISSION_DENIED
        bob = await far.client()
        assert (await reserve(bob, far.host)).status is Status.OK
        refused, _ = await dial(alice, far.host, bob.peer_id)
        assert refused.status is Status.PERMISSION_DENIED
        assert far.service.reservations == 1


async def test_a_relayed_connection_alone_keeps_no_slot(public: Network) -> None:
    async with behind_a_relay(public) as (_, far, alice):
        await alice.connect(far.host.peer_id, far.host.addrs)
        assert (await reserve(alice, far.host)).status is Status.OK
        direct = [one for one in alice._swarm.all_connections() if one.peer == far.host.peer_id and not one.relayed]
        for connection in direct:
            await connection.close()
        await until(lambda: far.service.reservations == 0)
        assert any(one.relayed for one in far.host.connections(alice.peer_id))


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (b"", Status.MALFORMED_MESSAGE),
        (b"\xff" * 50, Status.MALFORMED_MESSAGE),
        (bytes(5000), Status.MALFORMED_MESSAGE),
        (b"\x08\x01", Status.MALFORMED_MESSAGE),  # CONNECT to nobody
        (b"\x08\x01\x12\x04\x0a\x02\x00\x01", Status.MALFORMED_MESSAGE),  # CONNECT to no PeerId
        (b"\x08\x02\x28\x64", Status.UNEXPECTED_MESSAGE),  # STATUS
        (b"\x08\x07", Status.MALFORMED_MESSAGE),
    ],
)
async def test_bad_messages_get_the_spec_status_and_harm_nothing(
    public: Network, payload: bytes, status: Status
) -> None:
    with trio.fail_after(20):
        async with relay_on(public) as relay:
            alice = await relay.client()
            answer, _ = await ask(alice, relay.host, payload)
            assert answer.status is status
            assert (await reserve(alice, relay.host)).status is Status.OK


async def test_a_silent_hop_stream_is_reset_after_its_deadline(
    public: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HOP_READ_SECONDS", 0.05)
    with trio.fail_after(20):
        async with relay_on(public) as relay:
            alice = await relay.client()
            stream = await alice.open_stream(relay.host.peer_id, HOP_PROTOCOL)
            await stream.write(b"\x02")  # the length, and then nothing
            with pytest.raises(StreamLost):
                await stream.read_some()


async def test_a_peer_has_only_so_many_handshakes_open(public: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_HANDSHAKES_PER_PEER", 3)
    with trio.fail_after(20):
        async with relay_on(public) as relay:
            alice, bob = await relay.client(), await relay.client()
            silent = [await alice.open_stream(relay.host.peer_id, HOP_PROTOCOL) for _ in range(3)]
            with pytest.raises(StreamLost):
                await reserve(alice, relay.host)
            assert (await reserve(bob, relay.host)).status is Status.OK
            await silent[0].close_write()  # an end without a message frees its place
            await silent[0].read_some()
            assert (await reserve(alice, relay.host)).status is Status.OK


async def test_strangers_to_a_private_network_get_no_slot() -> None:
    private = new_network("private", private=True)
    guessed = Network(name="private", id=private.id, scope=private.scope, key=bytes(32))
    with trio.fail_after(20):
        async with relay_on(private) as relay, host_on(guessed) as stranger:
            with pytest.raises(Unreachable):
                await stranger.connect(relay.host.peer_id, relay.host.addrs)
            member = await relay.client()
            assert (await reserve(member, relay.host)).status is Status.OK
            assert relay.service.reservations == 1


async def test_a_draining_relay_grants_nothing(public: Network) -> None:
    with trio.fail_after(20):
        async with relay_on(public) as relay:
            alice = await relay.client()
            await relay.service.drain()
            assert (await reserve(alice, relay.host)).status is Status.RESERVATION_REFUSED


def test_a_reservation_names_as_many_addresses_as_fit() -> None:
    peer = Identity.generate().peer_id
    short = [f"/ip4/192.0.2.{number}/tcp/4001/p2p/{peer}" for number in range(20)]
    assert len(fitting_addrs(short)) == limits.RESERVATION_ADDRS
    long = [f"/dns4/{'.'.join(['x' * 60] * 3)}.n{number}.example/tcp/4001/p2p/{peer}" for number in range(20)]
    assert sum(map(len, fitting_addrs(long))) <= limits.RESERVATION_ADDRS_BYTES
