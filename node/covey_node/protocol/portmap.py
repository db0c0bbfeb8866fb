"""What a port mapping is, and which of our listeners and results are worth one.

Owns: the values that all three mapping protocols share, what is mapped, what a mapping is called as an address.
Spec: docs/spec/portmap.md. Never touches: packets (pcp.py, natpmp.py), sockets, the clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Final

from covey_core.errors import CoveyError
from covey_node.protocol.addresses import host_of

_PORT_PART: Final = 4  # of "/ip4/A/tcp/P/...", split at the slashes


class PortmapFailed(CoveyError):
    """A router, or the lack of one, gave no mapping; the text says why."""


class Protocol(StrEnum):
    """A transport protocol whose ports are mapped."""

    TCP = "tcp"
    UDP = "udp"


class Via(StrEnum):
    """The way in which a router was asked; also a metric label."""

    PCP = "pcp"
    NAT_PMP = "nat-pmp"
    UPNP = "upnp"


@dataclass(frozen=True, slots=True)
class Port:
    """One of our listening ports."""

    protocol: Protocol
    number: int


@dataclass(frozen=True, slots=True)
class Granted:
    """What a router gave: it lets in what comes to `external_port` for `lifetime_seconds`."""

    external_ip: str
    external_port: int
    lifetime_seconds: int


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A mapping that stands. `expires_at` is in trio's time, seconds."""

    protocol: Protocol
    internal_port: int
    external_ip: str
    external_port: int
    via: Via
    expires_at: float

    @property
    def addr(self) -> str:
        """Return the address under which the port is reached from outside, without a PeerId."""
        tail = "tcp/{}" if self.protocol is Protocol.TCP else "udp/{}/quic-v1"
        family = f"ip{ip_address(self.external_ip).version}"
        return f"/{family}/{self.external_ip}/{tail.format(self.external_port)}"


def mappable(listen: Iterable[str]) -> tuple[Port, ...]:
    """Return the ports behind listen addresses that a router can map: TCP and QUIC over IPv4, not on loopback.

    Two listeners on one port are mapped once. WebSocket is for those who cannot use TCP outwards, and is left out.
    """
    found: dict[Port, None] = {}
    for addr in listen:
        parts = addr.partition("/p2p/")[0].split("/")
        ip = host_of(addr)
        if ip is None or parts[1] != "ip4" or ip_address(ip).is_loopback or not parts[_PORT_PART].isdecimal():
            continue
        match parts[3], parts[_PORT_PART + 1 :]:
            case "tcp", []:
                found[Port(Protocol.TCP, int(parts[_PORT_PART]))] = None
            case "udp", ["quic-v1"]:
                found[Port(Protocol.UDP, int(parts[_PORT_PART]))] = None
    return tuple(port for port in found if port.number)
