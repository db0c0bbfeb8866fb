"""Who a peer is, and how we are seen."""

from typing import Any

import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from multiaddr import Multiaddr

from covey_core.errors import CoveyError, ProtocolViolation, StreamLost
from covey_core.host import HostConfig, Stream, identify, limits, open_host
from covey_core.identity import Identity
from covey_core.network import Network
from tests.host.conftest import TCP, WS, host_on


async def asked(stream: Stream) -> Identify:
    answer = await stream.read_frame(limit=limits.IDENTIFY_BYTES)
    message = Identify()
    message.ParseFromString(answer or b"")
    return message


@pytest.mark.parametrize("listen", [TCP, WS])
async def test_a_peer_learns_at_which_address_it_is_seen(public: Network, listen: str) -> None:
    with trio.fail_after(30):
        async with host_on(public, listen) as bob, host_on(public) as alice:
            await alice.connect(bob.peer_id, bob.addrs)
            message = await asked(await alice.open_stream(bob.peer_id, identify.IDENTIFY))
            (seen,) = bob.connections(alice.peer_id)
            assert str(Multiaddr(message.observed_addr)) == seen.remote_addr
            assert [str(Multiaddr(one)) for one in message.listen_addrs] == [bob.addrs[0].partition("/p2p/")[0]]


async def test_what_strangers_say_we_are_is_not_announced(public: Network) -> None:
    with trio.fail_after(30):
        async with host_on(public, "/ip4/127.0.0.1/tcp/0") as bob:
            before = bob.addrs
            for _ in range(5):
                async with host_on(public) as stranger:
                    await stranger.connect(bob.peer_id, bob.addrs)
                    await stranger.ping(bob.peer_id)
                    await bob.ping(stranger.peer_id)
            assert bob.addrs == before


async def test_a_host_without_listeners_answers_at_once(public: Network) -> None:
    with trio.fail_after(30):
        async with (
            open_host(HostConfig(identity=Identity.generate(), network=public)) as alice,
            host_on(public) as bob,
        ):
            await alice.connect(bob.peer_id, bob.addrs)
            began = trio.current_time()
            message = await asked(await bob.open_stream(alice.peer_id, identify.IDENTIFY))
            assert trio.current_time() - began < 0.4
            assert not message.listen_addrs


async def test_a_pushed_identify_is_heard_within_its_bound(public: Network) -> None:
    with trio.fail_after(30):
        async with host_on(public) as bob, host_on(public) as alice:
            await alice.connect(bob.peer_id, bob.addrs)
            store = bob.libp2p.get_peerstore()
            target = ID.from_base58(alice.peer_id)
            while not store.has_peer(target) or "/ipfs/ping/1.0.0" not in store.get_protocols(target):
                await trio.lowlevel.checkpoint()
            big = await alice.open_stream(bob.peer_id, identify.PUSH)
            await big.write_frame(Identify(protocols=["/new/1"] * 10_000).SerializeToString(), limit=1_000_000)
            with pytest.raises(StreamLost):
                await big.read_some()
            small = await alice.open_stream(bob.peer_id, identify.PUSH)
            await small.write_frame(Identify(protocols=["/new/1"]).SerializeToString(), limit=100)
            assert await small.read_some() == b""
            assert store.get_protocols(target) == ["/new/1"]


class Says:
    """A stream of a peer that answers identify with these bytes."""

    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer

    async def read_frame(self, *, limit: int) -> bytes | None:
        assert limit == limits.IDENTIFY_BYTES
        if self._answer == b"silence":
            await trio.sleep_forever()
        return self._answer

    async def close(self) -> None:
        return


@pytest.mark.parametrize(
    ("answer", "error"), [(b"\xff\xff", ProtocolViolation), (None, StreamLost), (b"silence", StreamLost)]
)
async def test_a_bad_answer_is_an_error_in_bounded_time(
    answer: bytes | None, error: type[CoveyError], autojump_clock: Any
) -> None:
    stream: Any = Says(answer)
    with pytest.raises(error):
        await identify.hear(stream, stranger(1), PeerStore())
    assert trio.current_time() <= limits.NEGOTIATE_SECONDS


