"""The addresses of this machine's interfaces: in place of "any address", and as a sign that the network changed.

Owns: turning `0.0.0.0` and `::` of a listener into what others can dial; the look whether the interfaces have changed.
Spec: docs/spec/paths.md, "A change of network". Never touches: sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio
from multiaddr import Multiaddr
from multiaddr.utils import get_thin_waist_addresses

from covey_node import limits

_ANY = ("/ip4/0.0.0.0/tcp/1", "/ip6/::/tcp/1")


def expand(addrs: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses with every unspecified IP replaced by those of the interfaces; others stay as they are."""
    found: dict[str, None] = {}
    for addr in addrs:
        transport, peer_part, peer = addr.partition("/p2p/")
        for real in get_thin_waist_addresses(Multiaddr(transport)):
            found[f"{real}{_rest(transport)}{peer_part}{peer}"] = None
    return tuple(found)


def _rest(transport: str) -> str:
    """Return what follows IP and port, such as /ws; libp2p's expansion leaves it out."""
    parts = transport.split("/")
    return "".join(f"/{part}" for part in parts[5:])


def own_ips() -> frozenset[str]:
    """Return the IP addresses of the interfaces, without loopback and link-local ones. Takes about 1 ms."""
    return frozenset(addr.split("/")[2] for addr in expand(_ANY))


async def watch_interfaces(on_change: Callable[[], None], *, look: Callable[[], frozenset[str]] = own_ips) -> None:
    """Call `on_change` whenever the addresses are others than at the last look, until cancelled."""
    known = look()
    while True:
        await trio.sleep(limits.INTERFACES_LOOK_SECONDS)
        found = look()
        if found != known:
            known = found
            on_change()
