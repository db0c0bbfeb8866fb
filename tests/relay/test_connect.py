"""CONNECT over real connections on loopback: the handshake, and circuits from their beginning to each of their ends."""

import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio

from covey_core.errors import StreamLost
from covey_core.host import Host, ProtocolRefused, Stream
from covey_core.identity import Identity
from covey_core.network import Network
from covey_core.wire.circuit import (
    HOP_PROTOCOL,
    CircuitLimit,
    CircuitPeer,
    HopMessage,
    HopType,
    Status,
    StopMessage,
    StopType,
    decode_hop,
    encode_hop,
    encode_stop,
)
from covey_relay import limits
from covey_relay.limits import AddressCaps
from covey_relay.service import open_relay_service
from tests.relay.conftest import TCP, TCP6, Relay, host_on, relay_on
from tests.support.circuit_client import Acceptor, accepting, dial, reserve, until

SOMEBODY = Identity(bytes(32)).peer_id


@dataclass
class Pair:
    """alice dials bob, who holds a slot."""

    relay: Relay
    alice: Host
    bob: Host
    acceptor: Acceptor
    open: list[Stream] = field(default_factory=list)

    async def circuit(self) -> tuple[Stream, Stream]:
        """Return alice's and bob's end of a new circuit."""
        answer, near = await dial(self.alice, self.relay.host, self.bob.peer_id)
        assert answer.status is Status.OK
        _, far = await self.acceptor.next()
        self.open += [near, far]
        return near, far

    async def ends_as(self, reason: str) -> None:
        """Return when no circuit is left; the last one must have ended for `reason`."""
        await until(lambda: self.relay.service.circuits == 0)
        assert self.relay.sample("covey_relay_closed_total", reason=reason) == 1


@asynccontextmanager
async def pair_on(network: Network, **bounds: object) -> AsyncIterator[Pair]:
    with trio.fail_after(30):
        async with relay_on(network, **bounds) as relay:
            alice, bob = await relay.client(), await relay.client()
            async with accepting(bob) as acceptor:
                assert (await reserve(bob, relay.host)).status is Status.OK
                yield Pair(relay, alice, bob, acceptor)


async def crosses(near: Stream, far: Stream, text: bytes = b"ping") -> None:
    """Fail unless `text` gets from each end to the other."""
    for here, there in ((near, far), (far, near)):
        await here.write(text)
        got = b""
        while len(got) < len(text):
            got += await there.read_some()
        assert got == text


async def test_both_ends_learn_the_limits_and_the_target_who_is_calling(public: Network) -> None:
    async with pair_on(public, circuit_seconds=600, circuit_bytes=12345) as pair:
        answer, near = await dial(pair.alice, pair.relay.host, pair.bob.peer_id)
        assert answer == HopMessage(HopType.STATUS, status=Status.OK, limit=CircuitLimit(600, 12345))
        message, far = await pair.acceptor.next()
        assert message.type is StopType.CONNECT
        assert message.peer == CircuitPeer(pair.alice.peer_id)
        assert message.limit == CircuitLimit(600, 12345)
        await crosses(near, far)
        assert pair.relay.sample("libp2p_relaysvc_connections_total", type="opened") == 1
        assert pair.relay.sample("libp2p_relaysvc_data_transferred_bytes_total") == 8


async def test_a_peer_without_a_slot_cannot_be_reached(public: Network) -> None:
    async with pair_on(public) as pair:
        for target in (pair.alice.peer_id, pair.relay.host.peer_id):
            answer, _ = await dial(pair.bob, pair.relay.host, target)
            assert answer.status is Status.NO_RESERVATION
        answer, _ = await dial(pair.bob, pair.relay.host, pair.bob.peer_id)
        assert answer.status is Status.PERMISSION_DENIED
        assert pair.relay.service.circuits == 0


async def test_bytes_right_behind_either_handshake_message_belong_to_the_circuit(public: Network) -> None:
    async with pair_on(public) as pair:
        pair.acceptor.early = b"from bob, early"
        payload = encode_hop(HopMessage(HopType.CONNECT, peer=CircuitPeer(pair.bob.peer_id)))
        near = await pair.alice.open_stream(pair.relay.host.peer_id, HOP_PROTOCOL)
        await near.write(bytes([len(payload)]) + payload + b"from alice, early")
        frame = await near.read_frame(limit=4096)
        assert frame is not None
        assert decode_hop(frame).status is Status.OK
        _, far = await pair.acceptor.next()
        assert await far.read_some() == b"from alice, early"
        assert await near.read_some() == b"from bob, early"


