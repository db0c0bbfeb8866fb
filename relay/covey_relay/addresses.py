"""Which addresses count as one origin, and how many entries each origin has.

Owns: the grouping (IPv4 /32; IPv6 /56 and /48) and the counters by group. Spec: docs/spec/circuit.md, section "Limits".
Never touches: sockets, multiaddrs (callers pass an IP as text), the clock.
"""

from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address

from covey_relay.limits import AddressCaps

Origin = tuple[int, bytes]
"""A group of addresses: prefix length in bits (32 for IPv4; 56 and 48 for IPv6) and the network bytes."""

IPV4_BITS = 32
IPV6_CUSTOMER_BITS = 56
IPV6_SITE_BITS = 48


def origins_of(ip: str | None) -> frozenset[Origin]:
    """Return the groups that `ip` (textual IPv4 or IPv6, zone allowed) belongs to; none when it is unknown.

    An IPv4-mapped IPv6 address is the IPv4 address, else one host could count twice.
    """
    if ip is None:
        return frozenset()
    address = ip_address(ip.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            packed = address.packed
            return frozenset(
                {
                    (IPV6_CUSTOMER_BITS, packed[: IPV6_CUSTOMER_BITS // 8]),
                    (IPV6_SITE_BITS, packed[: IPV6_SITE_BITS // 8]),
                }
            )
        address = address.ipv4_mapped
    return frozenset({(IPV4_BITS, address.packed)})


class OriginCounts:
    """How many entries each origin has; empty origins take no memory."""

    def __init__(self, caps: AddressCaps) -> None:
        self._caps = {IPV4_BITS: caps.ipv4, IPV6_CUSTOMER_BITS: caps.ipv6_56, IPV6_SITE_BITS: caps.ipv6_48}
        self._counts: Counter[Origin] = Counter()

    def has_room(self, origins: Iterable[Origin], *, leaving: frozenset[Origin] = frozenset()) -> bool:
        """Say whether one more entry with `origins` fits, when an entry with `leaving` goes at the same moment."""
        return all(self._counts[origin] - (origin in leaving) < self._caps[origin[0]] for origin in origins)

    def add(self, origins: Iterable[Origin]) -> None:
        """Count one entry in each of `origins`."""
        self._counts.update(origins)

    def remove(self, origins: Iterable[Origin]) -> None:
        """Take one entry out of each of `origins`; each must have been added."""
        for origin in origins:
            self._counts[origin] -= 1
            if not self._counts[origin]:
                del self._counts[origin]


def ip_in(multiaddr: str) -> str | None:
    """Return the IP that a direct multiaddr begins with ("/ip4/192.0.2.1/tcp/4001"), or None (a name, a circuit)."""
    parts = multiaddr.split("/")
    if "p2p-circuit" in parts:
        return None
    match parts:
        case ["", "ip4" | "ip6", ip, *_]:
            return ip
        case ["", "ip6zone", zone, "ip6", ip, *_]:
            return f"{ip}%{zone}"
        case _:
            return None
