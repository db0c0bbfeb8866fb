"""The messages of DCUtR, with which two peers on a relayed connection agree when to dial each other.

Owns: HolePunch as a value. Spec: libp2p specs, relay/DCUtR.md, "RPC messages"; docs/spec/dcutr.md. What the addresses
mean is wire.direct_addr's. Never touches: streams, who starts, which addresses are dialed.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from google.protobuf.message import DecodeError

from covey_core import limits
from covey_core.errors import FrameTooLarge, ProtocolViolation
from covey_core.wire.pb import dcutr_pb2 as pb

DCUTR_PROTOCOL: Final = "/libp2p/dcutr"


class HolePunchType(IntEnum):
    """What a HolePunch message is."""

    CONNECT = 100
    SYNC = 300


_NATS: Final = {1: "none", 2: "easy", 3: "hard", 4: "udp_blocked"}


@dataclass(frozen=True, slots=True)
class HolePunch:
    """One message. CONNECT brings the sender's addresses, binary multiaddrs; in a SYNC they mean nothing.

    `nat` is ours alone (docs/spec/dcutr.md): what the sender's NAT does, in METRICS' words; None: not told, not known.
    """

    type: HolePunchType
    addrs: tuple[bytes, ...] = ()
    nat: str | None = None


def encode_hole_punch(message: HolePunch) -> bytes:
    """Return the protobuf form (no length before it); `FrameTooLarge` over 4,096 bytes."""
    nat = next((number for number, kind in _NATS.items() if kind == message.nat), None)
    out = pb.HolePunch(type=message.type, obs_addrs=message.addrs, nat=nat)
    return _bounded(out.SerializeToString(deterministic=True))


def decode_hole_punch(data: bytes) -> HolePunch:
    """Return the message in `data`, with its first 16 addresses of at most 512 bytes, whatever they are.

    Raises `ProtocolViolation` when it is none or has no type that the spec names. Implementations send all that they
    listen on, so more addresses than are wanted are no violation: the 4 KiB bound what they cost.
    """
    found = pb.HolePunch()
    try:
        found.ParseFromString(_bounded(data))
    except DecodeError as exc:
        raise ProtocolViolation("these bytes are no hole punching message") from exc
    if not found.HasField("type"):
        raise ProtocolViolation("a hole punching message without a type")
    try:
        kind = HolePunchType(found.type)
    except ValueError as exc:
        raise ProtocolViolation(f"an unknown hole punching message {found.type}") from exc
    fitting = [bytes(addr) for addr in found.obs_addrs if len(addr) <= limits.ADDRESS_MAX_BYTES]
    return HolePunch(kind, tuple(fitting[: limits.DCUTR_ADDRESSES]), _NATS.get(found.nat))


def _bounded(data: bytes) -> bytes:
    if len(data) > limits.DCUTR_MESSAGE_BYTES:
        raise FrameTooLarge(size=len(data), limit=limits.DCUTR_MESSAGE_BYTES)
    return data
