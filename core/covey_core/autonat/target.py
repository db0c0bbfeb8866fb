"""An address that AutoNAT may test: an IP, a port, one of three transports, and nothing else.

Owns: taking such an address from its binary and its text form, and back. Names, circuits, zones and every other
combination are no targets: a server could not say beforehand where they lead. Spec: docs/spec/autonat.md;
multiformats/multiaddr (codes). Never touches: sockets, which IPs may be dialed.
"""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Self

from covey_core import limits
from covey_core.errors import ProtocolViolation
from covey_core.peers import PeerId, peer_id_bytes, peer_id_from_bytes
from covey_core.wire import uvarint

_IP4: Final = 0x04
_TCP: Final = 0x06
_IP6: Final = 0x29
_UDP: Final = 0x0111
_P2P: Final = 0x01A5
_QUIC_V1: Final = 0x01CD
_WS: Final = 0x01DD
_PORT_BYTES: Final = 2
_PORT_MAX: Final = 65_535


class TargetTransport(StrEnum):
    """What runs at the address; the values are METRICS' `transport`."""

    TCP = "tcp"
    QUIC = "quic"
    WS = "ws"


_BEHIND: Final = {
    TargetTransport.TCP: (_TCP, ()),
    TargetTransport.QUIC: (_UDP, (_QUIC_V1,)),
    TargetTransport.WS: (_TCP, (_WS,)),
}
_WORDS: Final = {_TCP: "tcp", _UDP: "udp", _QUIC_V1: "quic-v1", _WS: "ws"}


@dataclass(frozen=True, slots=True)
class Target:
    """`ip` in its shortest form, never an IPv4 address in IPv6's clothes; `peer` when the address names one."""

    ip: IPv4Address | IPv6Address
    port: int
    transport: TargetTransport
    peer: PeerId | None = None

    @property
    def ip_version(self) -> str:
        """METRICS' `ipv`: ip4 or ip6."""
        return f"ip{self.ip.version}"

    @property
    def text(self) -> str:
        """The multiaddr without its /p2p part."""
        carrier, behind = _BEHIND[self.transport]
        words = "".join(f"/{_WORDS[code]}" for code in behind)
        return f"/{self.ip_version}/{self.ip}/{_WORDS[carrier]}/{self.port}{words}"

    def to_bytes(self) -> bytes:
        """Return the binary multiaddr, with its /p2p part if it has one."""
        carrier, behind = _BEHIND[self.transport]
        parts = [
            uvarint.encode(_IP4 if self.ip.version == 4 else _IP6),  # noqa: PLR2004
            self.ip.packed,
            uvarint.encode(carrier),
            self.port.to_bytes(_PORT_BYTES),
            *map(uvarint.encode, behind),
        ]
        if self.peer is not None:
            raw = peer_id_bytes(self.peer)
            parts += [uvarint.encode(_P2P), uvarint.encode(len(raw)), raw]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Target | None":
        """Return the target in a binary multiaddr, or None when it is none that could be tested."""
        if len(raw) > limits.ADDRESS_MAX_BYTES:
            return None
        try:
            return _Reader(raw).target()
        except ProtocolViolation:
            return None

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """Return the target in a multiaddr's text, or None when it is none that could be tested."""
        if len(text) > limits.ADDRESS_MAX_CHARS:
            return None
        match text.split("/"):
            case ["", "ip4" | "ip6" as kind, host, "tcp" | "udp" as carrier, port, *rest]:
                transport, peer = _rest_of(carrier, rest)
                ip = _ip(kind, host)
                if transport is None or ip is None or not (port.isascii() and port.isdecimal()):
                    return None
                number = int(port) if len(port) <= len(str(_PORT_MAX)) else 0
                return cls(ip, number, transport, peer) if 0 < number <= _PORT_MAX else None
            case _:
                return None


def ip_in(addr: str) -> IPv4Address | IPv6Address | None:
    """Return the IP that a multiaddr's text begins with, an IPv4 one out of IPv6's clothes; None for circuits."""
    if "/p2p-circuit" in addr:
        return None
    match addr.split("/"):
        case ["", "ip4" | "ip6", host, *_] | ["", "ip6zone", _, "ip6", host, *_]:
            return plain(host)
        case _:
            return None


def plain(text: str) -> IPv4Address | IPv6Address | None:
    """Return the IP in a text, an IPv4 one out of IPv6's clothes and without a zone; None when there is none."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def _ip(kind: str, host: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(host)
    except ValueError:
        return None
    return _unveiled(found) if f"ip{found.version}" == kind else None


def _unveiled(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address | None:
    """Refuse IPv4 in IPv6's clothes, and zones: what is checked must be what is dialed."""
    if isinstance(ip, IPv6Address) and (ip.ipv4_mapped is not None or ip.scope_id is not None):
        return None
    return ip


def _rest_of(carrier: str, rest: list[str]) -> tuple[TargetTransport | None, PeerId | None]:
    peer = None
    if len(rest) >= 2 and rest[-2] == "p2p":  # noqa: PLR2004
        try:
            peer_id_bytes(PeerId(rest[-1]))
        except ProtocolViolation:
            return None, None
        peer, rest = PeerId(rest[-1]), rest[:-2]
    words = [carrier, *rest]
    for transport, (code, behind) in _BEHIND.items():
        if words == [_WORDS[code], *(_WORDS[each] for each in behind)]:
            return transport, peer
    return None, None


class _Reader:
    """Takes a binary multiaddr apart from its front; `ProtocolViolation` for whatever is no target."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def target(self) -> Target:
        ip = self._ip()
        carrier, port = self._code(), int.from_bytes(self._take(_PORT_BYTES))
        behind: list[int] = []
        peer = None
        while self._at < len(self._raw):
            if peer is not None:
                raise ProtocolViolation("something follows the peer")
            code = self._code()
            if code == _P2P:
                peer = peer_id_from_bytes(self._take(self._code()))
            else:
                behind.append(code)
        for transport, shape in _BEHIND.items():
            if shape == (carrier, tuple(behind)) and port:
                return Target(ip, port, transport, peer)
        raise ProtocolViolation("no transport of ours")

    def _ip(self) -> IPv4Address | IPv6Address:
        code = self._code()
        if code not in {_IP4, _IP6}:
            raise ProtocolViolation("an address that does not begin with an IP")
        ip = _unveiled(IPv4Address(self._take(4)) if code == _IP4 else IPv6Address(self._take(16)))
        if ip is None:
            raise ProtocolViolation("an IPv4 address in IPv6's clothes")
        return ip

    def _code(self) -> int:
        found = uvarint.decode(self._raw, self._at)
        if found is None:
            raise ProtocolViolation("an address that ends too early")
        self._at = found[1]
        return found[0]

    def _take(self, size: int) -> bytes:
        part = self._raw[self._at : self._at + size]
        if len(part) < size:
            raise ProtocolViolation("an address that ends too early")
        self._at += size
        return part
