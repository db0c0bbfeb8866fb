import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core import limits
from covey_core.errors import FrameTooLarge, ProtocolViolation
from covey_core.identity import Identity
from covey_core.peers import peer_id_of
from covey_core.wire.circuit import (
    CircuitLimit,
    CircuitPeer,
    HopMessage,
    HopType,
    Reservation,
    Status,
    StopMessage,
    StopType,
    decode_hop,
    decode_stop,
    encode_hop,
    encode_stop,
)

PEER = peer_id_of(bytes(range(32)))

peers = st.builds(
    CircuitPeer,
    st.binary(min_size=32, max_size=32).map(peer_id_of),
    st.lists(st.binary(max_size=60), max_size=4).map(tuple),
)
circuit_limits = st.builds(CircuitLimit, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
reservations = st.builds(
    Reservation,
    st.integers(0, 2**64 - 1),
    st.lists(st.binary(max_size=60), max_size=16).map(tuple),
    st.none() | st.binary(max_size=200),
)
hops = st.one_of(
    st.just(HopMessage(HopType.RESERVE)),
    st.builds(HopMessage, st.just(HopType.CONNECT), peers),
    st.builds(
        HopMessage,
        st.just(HopType.STATUS),
        st.none() | peers,
        st.none() | reservations,
        st.none() | circuit_limits,
        st.sampled_from(Status),
    ),
)
stops = st.one_of(
    st.builds(StopMessage, st.just(StopType.CONNECT), peers, st.none() | circuit_limits),
    st.builds(StopMessage, st.just(StopType.STATUS), st.none() | peers, st.none(), st.sampled_from(Status)),
)


@given(hops)
def test_a_hop_message_goes_through_unchanged(message):
    assert decode_hop(encode_hop(message)) == message


@given(stops)
def test_a_stop_message_goes_through_unchanged(message):
    assert decode_stop(encode_stop(message)) == message


@given(hops)
def test_py_libp2ps_generated_code_reads_our_hop_messages_and_we_its_own(message):
    from libp2p.relay.circuit_v2.pb import circuit_pb2  # noqa: PLC0415 - slow to import

    data = encode_hop(message)
    foreign = circuit_pb2.HopMessage()
    foreign.ParseFromString(data)
    assert foreign.type == message.type
    assert decode_hop(foreign.SerializeToString()) == message


def test_the_type_zero_is_written_out_for_those_who_require_it():
    # relay/circuit-v2.md marks it optional for backwards compatibility with proto2 only: "always set this".
    assert encode_hop(HopMessage(HopType.RESERVE)) == bytes.fromhex("0800")
    assert encode_stop(StopMessage(StopType.STATUS, status=Status.OK)) == bytes.fromhex("08012064")


@pytest.mark.parametrize("decode", [decode_hop, decode_stop])
@given(data=st.binary(max_size=120))
def test_any_bytes_are_a_message_or_a_violation(decode, data):
    try:
        message = decode(data)
    except ProtocolViolation:
        return
    encode = encode_hop if decode is decode_hop else encode_stop
    assert decode(encode(message)) == message


@pytest.mark.parametrize("text", [
    "",  # no type
    "0803", "08ffffffffffffffffff01",  # unknown types
    "0801",  # CONNECT without a peer
    "0802",  # STATUS without a status
    "080228c901" + "ff",  # trailing garbage
    "0802" + "28cd01",  # status 205, which the spec does not name
    "0801" + "1200",  # a peer without an id
    "0801" + "12020a00",  # an empty id
])  # fmt: skip
def test_a_malformed_hop_message_is_a_violation(text):
    with pytest.raises(ProtocolViolation):
        decode_hop(bytes.fromhex(text))


@pytest.mark.parametrize("text", ["", "0802", "0800", "0801", "0801" + "20cd01"])
def test_a_malformed_stop_message_is_a_violation(text):
    with pytest.raises(ProtocolViolation):
        decode_stop(bytes.fromhex(text))


def test_a_foreign_field_of_a_later_version_is_passed_over():
    assert decode_hop(bytes.fromhex("0800" + "9a0603616263")) == HopMessage(HopType.RESERVE)


@pytest.mark.parametrize("reservation", [
    Reservation(1, (b"x",) * (limits.CIRCUIT_ADDRESSES + 1)),
    Reservation(1, (bytes(limits.ADDRESS_MAX_BYTES + 1),)),
    Reservation(1, (), bytes(limits.VOUCHER_MAX_BYTES + 1)),
])  # fmt: skip
def test_fields_over_their_bounds_are_violations(reservation):
    with pytest.raises(ProtocolViolation, match=r"over the limit|more than"):
        decode_hop(encode_hop(HopMessage(HopType.STATUS, status=Status.OK, reservation=reservation)))


def test_a_message_over_the_limit_is_neither_read_nor_written():
    with pytest.raises(FrameTooLarge):
        decode_hop(bytes(limits.CIRCUIT_MESSAGE_BYTES + 1))
    with pytest.raises(FrameTooLarge):
        encode_stop(StopMessage(StopType.CONNECT, CircuitPeer(PEER, (bytes(limits.CIRCUIT_MESSAGE_BYTES),))))


def test_a_peer_id_of_another_key_type_is_carried():
    rsa = b"\x12\x20" + bytes(32)
    message = decode_hop(b"\x08\x01\x12" + bytes([len(rsa) + 2]) + b"\x0a" + bytes([len(rsa)]) + rsa)
    assert message.peer is not None
    assert message.peer.id.startswith("Qm")


def test_the_status_codes_are_the_specs():
    codes = {status.name: status.value for status in Status}
    assert codes == {
        "UNUSED": 0, "OK": 100, "RESERVATION_REFUSED": 200, "RESOURCE_LIMIT_EXCEEDED": 201, "PERMISSION_DENIED": 202,
        "CONNECTION_FAILED": 203, "NO_RESERVATION": 204, "MALFORMED_MESSAGE": 400, "UNEXPECTED_MESSAGE": 401,
    }  # fmt: skip


def test_an_identity_can_be_named_in_a_message():
    message = HopMessage(HopType.CONNECT, CircuitPeer(Identity(bytes(32)).peer_id))
    assert decode_hop(encode_hop(message)) == message
