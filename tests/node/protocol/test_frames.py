"""Frames of the chat and contact streams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_core.errors import ProtocolViolation
from covey_node import limits
from covey_node.protocol import frames
from covey_node.protocol.pb import chat_pb2 as pb


@given(st.integers(0, 2**64 - 1), st.binary(min_size=1, max_size=200))
def test_a_packet_comes_back(number: int, blob: bytes) -> None:
    packet = frames.Packet(number, blob)
    assert frames.decode_chat_frame(frames.encode_packet(packet)) == packet


@given(st.integers(0, 2**64 - 1), st.sampled_from(frames.Outcome))
def test_an_acknowledgement_comes_back(number: int, outcome: frames.Outcome) -> None:
    ack = frames.Ack(number, outcome)
    assert frames.decode_chat_frame(frames.encode_ack(ack)) == ack


@given(st.sampled_from(frames.BundleOutcome), st.binary(min_size=1, max_size=200))
def test_a_bundle_reply_comes_back(outcome: frames.BundleOutcome, bundle: bytes) -> None:
    reply = frames.BundleReply(outcome, bundle)
    assert frames.decode_bundle_reply(frames.encode_bundle_reply(reply)) == reply


def test_a_bundle_request_comes_back() -> None:
    request = frames.BundleRequest(b"k" * 32)
    assert frames.decode_bundle_request(frames.encode_bundle_request(request)) == request


@pytest.mark.parametrize("decode", [frames.decode_chat_frame, frames.decode_bundle_request, frames.decode_bundle_reply])
@given(data=st.binary(max_size=300))
def test_any_bytes_decode_or_are_a_violation(decode: object, data: bytes) -> None:
    try:
        decode(data)  # type: ignore[operator]
    except ProtocolViolation:
        pass


@pytest.mark.parametrize(
    ("decode", "data"),
    [
        (frames.decode_chat_frame, pb.ChatFrame().SerializeToString()),
        (frames.decode_chat_frame, pb.ChatFrame(packet=pb.Packet(number=1)).SerializeToString()),
        (
            frames.decode_chat_frame,
            pb.ChatFrame(packet=pb.Packet(number=1, blob=b"x" * (limits.PACKET_BYTES + 1))).SerializeToString(),
        ),
        (frames.decode_chat_frame, pb.ChatFrame(ack=pb.Ack(number=1)).SerializeToString()),
        (frames.decode_bundle_request, pb.BundleRequest(account_key=b"k" * 31).SerializeToString()),
        (frames.decode_bundle_reply, pb.BundleReply(outcome=pb.BundleReply.HERE).SerializeToString()),
        (frames.decode_bundle_reply, pb.BundleReply(bundle=b"x").SerializeToString()),
        (
            frames.decode_bundle_reply,
            pb.BundleReply(outcome=pb.BundleReply.HERE, bundle=b"x" * (limits.BUNDLE_BYTES + 1)).SerializeToString(),
        ),
    ],
)
def test_a_frame_that_breaks_a_limit_is_a_violation(decode: object, data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        decode(data)  # type: ignore[operator]


def test_only_stored_packets_count_as_delivered() -> None:
    assert {outcome for outcome in frames.Outcome if outcome.delivered} == {
        frames.Outcome.ACCEPTED,
        frames.Outcome.DUPLICATE,
    }
