"""Who was found on the local networks, and where.

Owns: which of the addresses that an answer names are believed, for how long, and how many are kept.
Spec: docs/spec/mdns.md. Never touches: packets (mdns.py), sockets, the clock (callers pass `now`), dialling.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from covey_core.peers import PeerId
from covey_node import limits
from covey_node.protocol.addresses import host_of
from covey_node.protocol.mdns import Found

Subnet = IPv4Network | IPv6Network


def on_subnet(ip: str, subnets: Iterable[Subnet]) -> bool:
    """Whether an IP address lies on one of the subnets; False for a text that is none."""
    try:
        address = ip_address(ip)
    except ValueError:
        return False
    return any(address.version == net.version and address in net for net in subnets)


def believed(addrs: Iterable[str], *, sender: str, subnets: Iterable[Subnet]) -> tuple[str, ...]:
    """Return the addresses that the answer's sender may name.

    Of the sender's own IP version only its own address counts: nobody can make us dial another machine. Of the other
    version, what lies on the subnets of the interface on which the answer came.
    """
    source, nets = ip_address(sender), tuple(subnets)
    found = []
    for addr in addrs:
        host = host_of(addr) or ""  # a name could lead anywhere: it lies on no subnet
        if not on_subnet(host, nets):
            continue
        ip = ip_address(host)
        if not ip.is_loopback and (ip == source or ip.version != source.version):
            found.append(addr)
    return tuple(found)


@dataclass(slots=True)
class _Neighbour:
    expires: dict[str, float]


class Neighbours:
    """A bounded table of peers and the addresses at which they were heard."""

    def __init__(self) -> None:
        self._known: dict[PeerId, _Neighbour] = {}

    def heard(self, found: Found, *, sender: str, subnets: Iterable[Subnet], now: float) -> bool:
        """Note one peer of an answer; whether there is an address to dial now that was not known before.

        A full table forgets who was heard least lately.
        """
        addrs = believed(found.addrs, sender=sender, subnets=subnets)
        if found.ttl_seconds == 0:
            self._forget(found.peer, addrs)
            return False
        if not addrs:
            return False
        known = self._known.pop(found.peer, None) or _Neighbour({})
        fresh = any(addr not in known.expires or known.expires[addr] <= now for addr in addrs)
        until = now + min(found.ttl_seconds, limits.MDNS_TTL_SECONDS)
        for addr in addrs:
            known.expires.pop(addr, None)
            known.expires[addr] = until
        while len(known.expires) > limits.MDNS_ADDRS_PER_PEER:
            del known.expires[next(iter(known.expires))]
        self._known[found.peer] = known
        while len(self._known) > limits.MDNS_PEERS_MAX:
            del self._known[next(iter(self._known))]
        return fresh

    def addrs_of(self, peer: PeerId, *, now: float) -> tuple[str, ...]:
        """Return where a peer was heard and still is, the last heard first."""
        known = self._known.get(peer)
        if known is None:
            return ()
        latest_first = sorted(known.expires.items(), key=lambda item: -item[1])  # those of one answer as it had them
        return tuple(addr for addr, until in latest_first if until > now)

    def peers(self, *, now: float) -> tuple[PeerId, ...]:
        """Return who was heard and still is."""
        return tuple(
            peer for peer, known in self._known.items() if any(until > now for until in known.expires.values())
        )

    def expire(self, *, now: float) -> None:
        """Forget what is too old."""
        for peer, known in list(self._known.items()):
            known.expires = {addr: until for addr, until in known.expires.items() if until > now}
            if not known.expires:
                del self._known[peer]

    def _forget(self, peer: PeerId, addrs: Iterable[str]) -> None:
        known = self._known.get(peer)
        if known is not None:
            for addr in addrs:
                known.expires.pop(addr, None)
            if not known.expires:
                del self._known[peer]
