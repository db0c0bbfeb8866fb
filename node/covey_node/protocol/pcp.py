"""Port Control Protocol: requests for a mapping, and the answers to them.

Owns: the packets of MAP and ANNOUNCE, the meaning of result codes, whether the server lost its state (epoch).
Spec: RFC 6887 (sections 7, 8.5, 11, 14.1); docs/spec/portmap.md. Never touches: sockets, retransmission, randomness.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from covey_core.errors import ProtocolViolation
from covey_node.protocol.portmap import Protocol

VERSION: Final = 2
NONCE_BYTES: Final = 12
_OPCODE_ANNOUNCE: Final = 0
_OPCODE_MAP: Final = 1
_RESPONSE: Final = 0x80
_MAP: Final = struct.Struct("!12sB3xHH16s")
_REQUEST: Final = struct.Struct("!BB2xI16s")
_ANSWER: Final = struct.Struct("!BBxBII12x")
_VERSION_ONLY_BYTES: Final = 4  # of an answer in another version: version, opcode, then its own result code
_IP_PROTOCOL: Final = {Protocol.TCP: 6, Protocol.UDP: 17}  # IANA, Protocol Numbers
ANSWER_BYTES_MAX: Final = 1100  # RFC 6887 section 7: no PCP packet is longer
NO_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - in a request: any external address will do


class Result(IntEnum):
    """RFC 6887 section 7.4."""

    SUCCESS = 0
    UNSUPP_VERSION = 1
    NOT_AUTHORIZED = 2
    MALFORMED_REQUEST = 3
    UNSUPP_OPCODE = 4
    UNSUPP_OPTION = 5
    MALFORMED_OPTION = 6
    NETWORK_FAILURE = 7
    NO_RESOURCES = 8
    UNSUPP_PROTOCOL = 9
    USER_EX_QUOTA = 10
    CANNOT_PROVIDE_EXTERNAL = 11
    ADDRESS_MISMATCH = 12
    EXCESSIVE_REMOTE_PEERS = 13


@dataclass(frozen=True, slots=True)
class MapRequest:
    """Ask for a mapping, for its renewal (same nonce), or with `lifetime_seconds` 0 for its end."""

    client_ip: str
    nonce: bytes
    protocol: Protocol
    internal_port: int
    suggested_port: int
    suggested_ip: str
    lifetime_seconds: int

    def encode(self) -> bytes:
        """Return the packet, 60 bytes."""
        return _REQUEST.pack(VERSION, _OPCODE_MAP, self.lifetime_seconds, _packed(self.client_ip)) + _MAP.pack(
            self.nonce,
            _IP_PROTOCOL[self.protocol],
            self.internal_port,
            self.suggested_port,
            _packed(self.suggested_ip),
        )


@dataclass(frozen=True, slots=True)
class MapAnswer:
    """What became of a request for a mapping. On an error `lifetime_seconds` is how long it will last."""

    result: int
    lifetime_seconds: int
    epoch_seconds: int
    nonce: bytes
    protocol: Protocol
    internal_port: int
    external_port: int
    external_ip: str


@dataclass(frozen=True, slots=True)
class Announcement:
    """The answer to `announce`, or what a server says by itself when it has lost its state."""

    result: int
    epoch_seconds: int


@dataclass(frozen=True, slots=True)
class OtherVersion:
    """The server speaks another version: 0 is NAT-PMP."""

    version: int


def announce(client_ip: str) -> bytes:
    """Return a packet that asks whether the server is there, and for how long it has kept its state; 24 bytes."""
    return _REQUEST.pack(VERSION, _OPCODE_ANNOUNCE, 0, _packed(client_ip))


def decode(packet: bytes) -> MapAnswer | Announcement | OtherVersion:
    """Return what a server says; ProtocolViolation for what is none of its answers. Options are passed over."""
    if len(packet) < _VERSION_ONLY_BYTES or not packet[1] & _RESPONSE:
        raise ProtocolViolation("no answer of a PCP server")
    if packet[0] != VERSION:
        return OtherVersion(packet[0])
    if not _ANSWER.size <= len(packet) <= ANSWER_BYTES_MAX or len(packet) % 4:
        raise ProtocolViolation(f"a PCP answer of {len(packet)} bytes")
    _, opcode, result, lifetime, epoch = _ANSWER.unpack_from(packet)
    if opcode == _RESPONSE | _OPCODE_ANNOUNCE:
        return Announcement(result, epoch)
    if opcode != _RESPONSE | _OPCODE_MAP or len(packet) < _ANSWER.size + _MAP.size:
        raise ProtocolViolation("a PCP answer to something else")
    nonce, number, internal, external, ip = _MAP.unpack_from(packet, _ANSWER.size)
    protocol = next((one for one, known in _IP_PROTOCOL.items() if known == number), None)
    if protocol is None:
        raise ProtocolViolation(f"a PCP mapping of IP protocol {number}")
    return MapAnswer(result, lifetime, epoch, nonce, protocol, internal, external, _unpacked(ip))


def lost_state(*, before: int, now: int, elapsed_seconds: float) -> bool:
    """Whether a server's epoch `now` cannot be the one that was `before`, `elapsed_seconds` ago: it began anew.

    RFC 6887 section 8.5: clocks may be off by a sixteenth, and by two seconds.
    """
    if now < before - 1:
        return True
    passed = now - before
    return elapsed_seconds + 2 < passed - passed / 16 or passed + 2 < elapsed_seconds - elapsed_seconds / 16


def _packed(ip: str) -> bytes:
    return IPv6Address(f"::ffff:{ip}").packed if ":" not in ip else IPv6Address(ip).packed


def _unpacked(data: bytes) -> str:
    address = IPv6Address(data)
    mapped: IPv4Address | None = address.ipv4_mapped
    return str(mapped if mapped is not None else address)
