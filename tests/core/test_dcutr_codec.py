import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiaddr import Multiaddr

from covey_core import limits
from covey_core.errors import FrameTooLarge, ProtocolViolation
from covey_core.peers import peer_id_of
from covey_core.wire.dcutr import HolePunch, HolePunchType, decode_hole_punch, encode_hole_punch
from covey_core.wire.direct_addr import DirectAddr

PEER = peer_id_of(bytes(range(32)))

messages = st.builds(
    HolePunch,
    st.sampled_from(HolePunchType),
    st.lists(st.binary(max_size=60), max_size=limits.DCUTR_ADDRESSES).map(tuple),
    st.sampled_from([None, "none", "easy", "hard", "udp_blocked"]),
)
direct_addrs = st.builds(
    DirectAddr,
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str),
    st.sampled_from(["tcp", "quic"]),
    st.integers(1, 65535),
)

# The specification gives the schema and the numbers of the types; these are the bytes that follow from them, the
# addresses in the codes of multiformats' table.
CONNECT = bytes.fromhex(
    "0864"  # field 1, varint 100
    "1208 042d4f2865 060fa1"  # /ip4/45.79.40.101/tcp/4001
    "120b 042d4f2865 91020fa1 cd03"  # /ip4/45.79.40.101/udp/4001/quic-v1
    "1214 2920010db8000000000000000000000001 060fa1"  # /ip6/2001:db8::1/tcp/4001
)
ADDRS = ("/ip4/45.79.40.101/tcp/4001", "/ip4/45.79.40.101/udp/4001/quic-v1", "/ip6/2001:db8::1/tcp/4001")
SYNC = bytes.fromhex("08ac02")


def test_connect_and_sync_have_the_bytes_that_the_specification_asks_for():
    addrs = tuple(Multiaddr(text).to_bytes() for text in ADDRS)
    assert encode_hole_punch(HolePunch(HolePunchType.CONNECT, addrs)) == CONNECT
    assert encode_hole_punch(HolePunch(HolePunchType.SYNC)) == SYNC
    assert decode_hole_punch(CONNECT) == HolePunch(HolePunchType.CONNECT, addrs)
    assert decode_hole_punch(SYNC) == HolePunch(HolePunchType.SYNC)
    assert tuple(str(DirectAddr.decode(addr)) for addr in decode_hole_punch(CONNECT).addrs) == ADDRS


@given(messages)
def test_a_message_goes_through_unchanged(message):
    assert decode_hole_punch(encode_hole_punch(message)) == message


def test_the_senders_nat_is_a_field_of_our_own_that_others_pass_over():
    assert encode_hole_punch(HolePunch(HolePunchType.CONNECT, nat="hard")).hex() == "0864a00603"
    assert encode_hole_punch(HolePunch(HolePunchType.CONNECT, nat="unknown")).hex() == "0864"
    for number in ("00", "05", "ffffffff07"):
        assert decode_hole_punch(bytes.fromhex(f"0864a006{number}")) == HolePunch(HolePunchType.CONNECT)


@given(st.binary(max_size=2 * limits.DCUTR_MESSAGE_BYTES))
def test_any_bytes_are_a_message_or_a_violation(data):
    try:
        message = decode_hole_punch(data)
    except ProtocolViolation:
        return
    assert len(message.addrs) <= limits.DCUTR_ADDRESSES
    assert all(len(addr) <= limits.ADDRESS_MAX_BYTES for addr in message.addrs)


@pytest.mark.parametrize("data", [b"", b"\x08\x01", b"\x08\xc8\x01", b"\x12\x03abc", b"\xff" * 40])
def test_a_message_without_a_type_of_the_specification_is_a_violation(data):
    with pytest.raises(ProtocolViolation):
        decode_hole_punch(data)


def test_a_message_over_four_kib_is_refused_in_both_directions():
    with pytest.raises(FrameTooLarge):
        decode_hole_punch(SYNC + b"\x12\xfe\x1f" + bytes(4094))
    with pytest.raises(FrameTooLarge):
        encode_hole_punch(HolePunch(HolePunchType.CONNECT, (bytes(500),) * 9))


def test_of_many_addresses_the_first_sixteen_are_looked_at_and_too_long_ones_are_not():
    many = HolePunch(HolePunchType.CONNECT, (bytes(513), *(bytes([i]) * 4 for i in range(40))))
    assert decode_hole_punch(encode_hole_punch(many)).addrs == tuple(bytes([i]) * 4 for i in range(16))


@given(direct_addrs)
def test_a_direct_address_is_the_same_multiaddr_as_text_and_in_bytes(addr):
    there = Multiaddr(str(addr))
    assert addr.encode() == there.to_bytes()
    assert DirectAddr.decode(there.to_bytes()) == addr
    assert DirectAddr.parse(str(there)) == addr


@given(direct_addrs)
def test_a_peer_id_behind_a_direct_address_is_left_out(addr):
    assert DirectAddr.parse(f"{addr}/p2p/{PEER}") == addr
    assert DirectAddr.decode(Multiaddr(f"{addr}/p2p/{PEER}").to_bytes()) == addr


@given(st.binary(max_size=80))
def test_any_bytes_are_a_direct_address_or_none(data):
    found = DirectAddr.decode(data)
    assert found is None or DirectAddr.parse(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/1.2.3.4/tcp/0",
        "/ip4/1.2.3.4/udp/4001",
        "/ip4/1.2.3.4/udp/4001/quic",
        "/ip4/1.2.3.4/tcp/4001/ws",
        "/dns4/example.org/tcp/4001",
        f"/ip4/1.2.3.4/tcp/4001/p2p/{PEER}/p2p-circuit",
        f"/ip4/1.2.3.4/tcp/4001/p2p/{PEER}/p2p-circuit/p2p/{PEER}",
        "/ip4/1.2.3.4/udp/4001/quic-v1/webtransport",
        "/ip6/fe80::1/tcp/4001/ws",
    ],
)
def test_other_addresses_are_no_direct_addresses(text):
    assert DirectAddr.parse(text) is None
    assert DirectAddr.decode(Multiaddr(text).to_bytes()) is None


@pytest.mark.parametrize(
    "text", ["", "/", "/ip4/::1/tcp/1", "/ip6/1.2.3.4/tcp/1", "/ip4/1.2.3.4/tcp/65536", "/ip6/fe80::1%a/tcp/1"]
)
def test_what_is_no_address_is_no_direct_address(text):
    assert DirectAddr.parse(text) is None
