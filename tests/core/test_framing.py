import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import FrameTooLarge, ProtocolViolation
from covey_core.wire import uvarint
from covey_core.wire.framing import FrameDecoder, encode_frame

# multiformats/unsigned-varint, README, "Examples"
EXAMPLES = [
    (1, "01"), (127, "7f"), (128, "8001"), (255, "ff01"), (300, "ac02"), (16384, "808001"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), EXAMPLES)
def test_the_specs_examples(value, text):
    assert uvarint.encode(value).hex() == text
    assert uvarint.decode(bytes.fromhex(text)) == (value, len(text) // 2)


@given(st.integers(0, uvarint.MAX_VALUE), st.binary(max_size=4), st.binary(max_size=4))
def test_a_varint_is_found_where_it_starts(value, before, after):
    data = uvarint.encode(value)
    assert len(data) <= 9
    assert uvarint.decode(before + data + after, len(before)) == (value, len(before) + len(data))
    for cut in range(len(data)):
        assert uvarint.decode(data[:cut]) is None


@pytest.mark.parametrize("value", [-1, uvarint.MAX_VALUE + 1])
def test_a_value_that_does_not_fit_is_refused(value):
    with pytest.raises(ValueError, match="does not fit"):
        uvarint.encode(value)


@pytest.mark.parametrize("text", ["8000", "ff00", "80808080808080808001", "ffffffffffffffffff7f"])
def test_long_and_padded_varints_are_violations(text):
    with pytest.raises(ProtocolViolation):
        uvarint.decode(bytes.fromhex(text))


@given(st.binary(max_size=12))
def test_any_bytes_are_a_varint_or_the_beginning_of_one_or_a_violation(data):
    try:
        found = uvarint.decode(data)
    except ProtocolViolation:
        return
    if found is not None:
        value, end = found
        assert uvarint.encode(value) == data[:end]


@given(st.lists(st.binary(max_size=300), max_size=8), st.data())
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(payloads, data):
    stream = b"".join(encode_frame(payload, limit=300) for payload in payloads)
    decoder = FrameDecoder(limit=300)
    out = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        assert decoder.missing_bytes > 0
        decoder.feed(stream[:size])
        stream = stream[size:]
        while (frame := decoder.next_frame()) is not None:
            out.append(frame)
    assert out == payloads
    assert decoder.is_between_frames


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_stream_gives_frames_or_a_violation_and_never_more_than_the_limit(chunks):
    decoder = FrameDecoder(limit=20)
    try:
        for chunk in chunks:
            decoder.feed(chunk)
            while (frame := decoder.next_frame()) is not None:
                assert len(frame) <= 20
    except ProtocolViolation:
        return


def test_an_oversize_frame_is_refused_at_its_length_before_its_bytes_come():
    decoder = FrameDecoder(limit=100)
    decoder.feed(uvarint.encode(101))
    with pytest.raises(FrameTooLarge) as caught:
        decoder.next_frame()
    assert (caught.value.size, caught.value.limit) == (101, 100)


def test_an_oversize_payload_is_not_encoded():
    with pytest.raises(FrameTooLarge):
        encode_frame(bytes(11), limit=10)


def test_a_cut_frame_is_no_clean_end():
    decoder = FrameDecoder(limit=10)
    decoder.feed(encode_frame(b"abc", limit=10)[:-1])
    assert decoder.next_frame() is None
    assert not decoder.is_between_frames
    assert decoder.missing_bytes == 1
    decoder.feed(b"c")
    assert decoder.next_frame() == b"abc"
    assert decoder.is_between_frames
