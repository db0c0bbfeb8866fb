"""The interfaces that lead to local networks.

Owns: which interfaces, their addresses and subnets. Never touches: sockets; the list comes from ifaddr (getifaddrs).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Network, ip_interface, ip_network
from typing import Final

import ifaddr

from covey_node import limits

_LOCAL: Final = tuple(ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"))
_ALONE: Final = 31  # a /31 or /32 is a link between two machines, such as a tunnel


@dataclass(frozen=True, slots=True)
class LanInterface:
    """An interface with a private or link-local IPv4 address, and all of its addresses that have a subnet."""

    name: str
    index: int
    ip: str
    ips: tuple[str, ...]
    subnets: tuple[IPv4Network | IPv6Network, ...]


def lan_interfaces() -> tuple[LanInterface, ...]:
    """Return the interfaces on which to look for others, a bounded number, in the system's order."""
    found = []
    for adapter in ifaddr.get_adapters():
        ips = []
        for known in adapter.ips:
            text = known.ip if isinstance(known.ip, str) else known.ip[0]
            ips.append(ip_interface(f"{text}/{known.network_prefix}"))
        first = next((one for one in ips if _is_local(one)), None)
        if first is not None and adapter.index is not None:
            usable = [one for one in ips if not one.ip.is_loopback and not (one.version == 6 and one.ip.is_link_local)]  # noqa: PLR2004
            subnets = tuple(one.network for one in usable)
            texts = tuple(str(one.ip) for one in usable)
            found.append(LanInterface(str(adapter.name), adapter.index, str(first.ip), texts, subnets))
    return tuple(found[: limits.MDNS_INTERFACES_MAX])


def own_subnets() -> tuple[IPv4Network | IPv6Network, ...]:
    """Return the subnets of the local networks; none while the system does not tell. Takes about 1 ms."""
    with suppress(OSError):
        return tuple(subnet for interface in lan_interfaces() for subnet in interface.subnets)
    return ()


def _is_local(address: object) -> bool:
    return (
        isinstance(address, IPv4Interface)
        and address.network.prefixlen < _ALONE
        and any(address.ip in net for net in _LOCAL)
    )