@pytest.mark.parametrize(
    "answer",
    [
        Status.PERMISSION_DENIED,
        Status.CONNECTION_FAILED,
        b"\xff\xff",
        bytes(3000),
        b"",
        encode_stop(StopMessage(StopType.CONNECT, peer=CircuitPeer(SOMEBODY))),
        encode_stop(StopMessage(StopType.CONNECT, peer=CircuitPeer(SOMEBODY), status=Status.OK)),
    ],
)
async def test_a_target_that_does_not_say_ok_fails_the_connection(public: Network, answer: Status | bytes) -> None:
    async with pair_on(public) as pair:
        pair.acceptor.answer = answer
        refused, _ = await dial(pair.alice, pair.relay.host, pair.bob.peer_id)
        assert refused.status is Status.CONNECTION_FAILED
        await until(lambda: pair.relay.service.circuits == 0)
        assert pair.relay.sample("libp2p_relaysvc_connection_rejections_total", reason="target_failed") == 1
        pair.acceptor.answer = Status.OK
        pair.acceptor.accepted.clear()
        await crosses(*await pair.circuit())


async def test_a_silent_target_fails_the_connection_at_the_deadline(
    public: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STOP_SECONDS", 0.05)
    async with pair_on(public) as pair:
        pair.acceptor.answer = None
        refused, _ = await dial(pair.alice, pair.relay.host, pair.bob.peer_id)
        assert refused.status is Status.CONNECTION_FAILED
        _, stop = await pair.acceptor.next()
        with pytest.raises(StreamLost):
            await stop.read_some()
        assert pair.relay.service.circuits == 0


async def test_a_target_that_does_not_speak_stop_fails_the_connection(public: Network) -> None:
    with trio.fail_after(30):
        async with relay_on(public) as relay:
            alice, bob = await relay.client(), await relay.client()
            await reserve(bob, relay.host)
            refused, _ = await dial(alice, relay.host, bob.peer_id)
            assert refused.status is Status.CONNECTION_FAILED


async def test_circuits_of_one_pair_live_and_end_on_their_own(public: Network) -> None:
    async with pair_on(public) as pair:
        circuits = [await pair.circuit() for _ in range(5)]
        for number, ends in enumerate(circuits):
            await crosses(*ends, text=b"circuit %d" % number)
        await circuits[0][0].reset()
        await circuits[1][1].reset()
        for gone in (circuits[0][1], circuits[1][0]):
            with pytest.raises(StreamLost):
                await gone.read_some()
        await until(lambda: pair.relay.service.circuits == 3)
        for ends in circuits[2:]:
            await crosses(*ends)


async def test_circuits_from_several_peers_to_one_are_independent(public: Network) -> None:
    async with pair_on(public) as pair:
        carol = await pair.relay.client()
        first = await pair.circuit()
        answer, _near = await dial(carol, pair.relay.host, pair.bob.peer_id)
        assert answer.status is Status.OK
        message, far = await pair.acceptor.next()
        assert message.peer == CircuitPeer(carol.peer_id)
        await carol.disconnect(pair.relay.host.peer_id)
        with pytest.raises(StreamLost):
            await far.read_some()
        await crosses(*first)


async def test_a_half_close_is_passed_on_and_the_circuit_ends_cleanly(public: Network) -> None:
    async with pair_on(public) as pair:
        near, far = await pair.circuit()
        await near.write(b"question")
        await near.close_write()
        assert await far.read_some() == b"question"
        assert await far.read_some() == b""
        await far.write(b"answer")
        await far.close_write()
        assert await near.read_some() == b"answer"
        assert await near.read_some() == b""
        await pair.ends_as("eof")


@pytest.mark.parametrize("who", ["source", "target"])
async def test_a_reset_is_passed_on(public: Network, who: str) -> None:
    async with pair_on(public) as pair:
        near, far = await pair.circuit()
        resetting, other = (near, far) if who == "source" else (far, near)
        await resetting.reset()
        with pytest.raises(StreamLost):
            await other.read_some()
        await pair.ends_as("error")


@pytest.mark.parametrize("who", ["source", "target"])
async def test_a_lost_connection_resets_the_other_end(public: Network, who: str) -> None:
    async with pair_on(public) as pair:
        near, far = await pair.circuit()
        leaving, other = (pair.alice, far) if who == "source" else (pair.bob, near)
        await leaving.disconnect(pair.relay.host.peer_id)
        with pytest.raises(StreamLost):
            await other.read_some()
        await pair.ends_as("error")
        await until(lambda: pair.relay.service.reservations == (who == "source"))


async def test_more_bytes_than_allowed_reset_both_ends(public: Network) -> None:
    async with pair_on(public, circuit_bytes=100_000) as pair:
        near, far = await pair.circuit()
        await near.write(bytes(100_000))
        received = 0
        while received < 100_000:
            received += len(await far.read_some())
        await near.write(b"one more")
        for end in (near, far):
            with pytest.raises(StreamLost):
                await end.read_some()
        await pair.ends_as("bytes")


async def test_an_idle_circuit_is_reset_when_its_time_is_over(public: Network) -> None:
    async with pair_on(public, circuit_seconds=1) as pair:
        near, far = await pair.circuit()
        for end in (near, far):
            with pytest.raises(StreamLost):
                await end.read_some()
        await pair.ends_as("duration")
        assert pair.relay.sample("libp2p_relaysvc_connection_duration_seconds_count") == 1


@pytest.mark.parametrize(
    "bounds",
    [
        {"circuits": 2},
        {"circuits_per_peer": 2},
        {"circuits_per_pair": 2},
        {"circuits_per_address": AddressCaps(2, 2, 2)},
    ],
    ids=lambda bounds: next(iter(bounds)),
)
async def test_each_cap_refuses_the_next_circuit_and_a_closed_one_makes_room(
    public: Network, bounds: dict[str, object]
) -> None:
    async with pair_on(public, **bounds) as pair:
        first = await pair.circuit()
        await pair.circuit()
        refused, _ = await dial(pair.alice, pair.relay.host, pair.bob.peer_id)
        assert refused.status is Status.RESOURCE_LIMIT_EXCEEDED
        await first[0].reset()
        await until(lambda: pair.relay.service.circuits == 1)
        await crosses(*await pair.circuit())


@pytest.mark.parametrize("full", ["ip4", "ip6"])
async def test_a_circuit_counts_at_the_addresses_of_both_ends(public: Network, full: str) -> None:
    if not has_ip6():
        pytest.skip("needs the IPv6 loopback")
    caps = AddressCaps(1, 99, 99) if full == "ip4" else AddressCaps(99, 1, 99)
    with trio.fail_after(30):
        async with relay_on(public, TCP, TCP6, circuits_per_address=caps) as relay:
            alice, bob = await relay.client("ip6"), await relay.client("ip4")
            async with accepting(bob):
                assert (await reserve(bob, relay.host)).status is Status.OK
                statuses = [(await dial(alice, relay.host, bob.peer_id))[0].status for _ in range(2)]
    assert statuses == [Status.OK, Status.RESOURCE_LIMIT_EXCEEDED]


def has_ip6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        return probe.connect_ex(("::1", 9)) != errno.EADDRNOTAVAIL


async def test_a_draining_relay_resets_circuits_and_opens_none(public: Network) -> None:
    async with pair_on(public) as pair:
        near, far = await pair.circuit()
        await pair.relay.service.drain()
        for end in (near, far):
            with pytest.raises(StreamLost):
                await end.read_some()
        await pair.ends_as("drain")
        refused, _ = await dial(pair.alice, pair.relay.host, pair.bob.peer_id)
        assert refused.status is Status.RESOURCE_LIMIT_EXCEEDED


async def test_a_circuit_that_was_being_opened_does_not_outlive_the_drain(public: Network) -> None:
    async with pair_on(public) as pair:
        pair.acceptor.answer = None
        near = await pair.alice.open_stream(pair.relay.host.peer_id, HOP_PROTOCOL)
        payload = encode_hop(HopMessage(HopType.CONNECT, peer=CircuitPeer(pair.bob.peer_id)))
        await near.write_frame(payload, limit=4096)
        _, far = await pair.acceptor.next()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.relay.service.drain)
            await until(lambda: pair.relay.draining)
            await far.write_frame(encode_stop(StopMessage(StopType.STATUS, status=Status.OK)), limit=4096)
            with pytest.raises(StreamLost):
                await far.read_some()
        await pair.ends_as("drain")


