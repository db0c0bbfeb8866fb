"""Which IPs are one: where a connection comes from, and whom limits count as one origin.

Owns: that comparison. Spec: docs/spec/autonat.md, "Limits". Never touches: sockets, which IPs may be dialed.
"""

from collections.abc import Hashable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

Ip = IPv4Address | IPv6Address

_CUSTOMER_BITS = 56
_SITE_BITS = 48


def ip_in(addr: str) -> Ip | None:
    """Return the IP that a direct multiaddr's text begins with; None for circuits and names."""
    if "/p2p-circuit" in addr:
        return None
    match addr.split("/"):
        case ["", "ip4" | "ip6", host, *_] | ["", "ip6zone", _, "ip6", host, *_]:
            return plain(host)
        case _:
            return None


def plain(text: str) -> Ip | None:
    """Return the IP in a text, without a zone, an IPv4 one out of IPv6's clothes; None when there is none."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def groups_of(ip: Ip) -> tuple[Hashable, ...]:
    """Return what counts as one origin: the IPv4 address, or the IPv6 /56 and /48 (RIPE-690)."""
    if isinstance(ip, IPv4Address):
        return (ip,)
    return tuple(IPv6Network((ip, bits), strict=False) for bits in (_CUSTOMER_BITS, _SITE_BITS))
