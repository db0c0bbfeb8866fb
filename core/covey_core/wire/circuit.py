"""The messages of circuit relay v2, between a relay and its clients.

Owns: HopMessage and StopMessage as values. Spec: libp2p specs, relay/circuit-v2.md; docs/spec/circuit.md. Vouchers are
in wire.voucher and named here too. Never touches: streams, who may relay.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeVar

from google.protobuf.message import DecodeError

from covey_core import limits
from covey_core.errors import FrameTooLarge, ProtocolViolation
from covey_core.peers import PeerId, peer_id_bytes, peer_id_from_bytes
from covey_core.wire.pb import circuit_pb2 as pb
from covey_core.wire.voucher import Voucher, open_voucher, seal_voucher

__all__ = [
    "HOP_PROTOCOL",
    "STOP_PROTOCOL",
    "CircuitLimit",
    "CircuitPeer",
    "HopMessage",
    "HopType",
    "Reservation",
    "Status",
    "StopMessage",
    "StopType",
    "Voucher",
    "decode_hop",
    "decode_stop",
    "encode_hop",
    "encode_stop",
    "open_voucher",
    "seal_voucher",
]

_Code = TypeVar("_Code", bound=IntEnum)

HOP_PROTOCOL: Final = "/libp2p/circuit/relay/0.2.0/hop"
STOP_PROTOCOL: Final = "/libp2p/circuit/relay/0.2.0/stop"


class HopType(IntEnum):
    """What a HopMessage is."""

    RESERVE = 0
    CONNECT = 1
    STATUS = 2


class StopType(IntEnum):
    """What a StopMessage is."""

    CONNECT = 0
    STATUS = 1


class Status(IntEnum):
    """The outcome of a request, with the spec's codes."""

    UNUSED = 0
    OK = 100
    RESERVATION_REFUSED = 200
    RESOURCE_LIMIT_EXCEEDED = 201
    PERMISSION_DENIED = 202
    CONNECTION_FAILED = 203
    NO_RESERVATION = 204
    MALFORMED_MESSAGE = 400
    UNEXPECTED_MESSAGE = 401


@dataclass(frozen=True, slots=True)
class CircuitPeer:
    """The other end of a circuit; `addrs` are binary multiaddrs."""

    id: PeerId
    addrs: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class CircuitLimit:
    """What a relay allows one circuit; 0: no limit. `data_bytes` counts each direction for itself."""

    duration_seconds: int
    data_bytes: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """A slot at a relay until `expires_at` (Unix seconds, UTC); `addrs` are the relay's binary multiaddrs."""

    expires_at: int
    addrs: tuple[bytes, ...]
    voucher: bytes | None = None


@dataclass(frozen=True, slots=True)
class HopMessage:
    """One message between a client and its relay. CONNECT has a `peer`, STATUS a `status`."""

    type: HopType
    peer: CircuitPeer | None = None
    reservation: Reservation | None = None
    limit: CircuitLimit | None = None
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class StopMessage:
    """One message between a relay and the target of a circuit. CONNECT has a `peer`, STATUS a `status`."""

    type: StopType
    peer: CircuitPeer | None = None
    limit: CircuitLimit | None = None
    status: Status | None = None


def encode_hop(message: HopMessage) -> bytes:
    """Return the protobuf form (no length before it); `FrameTooLarge` over 4,096 bytes."""
    out = pb.HopMessage(type=message.type, status=message.status)
    if message.peer is not None:
        out.peer.CopyFrom(_peer_out(message.peer))
    if message.reservation is not None:
        out.reservation.CopyFrom(
            pb.Reservation(
                expire=message.reservation.expires_at,
                addrs=message.reservation.addrs,
                voucher=message.reservation.voucher,
            )
        )
    if message.limit is not None:
        out.limit.CopyFrom(_limit_out(message.limit))
    return _bounded(out.SerializeToString(deterministic=True))


