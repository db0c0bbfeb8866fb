"""Addresses that a hole can be punched to: an IP, TCP or QUIC, and a port; as text and as binary multiaddrs.

Owns: these two forms of them. Spec: multiformats/multiaddr and its table of codes; libp2p specs, addressing.
Never touches: other addresses (names, circuits, WebSocket: a caller leaves them out), sockets, which may be dialed.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Literal, Self

from covey_core.errors import ProtocolViolation
from covey_core.wire import uvarint

# multiformats/multicodec table.csv
_IP4: Final = 4
_IP6: Final = 41
_TCP: Final = 6
_UDP: Final = 273
_QUIC_V1: Final = 461
_P2P: Final = 421

_PORT_BYTES: Final = 2
_PORT_MAX: Final = 0xFFFF
_IP_BYTES: Final = {_IP4: 4, _IP6: 16}
_TRANSPORTS: Final[dict[int, Literal["tcp", "quic"]]] = {_TCP: "tcp", _UDP: "quic"}
_TEXT_PARTS: Final = {"tcp": ("tcp", ""), "quic": ("udp", "/quic-v1")}


@dataclass(frozen=True, slots=True)
class DirectAddr:
    """One such address. `ip` is in its shortest form, without a zone; `port` 1 to 65535."""

    ip: str
    transport: Literal["tcp", "quic"]
    port: int

    @property
    def ip_version(self) -> str:
        """Return "ip6" or "ip4"."""
        return "ip6" if ":" in self.ip else "ip4"

    def __str__(self) -> str:
        name, rest = _TEXT_PARTS[self.transport]
        return f"/{self.ip_version}/{self.ip}/{name}/{self.port}{rest}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the address in `/ip4|ip6/A/tcp/P` or `/ip4|ip6/A/udp/P/quic-v1`, a /p2p behind it left out.

        None for every other text.
        """
        match text.partition("/p2p/")[0].split("/"):
            case ["", ("ip4" | "ip6") as version, ip, "tcp", port]:
                transport: Literal["tcp", "quic"] = "tcp"
            case ["", ("ip4" | "ip6") as version, ip, "udp", port, "quic-v1"]:
                transport = "quic"
            case _:
                return None
        if "/p2p-circuit" in text or not (port.isascii() and port.isdigit() and 0 < int(port) <= _PORT_MAX):
            return None
        try:
            address = ip_address(ip)
        except ValueError:
            return None
        if f"ip{address.version}" != version or (isinstance(address, IPv6Address) and address.scope_id is not None):
            return None
        return cls(str(address), transport, int(port))

    def encode(self) -> bytes:
        """Return the binary multiaddr, without /p2p."""
        address = ip_address(self.ip)
        code = _IP4 if isinstance(address, IPv4Address) else _IP6
        port = self.port.to_bytes(_PORT_BYTES, "big")
        if self.transport == "tcp":
            return uvarint.encode(code) + address.packed + uvarint.encode(_TCP) + port
        return uvarint.encode(code) + address.packed + uvarint.encode(_UDP) + port + uvarint.encode(_QUIC_V1)

    @classmethod
    def decode(cls, data: bytes) -> Self | None:
        """Return the address in a binary multiaddr, a /p2p behind it left out; None for any other bytes."""
        try:
            return cls._decode(data)
        except ProtocolViolation:
            return None

    @classmethod
    def _decode(cls, data: bytes) -> Self | None:
        code, at = _code(data, 0)
        size = _IP_BYTES.get(code)
        if size is None or len(data) < at + size:
            return None
        ip, at = str(ip_address(data[at : at + size])), at + size
        code, at = _code(data, at)
        transport = _TRANSPORTS.get(code)
        if transport is None or len(data) < at + _PORT_BYTES:
            return None
        port, at = int.from_bytes(data[at : at + _PORT_BYTES], "big"), at + _PORT_BYTES
        if transport == "quic":
            code, at = _code(data, at)
            if code != _QUIC_V1:
                return None
        if at < len(data) and not _is_peer(data, at):
            return None
        return cls(ip, transport, port) if port else None


def _code(data: bytes, at: int) -> tuple[int, int]:
    found = uvarint.decode(data, at)
    if found is None:
        raise ProtocolViolation("a binary multiaddr that ends too soon")
    return found


def _is_peer(data: bytes, at: int) -> bool:
    """Whether exactly one /p2p component lies behind `at`."""
    code, at = _code(data, at)
    if code != _P2P:
        return False
    size, at = _code(data, at)
    return size > 0 and at + size == len(data)