async def test_a_peer_cannot_speak_for_another(autojump_clock: Any) -> None:
    store = PeerStore()
    victim, liar = stranger(1), stranger(2)
    key = create_new_key_pair((1).to_bytes(32)).public_key.serialize()
    message = Identify(public_key=key, listen_addrs=[Multiaddr("/ip4/192.0.2.1/tcp/1").to_bytes()])
    stream: Any = Says(message.SerializeToString())
    await identify.hear(stream, liar, store)
    assert victim not in store.peer_ids()


def stranger(number: int) -> ID:
    return ID.from_pubkey(create_new_key_pair(number.to_bytes(32)).public_key)


def test_the_longest_known_strangers_are_forgotten_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REMEMBERED_PEERS", 4)
    store = PeerStore()
    own = stranger(1)
    store.add_key_pair(own, create_new_key_pair((1).to_bytes(32)))
    peers = [stranger(number) for number in range(2, 12)]
    for peer in peers:
        store.add_addr(peer, Multiaddr("/ip4/192.0.2.1/tcp/1"), 3_600)
    identify.forget_strangers(store, connected=frozenset(peers[:2]), own=own)
    assert set(store.peer_ids()) == {own, peers[0], peers[1], peers[9]}
    assert store.privkey(own)


async def test_of_an_identify_answer_no_more_is_looked_at_than_an_honest_one_holds(public: Network) -> None:
    """1,600 addresses fit into one message, and cost a third of a second of everybody's time."""
    with trio.fail_after(30):
        async with host_on(public) as bob, host_on(public) as alice:
            await alice.connect(bob.peer_id, bob.addrs)
            while bob.agent(alice.peer_id) is None:
                await trio.lowlevel.checkpoint()
            many = Identify(
                listen_addrs=[Multiaddr(f"/ip4/192.0.2.1/tcp/{port}").to_bytes() for port in range(1, 1_001)],
                protocols=[f"/{number}" for number in range(600)],
                signedPeerRecord=bytes(limits.IDENTIFY_RECORD_BYTES + 1),
            )
            stream = await alice.open_stream(bob.peer_id, identify.PUSH)
            await stream.write_frame(many.SerializeToString(), limit=limits.IDENTIFY_BYTES)
            assert await stream.read_some() == b""
            assert len(bob.listen_addrs_of(alice.peer_id)) == limits.IDENTIFY_ADDRESSES
            store, target = bob.libp2p.get_peerstore(), ID.from_base58(alice.peer_id)
            assert len(store.get_protocols(target)) == limits.IDENTIFY_PROTOCOLS
            assert not bob.speaks(alice.peer_id, "/599")


async def test_a_long_signed_record_is_not_even_parsed(public: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []

    async def update(_store: Any, _peer: ID, message: Identify) -> None:
        parsed.append(len(message.signedPeerRecord))

    monkeypatch.setattr(identify, "update_peerstore_from_identify", update)
    with trio.fail_after(30):
        async with host_on(public) as bob, host_on(public) as alice:
            await alice.connect(bob.peer_id, bob.addrs)
            for size in (limits.IDENTIFY_RECORD_BYTES, limits.IDENTIFY_RECORD_BYTES + 1):
                stream = await alice.open_stream(bob.peer_id, identify.PUSH)
                await stream.write_frame(
                    Identify(signedPeerRecord=bytes(size)).SerializeToString(), limit=limits.IDENTIFY_BYTES
                )
                assert await stream.read_some() == b""
    assert limits.IDENTIFY_RECORD_BYTES in parsed
    assert max(parsed) == limits.IDENTIFY_RECORD_BYTES
