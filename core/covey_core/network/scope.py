"""Where a network lives: which addresses count as reachable from outside, and which are never dialled.

Owns: the decision for one IP address. Spec: docs/spec/network.md, "Scope"; IANA special-purpose address registries
(RFC 6890). Never touches: names (a caller resolves them and asks again), sockets.
"""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

_Address = IPv4Address | IPv6Address
_Subnet = IPv4Network | IPv6Network

PRIVATE_RANGES: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
"""Address space of sites: RFC 1918, RFC 6598, RFC 4193. What a private network lives in when nothing else is said."""

# Never a peer, whatever a subnet says: metadata services that hand credentials of a machine to whoever asks from it.
_METADATA: Final = tuple(
    ip_address(text)
    for text in ("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")
)

# Dialled only when a subnet of the scope lies wholly inside one of them: 0.0.0.0/0 does not open loopback.
_SPECIAL: Final = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "::/128", "::1/128", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",
        "3fff::/20", "5f00::/16", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip
_SITE: Final = tuple(ip_network(text) for text in PRIVATE_RANGES)
_GLOBAL_V6: Final = IPv6Network("2000::/3")


@dataclass(frozen=True, slots=True)
class Scope:
    """`Scope()` is the public Internet; with subnets in CIDR form it is a private network that lives in them.

    Raises `ValueError` for a text that is no subnet.
    """

    subnets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no subnet."""
        _parsed(self.subnets)

    @property
    def is_public(self) -> bool:
        """Whether this network lives in the public Internet."""
        return not self.subnets

    def is_reachable_from_outside(self, ip: str) -> bool:
        """Whether every member of the network could open a connection to `ip`, NATs and firewalls aside.

        Public: global unicast. Private: inside one of the subnets. False for a text that is no IP address.
        """
        address = _address(ip)
        if address is None or _is_never_a_peer(address, self.subnets):
            return False
        return _is_in(address, _parsed(self.subnets)) if self.subnets else _is_global(address)

    def may_dial(self, ip: str) -> bool:
        """Whether an address that any peer named may be dialled: global unicast, and the scope's own subnets.

        Never loopback, link-local, multicast, unspecified, reserved or documentation ranges, unless a subnet of the
        scope lies wholly inside that range; never a cloud's metadata service. False for a text that is no IP address.
        """
        address = _address(ip)
        if address is None or _is_never_a_peer(address, self.subnets):
            return False
        return _is_global(address) or _is_in(address, _parsed(self.subnets))

    def may_dial_nearby(self, ip: str) -> bool:
        """Whether an address from an accepted contact or the local link may be dialled: site addresses too.

        Not for addresses that strangers name: they could make us scan our own site.
        """
        address = _address(ip)
        if address is None or _is_never_a_peer(address, self.subnets):
            return False
        return _is_global(address) or _is_in(address, _SITE) or _is_in(address, _parsed(self.subnets))


def _address(text: str) -> _Address | None:
    try:
        address = ip_address(text.partition("%")[0])  # a zone (fe80::1%eth0) does not change what an address is
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped  # ::ffff:127.0.0.1 is dialled as 127.0.0.1
    return address


@lru_cache(maxsize=64)
def _parsed(subnets: tuple[str, ...]) -> tuple[_Subnet, ...]:
    return tuple(ip_network(text) for text in subnets)


def _is_in(address: _Address, subnets: tuple[_Subnet, ...]) -> bool:
    return any(address in subnet for subnet in subnets)


def _is_global(address: _Address) -> bool:
    if _is_in(address, _SITE) or _is_in(address, _SPECIAL):
        return False
    return isinstance(address, IPv4Address) or address in _GLOBAL_V6


def _is_never_a_peer(address: _Address, subnets: tuple[str, ...]) -> bool:
    if address in _METADATA:
        return True
    special = [known for known in _SPECIAL if address in known]
    return bool(special) and not any(
        address in subnet and any(_lies_in(subnet, known) for known in special) for subnet in _parsed(subnets)
    )


def _lies_in(inner: _Subnet, outer: _Subnet) -> bool:
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)
