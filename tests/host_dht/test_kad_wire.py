"""The DHT's messages: round trips, strangers' bytes, and the wire format of other implementations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.kad_dht.pb.kademlia_pb2 import Message as ForeignMessage

from covey_core.errors import ProtocolViolation
from covey_core.host import kad_limits as limits
from covey_core.host.kad_addrs import binary_addr, dialable, subnet_of, text_addr
from covey_core.host.kad_wire import KadMessage, KadPeer, Kind, decode_message, encode_message
from covey_core.network import Scope
from covey_core.peers import peer_id_bytes
from tests.host_dht.values import kad_peer, peer_number

_PEERS = st.lists(st.integers(1, 999).map(kad_peer), max_size=limits.BUCKET_PEERS).map(tuple)


@given(st.sampled_from(Kind), st.binary(min_size=1, max_size=128), st.none() | st.binary(max_size=64), _PEERS)
def test_a_message_comes_back_as_it_was(
    kind: Kind, key: bytes, value: bytes | None, closer: tuple[KadPeer, ...]
) -> None:
    message = KadMessage(kind, key, value, "2026-01-01T00:00:00Z" if value is not None else "", closer)
    assert decode_message(encode_message(message)) == message


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_violation(payload: bytes) -> None:
    try:
        message = decode_message(payload)
    except ProtocolViolation:
        return
    assert len(message.key) <= limits.TARGET_BYTES


def test_a_message_is_what_py_libp2p_reads_and_writes() -> None:
    message = KadMessage(Kind.GET_VALUE, b"/c/key", b"value", "2026-01-01T00:00:00Z", (kad_peer(1),))
    foreign = ForeignMessage.FromString(encode_message(message))
    assert foreign.type == ForeignMessage.MessageType.GET_VALUE
    assert foreign.record.timeReceived == "2026-01-01T00:00:00Z"
    assert foreign.closerPeers[0].id == peer_id_bytes(peer_number(1))
    foreign.clusterLevelRaw = 10
    assert decode_message(foreign.SerializeToString()) == message


def test_a_record_under_another_key_is_a_violation() -> None:
    foreign = ForeignMessage(type=ForeignMessage.MessageType.PUT_VALUE, key=b"/c/a")
    foreign.record.key = b"/c/b"
    with pytest.raises(ProtocolViolation, match="another key"):
        decode_message(foreign.SerializeToString())


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (KadMessage(Kind.FIND_NODE, b"k" * (limits.TARGET_BYTES + 1)), "key of 129 bytes"),
        (KadMessage(Kind.PUT_VALUE, b"/c/k", b"v" * (limits.VALUE_BYTES + 1)), "value of 32769 bytes"),
    ],
)
def test_keys_and_values_over_their_bounds_are_violations(message: KadMessage, problem: str) -> None:
    with pytest.raises(ProtocolViolation, match=problem):
        decode_message(encode_message(message))


def test_an_unknown_type_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation, match="unknown type 9"):
        decode_message(b"\x08\x09")


def test_broken_peer_ids_and_addresses_are_left_out() -> None:
    foreign = ForeignMessage(type=ForeignMessage.MessageType.FIND_NODE, key=b"k")
    foreign.closerPeers.add(id=bytes.fromhex("1220") + bytes(31))
    known = foreign.closerPeers.add(id=peer_id_bytes(peer_number(1)))
    known.addrs.extend([b"\xff\xff", binary_addr("/ip4/10.0.0.1/tcp/1"), b""])
    peer = peer_number(1)
    assert decode_message(foreign.SerializeToString()).closer == (KadPeer(peer, (f"/ip4/10.0.0.1/tcp/1/p2p/{peer}",)),)


def test_a_message_takes_in_no_more_peers_and_addresses_than_its_bounds() -> None:
    foreign = ForeignMessage(type=ForeignMessage.MessageType.FIND_NODE, key=b"k")
    for number in range(100):
        entry = foreign.closerPeers.add(id=peer_id_bytes(peer_number(number)))
        entry.addrs.extend([binary_addr("/ip4/10.0.0.1/tcp/1")] * 100)
    closer = decode_message(foreign.SerializeToString()).closer
    assert len(closer) == limits.BUCKET_PEERS + 1
    assert all(len(p.addrs) == limits.PEER_ADDRESSES for p in closer)


@given(st.binary(max_size=80))
def test_any_bytes_are_an_address_or_none(raw: bytes) -> None:
    text = text_addr(raw, peer_number(1))
    assert text is None or text.endswith(f"/p2p/{peer_number(1)}")


def test_circuit_addresses_and_addresses_of_others_are_none() -> None:
    one, two = peer_number(1), peer_number(2)
    assert text_addr(binary_addr(f"/ip4/10.0.0.1/tcp/1/p2p/{one}"), one) == f"/ip4/10.0.0.1/tcp/1/p2p/{one}"
    from multiaddr import Multiaddr  # noqa: PLC0415 - only here a whole address is needed

    assert text_addr(Multiaddr(f"/ip4/10.0.0.1/tcp/1/p2p/{two}").to_bytes(), one) is None
    circuit = Multiaddr(f"/ip4/10.0.0.1/tcp/1/p2p/{two}/p2p-circuit/p2p/{one}")
    assert text_addr(circuit.to_bytes(), one) is None
    nameless = Multiaddr(f"/ip4/10.0.0.1/tcp/1/p2p-circuit/p2p/{one}")
    assert text_addr(nameless.to_bytes(), one) is None


def test_only_addresses_in_the_scope_are_dialable() -> None:
    good = ("/ip4/93.184.216.34/tcp/1", "/dns4/seed.example/tcp/1")
    addrs = ("/ip4/10.1.2.3/tcp/1", "/ip4/127.0.0.1/tcp/1", *good, "x", "")
    assert dialable(addrs, Scope()) == good
    private = dialable(addrs, Scope(("10.0.0.0/8",)))
    assert "/ip4/10.1.2.3/tcp/1" in private
    assert "/ip4/127.0.0.1/tcp/1" not in private


def test_only_global_addresses_have_a_subnet() -> None:
    assert subnet_of(["/ip4/10.0.0.1/tcp/1", "/ip4/93.184.216.34/tcp/1"]) == "93.184.216.0/24"
    assert subnet_of(["/ip6/2606:2800:220:1::1/tcp/1"]) == "2606:2800:220::/48"
    assert subnet_of(["/dns4/seed.example/tcp/1", "/ip4/127.0.0.1/tcp/1", "/ip4/bad/tcp/1"]) is None