async def test_a_service_that_ends_takes_its_circuits_and_its_protocol_with_it(public: Network) -> None:
    identity = Identity.generate()
    with trio.fail_after(30):
        async with host_on(public, TCP, identity=identity) as host, host_on(public) as alice, host_on(public) as bob:
            for client in (alice, bob):
                await client.connect(host.peer_id, host.addrs)
            async with accepting(bob) as acceptor:
                async with open_relay_service(host, identity=identity):
                    assert (await reserve(bob, host)).status is Status.OK
                    answer, near = await dial(alice, host, bob.peer_id)
                    assert answer.status is Status.OK
                    _, far = await acceptor.next()
                for end in (near, far):
                    with pytest.raises(StreamLost):
                        await end.read_some()
                with pytest.raises(ProtocolRefused):
                    await alice.open_stream(host.peer_id, HOP_PROTOCOL)


async def test_fifty_circuits_carry_their_own_bytes_at_once(public: Network) -> None:
    async with pair_on(public, circuits_per_pair=50) as pair:

        async def echo() -> None:
            _, far = await pair.acceptor.next()
            while data := await far.read_some():
                await far.write(data)
            await far.close_write()

        async def talk(number: int) -> None:
            answer, near = await dial(pair.alice, pair.relay.host, pair.bob.peer_id)
            assert answer.status is Status.OK
            text = b"%d " % number * 10_000
            async with trio.open_nursery() as nursery:
                nursery.start_soon(near.write, text)
                got = b""
                while len(got) < len(text):
                    got += await near.read_some()
            assert got == text
            await near.close_write()
            assert await near.read_some() == b""

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(talk, number)
                nursery.start_soon(echo)
        await until(lambda: pair.relay.service.circuits == 0)
        assert pair.relay.sample("covey_relay_closed_total", reason="eof") == 50
