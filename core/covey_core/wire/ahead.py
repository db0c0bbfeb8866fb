"""Contact records signed ahead: what a node says to a relay that is to publish them, and what a relay may take.

Owns: the messages of `/covey/<8 hex>/ahead/1`, which records may be left for which day, what a withdrawal is signed
over. Spec: docs/spec/ahead.md. Never touches: streams, where records lie (covey_relay.ahead), how one is sealed.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from google.protobuf.message import DecodeError
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from covey_core import limits
from covey_core.errors import FrameTooLarge, ProtocolViolation
from covey_core.peers import PeerId, peer_id_bytes
from covey_core.records import ContactRecord, decode_record, record_key, verify_record
from covey_core.wire import uvarint
from covey_core.wire.pb import ahead_pb2 as pb

AHEAD_NAME: Final = "ahead"
"""The protocol's name: `network.protocol(AHEAD_NAME)` is its id."""

WITHDRAW_CONTEXT: Final = b"covey record withdrawn 1\x00"

_DAY_SECONDS: Final = 86_400
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_SEQUENCE_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Leave:
    """Keep this contact record (a value of the DHT) and publish it on its day."""

    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take back what lies under `day_key` (32 bytes) up to `sequence`; `signature` (64 bytes) is by `day_key`."""

    day_key: bytes
    sequence: int
    signature: bytes = field(repr=False)


AheadRequest = Leave | Withdraw


class AheadOutcome(IntEnum):
    """What became of a request."""

    DONE = 1
    NEWER = 2
    TIME = 3
    FULL = 4
    BUSY = 5
    ADDED = 6


@dataclass(frozen=True, slots=True)
class AheadAnswer:
    """`retry_after`: seconds (0 to 86,400), for BUSY only."""

    outcome: AheadOutcome
    retry_after: int = 0


# --- which records ----------------------------------------------------------------------------------------------------


def expiry_of(day: int) -> int:
    """Return when a record signed ahead for the UTC day expires, Unix seconds: when the day after it ends."""
    return (day + 2) * _DAY_SECONDS


def begin_of(day: int) -> int:
    """Return when the UTC day begins, Unix seconds; the sequences of records signed ahead for it lie below."""
    return day * _DAY_SECONDS


def verify_ahead(value: bytes) -> tuple[int, ContactRecord]:
    """Return the day that `value` was signed ahead for, and the record, checked as of the beginning of that day.

    Raises `ProtocolViolation` unless it is a record that every storing node takes then, and its expiry and sequence are
    what they have to be. Whether the day may still come is the caller's to say.
    """
    record = decode_record(value)
    day, rest = divmod(record.expires_at, _DAY_SECONDS)
    day -= 2
    if rest or day < 1:
        raise ProtocolViolation("a record signed ahead expires when a day ends")
    if not 0 < record.sequence < begin_of(day):
        raise ProtocolViolation(f"the sequence {record.sequence} of a record signed ahead; it lies below its day")
    return day, verify_record(record_key(record.day_key), value, begin_of(day))


def withdrawal_part(*, relay: PeerId, day_key: bytes, sequence: int) -> bytes:
    """Return the bytes that the day's key signs to take back at `relay` what lies there up to `sequence`."""
    name = peer_id_bytes(relay)
    return WITHDRAW_CONTEXT + uvarint.encode(len(name)) + name + day_key + sequence.to_bytes(8, "big")


def verify_withdrawal(request: Withdraw, *, relay: PeerId) -> None:
    """Raise `ProtocolViolation` unless the day's key signed this for this relay."""
    signed = withdrawal_part(relay=relay, day_key=request.day_key, sequence=request.sequence)
    try:
        VerifyKey(request.day_key).verify(signed, request.signature)
    except BadSignatureError as exc:
        raise ProtocolViolation("a withdrawal whose signature does not fit") from exc


# --- bytes ------------------------------------------------------------------------------------------------------------


def encode_request(request: AheadRequest) -> bytes:
    """Return the protobuf form, without a length before it."""
    match request:
        case Leave(value):
            out = pb.AheadRequest(leave=pb.Leave(value=value))
        case Withdraw(day_key, sequence, signature):
            _check_withdraw(request)
            out = pb.AheadRequest(withdraw=pb.Withdraw(day_key=day_key, sequence=sequence, signature=signature))
    return out.SerializeToString(deterministic=True)


def decode_request(data: bytes) -> AheadRequest:
    """Return the request in `data`, its form checked and nothing else; `ProtocolViolation` when it is none."""
    if len(data) > limits.AHEAD_REQUEST_BYTES:
        raise FrameTooLarge(size=len(data), limit=limits.AHEAD_REQUEST_BYTES)
    found = pb.AheadRequest()
    try:
        found.ParseFromString(data)
    except DecodeError as exc:
        raise ProtocolViolation("these bytes ask nothing about records signed ahead") from exc
    match found.WhichOneof("request"):
        case "leave":
            return Leave(found.leave.value)
        case "withdraw":
            request = Withdraw(found.withdraw.day_key, found.withdraw.sequence, found.withdraw.signature)
            _check_withdraw(request)
            return request
        case _:
            raise ProtocolViolation("a request about records signed ahead that asks nothing")


def encode_answer(answer: AheadAnswer) -> bytes:
    """Return the protobuf form, without a length before it."""
    _check_answer(answer)
    return pb.AheadAnswer(outcome=answer.outcome, retry_after=answer.retry_after).SerializeToString(deterministic=True)


def decode_answer(data: bytes) -> AheadAnswer:
    """Return the answer in `data`; `ProtocolViolation` when it is none."""
    if len(data) > limits.AHEAD_ANSWER_BYTES:
        raise FrameTooLarge(size=len(data), limit=limits.AHEAD_ANSWER_BYTES)
    found = pb.AheadAnswer()
    try:
        found.ParseFromString(data)
        answer = AheadAnswer(AheadOutcome(found.outcome), found.retry_after)
    except (DecodeError, ValueError) as exc:
        raise ProtocolViolation("an answer about records signed ahead that is none") from exc
    _check_answer(answer)
    return answer


def _check_withdraw(request: Withdraw) -> None:
    if len(request.day_key) != _KEY_BYTES or len(request.signature) != _SIGNATURE_BYTES:
        raise ProtocolViolation("a withdrawal needs a day key of 32 bytes and a signature of 64")
    if not 0 < request.sequence <= _SEQUENCE_MAX:
        raise ProtocolViolation(f"a withdrawal up to the sequence {request.sequence}")


def _check_answer(answer: AheadAnswer) -> None:
    longest = limits.AHEAD_RETRY_SECONDS if answer.outcome is AheadOutcome.BUSY else 0
    if not 0 <= answer.retry_after <= longest:
        raise ProtocolViolation(f"an answer that says to come back after {answer.retry_after} s")
