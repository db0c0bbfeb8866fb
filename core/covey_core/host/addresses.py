"""Multiaddrs as text: which transport, which IP, which peer; and which lists of listen addresses cannot work.

Owns: the parsing of multiaddrs for the host's own decisions. Spec: docs/spec/host.md; multiformats/multiaddr.
Never touches: sockets, DNS.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

from covey_core import limits as core_limits
from covey_core.errors import SettingsInvalid
from covey_core.peers import PeerId

_CIRCUIT: Final = "p2p-circuit"
_WS: Final = frozenset({"ws", "wss"})


def parse(text: str) -> Multiaddr:
    """Return the multiaddr of `text` (512 characters at most); `SettingsInvalid` if it is none."""
    if len(text) > core_limits.ADDRESS_MAX_CHARS:
        raise SettingsInvalid(f"an address of {len(text)} characters is no multiaddr")
    try:
        address = Multiaddr(text)
        address.to_bytes()
        tuple(address.items())  # some texts are taken and make bytes that are no address: /ip4/192.0.2.1/ip6zone/x
    except (MultiaddrError, LookupError, ValueError, TypeError) as exc:
        raise SettingsInvalid(f"{text!r} is no multiaddr such as /ip4/192.0.2.1/tcp/4001") from exc
    return address


def names(address: Multiaddr) -> tuple[str, ...]:
    """Return the protocol names of an address, outermost first."""
    return tuple(protocol.name for protocol in address.protocols())


def is_circuit(address: Multiaddr) -> bool:
    """Whether the address leads through a relay."""
    return _CIRCUIT in names(address)


def transport_label(address: Multiaddr) -> str:
    """Return METRICS.md's `transport` of an address: tcp, quic, ws or other (circuits are "other")."""
    found = set(names(address))
    if _CIRCUIT in found:
        return "other"
    if found & _WS:
        return "ws"
    if found & {"quic", "quic-v1"}:
        return "quic"
    return "tcp" if "tcp" in found else "other"


def ip_version_label(address: Multiaddr) -> str:
    """Return "ip6" or "ip4"; names and circuits count by their first component, and as ip4 when it does not tell."""
    return "ip6" if set(names(address)[:1]) & {"ip6", "dns6"} else "ip4"


def ip_of(address: Multiaddr) -> str | None:
    """Return the IP of a direct address, or None (a name, a circuit)."""
    found = names(address)
    if _CIRCUIT in found or not found or found[0] not in {"ip4", "ip6"}:
        return None
    value: object = address.value_for_protocol(found[0])
    return str(value)


def ip_group(ip: str) -> str:
    """Return what per-address limits count: the IPv4 address (/32) or the IPv6 /56 of a customer. RFC 6177."""
    parsed = ipaddress.ip_address(ip.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((parsed, 56), strict=False))
    return str(parsed)


def split_peer(address: Multiaddr) -> tuple[Multiaddr, PeerId | None]:
    """Return the address without its last /p2p component, and that component's PeerId if it ends with one."""
    found = names(address)
    if not found or found[-1] != "p2p":
        return address, None
    peer = str(list(address.values())[-1])
    return address.decapsulate(Multiaddr(f"/p2p/{peer}")), PeerId(peer)


def with_peer(address: Multiaddr, peer: PeerId) -> str:
    """Return the address as text, ending in this peer's /p2p component."""
    return f"{split_peer(address)[0]}/p2p/{peer}"


def parse_listen(texts: Sequence[str]) -> tuple[Multiaddr, ...]:
    """Return listen addresses; `SettingsInvalid` for one of another transport, or for a port of both TCP and WebSocket.

    TCP and WebSocket on one port lost 36 of 60 foreign dials (docs/adr/0001): two ports lost none. QUIC's UDP port may
    have the number of a TCP port.
    """
    parsed = tuple(parse(text) for text in texts)
    seen: dict[int, str] = {}
    for text, address in zip(texts, parsed, strict=True):
        label = transport_label(address)
        if label == "quic" and names(address)[1:] == ("udp", "quic-v1") and ip_of(address) is not None:
            continue
        if label not in {"tcp", "ws"} or ip_of(address) is None:
            raise SettingsInvalid(
                f"cannot listen on {text}: only /ip4|ip6/.../tcp/PORT, .../tcp/PORT/ws and .../udp/PORT/quic-v1"
            )
        port = int(address.value_for_protocol("tcp") or 0)
        if port and seen.setdefault(port, label) != label:
            raise SettingsInvalid(f"cannot listen on {text}: TCP and WebSocket need a port each")
    return parsed


def without_duplicates(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses in their order, each once."""
    return tuple(dict.fromkeys(addresses))


def relay_of(address: Multiaddr) -> PeerId | None:
    """Return the relay's PeerId of a circuit address: the /p2p before /p2p-circuit."""
    head, found, _ = str(address).partition(f"/{_CIRCUIT}")
    if not found:
        return None
    return split_peer(Multiaddr(head))[1] if head else None
