"""The frames of `/covey/chat/1` (packets and acknowledgements) and `/covey/contact/1` (key bundles).

Owns: the frame values and their encoding. Spec: docs/spec/chat.md.
Never touches: sockets, sessions, the database.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from google.protobuf.message import DecodeError, Message

from covey_core.errors import ProtocolViolation
from covey_node import limits
from covey_node.protocol.pb import chat_pb2 as pb


class Outcome(IntEnum):
    """What became of a packet on the other side. Sent only after it is durable there."""

    ACCEPTED = 1
    DUPLICATE = 2
    RETRY_LATER = 3
    UNDECRYPTABLE = 4
    NOT_A_CONTACT = 5
    INVITE_UNKNOWN = 6
    INVITE_USED = 7
    INVITE_EXPIRED = 8
    TOO_MANY_REQUESTS = 9

    @property
    def delivered(self) -> bool:
        """Whether the other device has the packet."""
        return self in {Outcome.ACCEPTED, Outcome.DUPLICATE}


@dataclass(frozen=True, slots=True)
class Packet:
    """One sealed envelope, numbered by its sender within the stream."""

    number: int
    blob: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ack:
    """The answer to the packet of the same number."""

    number: int
    outcome: Outcome


class BundleOutcome(IntEnum):
    """Whether a key bundle is handed out."""

    HERE = 1
    NO_SUCH_ACCOUNT = 2
    RETRY_LATER = 3


@dataclass(frozen=True, slots=True)
class BundleRequest:
    """A question for the key bundle of the account that lives here."""

    account_key: bytes


@dataclass(frozen=True, slots=True)
class BundleReply:
    """The bundle, or why there is none."""

    outcome: BundleOutcome
    bundle: bytes = b""


def encode_packet(packet: Packet) -> bytes:
    """Return the frame payload of a packet."""
    return pb.ChatFrame(packet=pb.Packet(number=packet.number, blob=packet.blob)).SerializeToString()


def encode_ack(ack: Ack) -> bytes:
    """Return the frame payload of an acknowledgement."""
    outcome = pb.Ack.Outcome.Name(ack.outcome.value)
    return pb.ChatFrame(ack=pb.Ack(number=ack.number, outcome=outcome)).SerializeToString()


def decode_chat_frame(data: bytes) -> Packet | Ack:
    """Return the packet or acknowledgement in a frame payload; ProtocolViolation for anything else."""
    frame = pb.ChatFrame()
    _parse(frame, data)
    kind = frame.WhichOneof("body")
    if kind == "packet":
        if not 0 < len(frame.packet.blob) <= limits.PACKET_BYTES:
            raise ProtocolViolation(f"packet of {len(frame.packet.blob)} bytes")
        return Packet(frame.packet.number, frame.packet.blob)
    if kind == "ack":
        try:
            return Ack(frame.ack.number, Outcome(frame.ack.outcome))
        except ValueError as exc:
            raise ProtocolViolation("acknowledgement of an unknown outcome") from exc
    raise ProtocolViolation("chat frame of an unknown kind")


def encode_bundle_request(request: BundleRequest) -> bytes:
    """Return the frame payload of a question for a key bundle."""
    return pb.BundleRequest(account_key=request.account_key).SerializeToString()


def decode_bundle_request(data: bytes) -> BundleRequest:
    """Return the question in a frame payload."""
    message = pb.BundleRequest()
    _parse(message, data)
    if len(message.account_key) != limits.ACCOUNT_KEY_BYTES:
        raise ProtocolViolation(f"account key of {len(message.account_key)} bytes")
    return BundleRequest(message.account_key)


def encode_bundle_reply(reply: BundleReply) -> bytes:
    """Return the frame payload of an answer with a key bundle."""
    outcome = pb.BundleReply.Outcome.Name(reply.outcome.value)
    return pb.BundleReply(outcome=outcome, bundle=reply.bundle).SerializeToString()


def decode_bundle_reply(data: bytes) -> BundleReply:
    """Return the answer in a frame payload; the bundle inside is still to be verified."""
    message = pb.BundleReply()
    _parse(message, data)
    try:
        outcome = BundleOutcome(message.outcome)
    except ValueError as exc:
        raise ProtocolViolation("bundle reply of an unknown outcome") from exc
    if len(message.bundle) > limits.BUNDLE_BYTES or (outcome is BundleOutcome.HERE and not message.bundle):
        raise ProtocolViolation(f"bundle of {len(message.bundle)} bytes")
    return BundleReply(outcome, message.bundle)


def _parse(message: Message, data: bytes) -> None:
    try:
        message.ParseFromString(data)
    except DecodeError as exc:
        raise ProtocolViolation("frame is not protobuf") from exc
