import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core import limits
from covey_core.errors import FrameTooLarge, ProtocolViolation
from covey_core.wire.autonat import (
    DialData,
    DialDataRequest,
    DialRequest,
    DialResponse,
    DialStatus,
    ResponseStatus,
    decode_dial_back,
    decode_dial_back_response,
    decode_message,
    encode_dial_back,
    encode_dial_back_response,
    encode_message,
)

nonces = st.integers(0, 2**64 - 1)
messages = st.one_of(
    st.builds(DialRequest, st.lists(st.binary(max_size=60), max_size=50).map(tuple), nonces),
    st.builds(DialDataRequest, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)),
    st.builds(DialData, st.binary(max_size=limits.AUTONAT_DATA_BYTES)),
    st.builds(DialResponse, st.sampled_from(ResponseStatus), st.integers(0, 2**32 - 1), st.sampled_from(DialStatus)),
)


@given(messages)
def test_a_message_goes_through_unchanged(message):
    assert decode_message(encode_message(message)) == message


@given(nonces)
def test_a_nonce_goes_through_unchanged(nonce):
    assert decode_dial_back(encode_dial_back(nonce)) == nonce


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_violation(data):
    for decode in (decode_message, decode_dial_back, decode_dial_back_response):
        try:
            decode(data)
        except ProtocolViolation:
            continue


def test_the_fields_have_the_numbers_of_the_specification():
    # Written down from autonat-v2.md by hand: field << 3 | wire type.
    nonce = (1).to_bytes(8, "little")
    assert encode_message(DialRequest((b"\x04",), 1)) == b"\x0a\x0c" + b"\x0a\x01\x04" + b"\x11" + nonce
    assert encode_message(DialResponse(ResponseStatus.OK, 1, DialStatus.E_DIAL_ERROR)) == (
        b"\x12\x07" + b"\x08\xc8\x01" + b"\x10\x01" + b"\x18\x64"
    )
    assert encode_message(DialDataRequest(2, 30_000)) == b"\x1a\x06" + b"\x08\x02" + b"\x10\xb0\xea\x01"
    assert encode_message(DialData(b"ab")) == b"\x22\x04" + b"\x0a\x02ab"
    assert encode_dial_back(1) == b"\x09" + nonce
    assert encode_dial_back_response() == b""


def test_an_internal_error_is_a_message_although_all_its_fields_are_zero():
    assert encode_message(DialResponse(ResponseStatus.E_INTERNAL_ERROR)) == b"\x12\x00"
    assert decode_message(b"\x12\x00") == DialResponse(ResponseStatus.E_INTERNAL_ERROR)


@pytest.mark.parametrize("data", [b"\x12\x02\x08\x65\x07", b"\x12\x02\x08\x63", b"\x12\x02\x18\x01", b"", b"\x2a\x00"])
def test_what_the_specification_does_not_name_is_a_violation(data):
    with pytest.raises(ProtocolViolation):
        decode_message(data)


def test_only_the_first_fifty_addresses_count():
    addrs = tuple(bytes([number]) for number in range(60))
    assert decode_message(encode_message(DialRequest(addrs, 7))) == DialRequest(addrs[:50], 7)


def test_dial_data_has_at_most_4096_bytes_a_message():
    with pytest.raises(ProtocolViolation, match="4097"):
        decode_message(encode_message(DialData(bytes(4097))))


def test_a_message_over_8192_bytes_is_neither_written_nor_read():
    with pytest.raises(FrameTooLarge):
        encode_message(DialData(bytes(8200)))
    with pytest.raises(FrameTooLarge):
        decode_message(bytes(8193))


def test_a_dial_back_answered_with_something_else_than_ok_is_a_violation():
    decode_dial_back_response(b"")
    with pytest.raises(ProtocolViolation):
        decode_dial_back_response(b"\x08\x01")
