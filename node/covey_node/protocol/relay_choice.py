"""At which relays to keep a slot: few, run by different people, in different networks.

Owns: the choice among the relays that are known. Spec: docs/spec/circuit.md, "Choice of relays".
Never touches: sockets, trio, the clock (callers pass `now`), randomness: the order of equals is the caller's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from covey_core.peers import PeerId
from covey_node.protocol.addresses import host_of


@dataclass(frozen=True, slots=True)
class Candidate:
    """One relay. `networks` are its /16s and /32s; before `ready_at` it is not asked; lower `order` comes first.

    A spare one, a contact's node, comes after all others.
    """

    peer: PeerId
    operator: str
    networks: frozenset[str]
    ready_at: float = 0.0
    failures: int = 0
    order: bytes = b""
    spare: bool = False


def choose(
    candidates: Sequence[Candidate], *, wanted: int, keeping: Collection[PeerId], now: float
) -> tuple[PeerId, ...]:
    """Return up to `wanted` relays. Variety comes first, then those that we keep, then those that failed least."""
    chosen: list[Candidate] = []
    left = [one for one in candidates if one.peer in keeping or one.ready_at <= now]
    while left and len(chosen) < wanted:
        best = min(
            left,
            key=lambda one: (one.spare, clashes(one, chosen), one.peer not in keeping, one.failures, one.order),
        )
        left.remove(best)
        chosen.append(best)
    return tuple(one.peer for one in chosen)


def networks_of(addrs: Iterable[str]) -> frozenset[str]:
    """Return the IPv4 /16s and IPv6 /32s of addresses; a name stands for itself."""
    found = set()
    for addr in addrs:
        host = host_of(addr)
        if host is None:
            continue
        try:
            ip = ip_address(host)
        except ValueError:
            found.add(host)
            continue
        found.add(str(ip_network((ip, 32 if isinstance(ip, IPv6Address) else 16), strict=False)))
    return frozenset(found)


def order_of(own: PeerId, relay: PeerId) -> bytes:
    """Return a relay's place for one node: the same at every start, another for every node, so that load spreads."""
    return hashlib.sha256(f"covey relay order {own} {relay}".encode()).digest()


def clashes(one: Candidate, chosen: Iterable[Candidate]) -> int:
    """Return 2 when the operator is among the chosen ones, 1 for the network only, 0 for neither."""
    clash = 0
    for other in chosen:
        if one.operator == other.operator:
            return 2
        if one.networks & other.networks:
            clash = 1
    return clash
