"""The messages of AutoNAT v2, between who wants to know whether an address is reachable and who tries it.

Owns: the messages of the dial-request and dial-back streams as values. Spec: libp2p specs, autonat/autonat-v2.md;
docs/spec/autonat.md. Never touches: streams, which addresses are dialed.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Protobuf

from covey_core import limits
from covey_core.errors import FrameTooLarge, ProtocolViolation
from covey_core.wire.pb import autonat_pb2 as pb

_Code = TypeVar("_Code", bound=IntEnum)

DIAL_REQUEST_PROTOCOL: Final = "/libp2p/autonat/2/dial-request"
DIAL_BACK_PROTOCOL: Final = "/libp2p/autonat/2/dial-back"

NONCE_MAX: Final = 2**64 - 1


class ResponseStatus(IntEnum):
    """What became of a request, with the spec's codes."""

    E_INTERNAL_ERROR = 0
    E_REQUEST_REJECTED = 100
    E_DIAL_REFUSED = 101
    OK = 200


class DialStatus(IntEnum):
    """What became of the dial, with the spec's codes."""

    UNUSED = 0
    E_DIAL_ERROR = 100
    E_DIAL_BACK_ERROR = 101
    OK = 200


@dataclass(frozen=True, slots=True)
class DialRequest:
    """Addresses (binary multiaddrs, the one that matters most first) and the nonce (64 bits) to bring to one."""

    addrs: tuple[bytes, ...]
    nonce: int


@dataclass(frozen=True, slots=True)
class DialDataRequest:
    """The server wants `num_bytes` of data before it dials the address at `index`."""

    index: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class DialData:
    """A part of the data that was asked for, 4,096 bytes at most."""

    data: bytes


@dataclass(frozen=True, slots=True)
class DialResponse:
    """The server's answer. `index` and `dial_status` mean something only when `status` is OK."""

    status: ResponseStatus
    index: int = 0
    dial_status: DialStatus = DialStatus.UNUSED


Message = DialRequest | DialDataRequest | DialData | DialResponse


def encode_message(message: Message) -> bytes:
    """Return the protobuf form (no length before it); `FrameTooLarge` over 8,192 bytes."""
    match message:
        case DialRequest(addrs, nonce):
            out = pb.Message(dial_request=pb.DialRequest(addrs=addrs, nonce=nonce))
        case DialDataRequest(index, num_bytes):
            out = pb.Message(dial_data_request=pb.DialDataRequest(addr_idx=index, num_bytes=num_bytes))
        case DialData(data):
            out = pb.Message(dial_data_response=pb.DialDataResponse(data=data))
        case DialResponse(status, index, dial_status):
            response = pb.DialResponse(status=status, addr_idx=index, dial_status=dial_status)
            out = pb.Message(dial_response=response)
    return _bounded(out.SerializeToString(deterministic=True), limits.AUTONAT_MESSAGE_BYTES)


def decode_message(data: bytes) -> Message:
    """Return the message in `data`; `ProtocolViolation` when it is none, or has a status that the spec does not name.

    Of a request's addresses the first 50 are kept.
    """
    found = pb.Message()
    _parse(found, data, limits.AUTONAT_MESSAGE_BYTES)
    match found.WhichOneof("msg"):
        case "dial_request":
            request = found.dial_request
            return DialRequest(tuple(request.addrs[: limits.AUTONAT_ADDRESSES]), request.nonce)
        case "dial_data_request":
            return DialDataRequest(found.dial_data_request.addr_idx, found.dial_data_request.num_bytes)
        case "dial_data_response":
            size = len(found.dial_data_response.data)
            if size > limits.AUTONAT_DATA_BYTES:
                raise ProtocolViolation(f"{size} bytes of dial data in one message, over {limits.AUTONAT_DATA_BYTES}")
            return DialData(found.dial_data_response.data)
        case "dial_response":
            response = found.dial_response
            return DialResponse(
                _one_of(ResponseStatus, response.status), response.addr_idx, _one_of(DialStatus, response.dial_status)
            )
        case _:
            raise ProtocolViolation("an AutoNAT message of no known kind")


def encode_dial_back(nonce: int) -> bytes:
    """Return the message that brings a nonce (0 to 2**64 - 1)."""
    return pb.DialBack(nonce=nonce).SerializeToString(deterministic=True)


def decode_dial_back(data: bytes) -> int:
    """Return the nonce of a dial-back; `ProtocolViolation` when there is none."""
    found = pb.DialBack()
    _parse(found, data, limits.AUTONAT_DIAL_BACK_BYTES)
    return found.nonce


def encode_dial_back_response() -> bytes:
    """Return the answer to a dial-back, OK: the only one there is, and in protobuf no bytes at all."""
    return pb.DialBackResponse(status=0).SerializeToString(deterministic=True)


def decode_dial_back_response(data: bytes) -> None:
    """Check the answer to a dial-back; `ProtocolViolation` unless it says OK."""
    found = pb.DialBackResponse()
    _parse(found, data, limits.AUTONAT_DIAL_BACK_BYTES)
    if found.status != 0:
        raise ProtocolViolation(f"an unknown DialBackStatus {found.status}")


def _parse(message: Protobuf, data: bytes, limit: int) -> None:
    _bounded(data, limit)
    try:
        message.ParseFromString(data)
    except DecodeError as exc:
        raise ProtocolViolation("these bytes are no AutoNAT message") from exc


def _one_of(kind: type[_Code], value: int) -> _Code:
    try:
        return kind(value)
    except ValueError as exc:
        raise ProtocolViolation(f"an unknown {kind.__name__} {value}") from exc


def _bounded(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise FrameTooLarge(size=len(data), limit=limit)
    return data
