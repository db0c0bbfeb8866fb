"""NAT Port Mapping Protocol: requests for a mapping and for the external address, and the answers to them.

Owns: the packets, the meaning of result codes, whether the router lost its state (epoch).
Spec: RFC 6886 (sections 3.2, 3.3, 3.5, 3.6); docs/spec/portmap.md. Never touches: sockets, retransmission.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Final

from covey_core.errors import ProtocolViolation
from covey_node.protocol.portmap import Protocol

VERSION: Final = 0
_RESPONSE: Final = 128
_ADDRESS: Final = struct.Struct("!BBHI4s")
_MAPPING: Final = struct.Struct("!BBHIHHI")
_FAILURE: Final = struct.Struct("!BBHI")
_OPCODE: Final = {Protocol.UDP: 1, Protocol.TCP: 2}
ASK_ADDRESS: Final = bytes((VERSION, 0))
"""The packet that asks for the external address."""


class Result(IntEnum):
    """RFC 6886 section 3.5."""

    SUCCESS = 0
    UNSUPPORTED_VERSION = 1
    NOT_AUTHORIZED = 2
    NETWORK_FAILURE = 3
    OUT_OF_RESOURCES = 4
    UNSUPPORTED_OPCODE = 5


@dataclass(frozen=True, slots=True)
class ExternalAddress:
    """The router's address outside."""

    epoch_seconds: int
    ip: str


@dataclass(frozen=True, slots=True)
class Mapped:
    """A mapping that was made; `lifetime_seconds` 0: that was ended."""

    epoch_seconds: int
    protocol: Protocol
    internal_port: int
    external_port: int
    lifetime_seconds: int


@dataclass(frozen=True, slots=True)
class Failure:
    """The router would not; `opcode` is that of the request."""

    epoch_seconds: int
    opcode: int
    result: int


def ask_mapping(protocol: Protocol, *, internal_port: int, suggested_port: int, lifetime_seconds: int) -> bytes:
    """Return the packet that asks for a mapping, 12 bytes; its lifetime and suggested port 0 end it (3.4)."""
    return struct.pack("!BBxxHHI", VERSION, _OPCODE[protocol], internal_port, suggested_port, lifetime_seconds)


def decode(packet: bytes) -> ExternalAddress | Mapped | Failure:
    """Return what a router says; ProtocolViolation for what is none of its answers."""
    if len(packet) < _FAILURE.size or packet[0] != VERSION or not packet[1] & _RESPONSE:
        raise ProtocolViolation("no answer of a NAT-PMP router")
    _, opcode, result, epoch = _FAILURE.unpack_from(packet)
    opcode -= _RESPONSE
    if result != Result.SUCCESS:
        return Failure(epoch, opcode, result)
    if opcode == 0 and len(packet) == _ADDRESS.size:
        *_, ip = _ADDRESS.unpack(packet)
        return ExternalAddress(epoch, str(IPv4Address(ip)))
    protocol = next((one for one, known in _OPCODE.items() if known == opcode), None)
    if protocol is not None and len(packet) == _MAPPING.size:
        *_, internal, external, lifetime = _MAPPING.unpack(packet)
        return Mapped(epoch, protocol, internal, external, lifetime)
    raise ProtocolViolation(f"a NAT-PMP answer to opcode {opcode} of {len(packet)} bytes")


def lost_state(*, before: int, now: int, elapsed_seconds: float) -> bool:
    """Whether a router's epoch `now` cannot be the one that was `before`, `elapsed_seconds` ago: it began anew.

    RFC 6886 section 3.6: the router's clock may run slow by an eighth, and be off by two seconds.
    """
    return now < before + elapsed_seconds * 7 / 8 - 2