def decode_hop(data: bytes) -> HopMessage:
    """Return the message in `data`; `ProtocolViolation` when it is none or lacks what its type needs."""
    found = pb.HopMessage()
    _parse(found, data)
    kind = _one_of(HopType, found.type, present=found.HasField("type"))
    message = HopMessage(
        type=kind,
        peer=_peer_in(found.peer) if found.HasField("peer") else None,
        reservation=_reservation_in(found.reservation) if found.HasField("reservation") else None,
        limit=_limit_in(found.limit) if found.HasField("limit") else None,
        status=_one_of(Status, found.status) if found.HasField("status") else None,
    )
    if kind is HopType.CONNECT and message.peer is None:
        raise ProtocolViolation("a CONNECT without a peer")
    if kind is HopType.STATUS and message.status is None:
        raise ProtocolViolation("a STATUS without a status")
    return message


def encode_stop(message: StopMessage) -> bytes:
    """Return the protobuf form (no length before it); `FrameTooLarge` over 4,096 bytes."""
    out = pb.StopMessage(type=message.type, status=message.status)
    if message.peer is not None:
        out.peer.CopyFrom(_peer_out(message.peer))
    if message.limit is not None:
        out.limit.CopyFrom(_limit_out(message.limit))
    return _bounded(out.SerializeToString(deterministic=True))


def decode_stop(data: bytes) -> StopMessage:
    """Return the message in `data`; `ProtocolViolation` when it is none or lacks what its type needs."""
    found = pb.StopMessage()
    _parse(found, data)
    kind = _one_of(StopType, found.type, present=found.HasField("type"))
    message = StopMessage(
        type=kind,
        peer=_peer_in(found.peer) if found.HasField("peer") else None,
        limit=_limit_in(found.limit) if found.HasField("limit") else None,
        status=_one_of(Status, found.status) if found.HasField("status") else None,
    )
    if kind is StopType.CONNECT and message.peer is None:
        raise ProtocolViolation("a CONNECT without a peer")
    if kind is StopType.STATUS and message.status is None:
        raise ProtocolViolation("a STATUS without a status")
    return message


def _parse(message: pb.HopMessage | pb.StopMessage, data: bytes) -> None:
    _bounded(data)
    try:
        message.ParseFromString(data)
    except DecodeError as exc:
        raise ProtocolViolation("these bytes are no circuit message") from exc


def _one_of(kind: type[_Code], value: int, *, present: bool = True) -> _Code:
    if not present:
        raise ProtocolViolation(f"a message without its {kind.__name__}")
    try:
        return kind(value)
    except ValueError as exc:
        raise ProtocolViolation(f"an unknown {kind.__name__} {value}") from exc


def _peer_out(peer: CircuitPeer) -> pb.Peer:
    return pb.Peer(id=peer_id_bytes(peer.id), addrs=peer.addrs)


def _peer_in(found: pb.Peer) -> CircuitPeer:
    return CircuitPeer(id=peer_id_from_bytes(found.id), addrs=_addrs_in(tuple(found.addrs)))


def _reservation_in(found: pb.Reservation) -> Reservation:
    voucher = found.voucher if found.HasField("voucher") else None
    if voucher is not None and len(voucher) > limits.VOUCHER_MAX_BYTES:
        raise ProtocolViolation(f"a voucher of {len(voucher)} bytes, over the limit of {limits.VOUCHER_MAX_BYTES}")
    return Reservation(expires_at=found.expire, addrs=_addrs_in(tuple(found.addrs)), voucher=voucher)


def _limit_out(limit: CircuitLimit) -> pb.Limit:
    return pb.Limit(duration=limit.duration_seconds, data=limit.data_bytes)


def _limit_in(found: pb.Limit) -> CircuitLimit:
    return CircuitLimit(duration_seconds=found.duration, data_bytes=found.data)


def _addrs_in(addrs: tuple[bytes, ...]) -> tuple[bytes, ...]:
    if len(addrs) > limits.CIRCUIT_ADDRESSES:
        raise ProtocolViolation(f"{len(addrs)} addresses, over the limit of {limits.CIRCUIT_ADDRESSES}")
    if any(len(addr) > limits.ADDRESS_MAX_BYTES for addr in addrs):
        raise ProtocolViolation(f"an address of more than {limits.ADDRESS_MAX_BYTES} bytes")
    return addrs


def _bounded(data: bytes) -> bytes:
    if len(data) > limits.CIRCUIT_MESSAGE_BYTES:
        raise FrameTooLarge(size=len(data), limit=limits.CIRCUIT_MESSAGE_BYTES)
    return data
