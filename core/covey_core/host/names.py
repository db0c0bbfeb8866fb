"""Which names of machines may lead where: those in the network's link anywhere, all others only into its scope.

Owns: that decision, and the look-up by the system's resolver. Whoever speaks to the DHT may name a server
`/dns4/evil.example/tcp/22` and let that name lead to our own loopback. Spec: docs/spec/host.md.
Never touches: IP addresses in multiaddrs (kad_addrs.py and the node's dialer ask the scope before they dial).
"""

import socket
from dataclasses import dataclass
from typing import Final, Self

import trio
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

from covey_core.host import addresses
from covey_core.network import Network, Scope

_FAMILIES: Final = {"dns": socket.AF_UNSPEC, "dns4": socket.AF_INET, "dns6": socket.AF_INET6}
_HOSTS: Final = frozenset({*_FAMILIES, "dnsaddr", "ip4", "ip6"})


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a network's link, and the scope for the others."""

    scope: Scope
    trusted: frozenset[str]

    @classmethod
    def of(cls, network: Network) -> Self:
        """Return the names that stand in a network's link."""
        texts = (*network.bootstraps, *(addr for relay in network.relays for addr in relay.addrs))
        found = (addresses.parse(text) for text in texts)
        return cls(network.scope, frozenset(name for name in map(_name, found) if name is not None))

    async def resolve(self, address: Multiaddr) -> Multiaddr:
        """Return a direct address with an IP in place of its name; `OpenConnectionError` when it must not be dialed.

        wss keeps the name, which TLS needs. An address of several machines is refused: upstream dials its last IP,
        whoever looks at it asks for the first.
        """
        found = addresses.names(address)
        if sum(one in _HOSTS for one in found) != 1 or found[0] not in _HOSTS:
            raise OpenConnectionError("an address that does not name one machine")
        name = _name(address)
        if name is None:
            return address
        if found[0] not in _FAMILIES:
            raise OpenConnectionError("names of this kind are not followed")
        ips = await _look_up(name, _FAMILIES[found[0]])
        if name not in self.trusted:
            ips = [ip for ip in ips if self.scope.may_dial(ip)]
        if not ips:
            raise OpenConnectionError("the name leads out of the network's scope")
        if {"wss", "tls"} & set(found):
            return address
        kind = "ip6" if ":" in ips[0] else "ip4"
        return Multiaddr(f"/{kind}/{ips[0]}{str(address).removeprefix(f'/{found[0]}/{name}')}")


def _name(address: Multiaddr) -> str | None:
    found = addresses.names(address)
    if not found or not found[0].startswith("dns"):
        return None
    return str(address.value_for_protocol(found[0]))


async def _look_up(name: str, family: int) -> list[str]:
    """Ask the system's resolver; upstream asks DNS servers itself, past /etc/hosts."""
    try:
        found = await trio.socket.getaddrinfo(name, None, family=family, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise OpenConnectionError("the name does not resolve") from exc
    return [str(place[0]) for *_, place in found]
