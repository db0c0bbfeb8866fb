"""The addresses of this machine's interfaces: in place of "any address", and as a sign that the network changed.

Owns: turning `0.0.0.0` and `::` of a listener into what others can dial; the look whether the interfaces have changed.
Spec: docs/spec/paths.md, "A change of network". Never touches: sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

import trio
from multiaddr import Multiaddr
from multiaddr.utils import get_thin_waist_addresses

from covey_node import limits

_ANY = ("/ip4/0.0.0.0/tcp/1", "/ip6/::/tcp/1")


def expand(addrs: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses with every unspecified IP replaced by those of the interfaces; others stay as they are.

    Unspecified ones are left out while the system does not tell: it takes a file descriptor to ask.
    """
    found: dict[str, None] = {}
    for addr in addrs:
        with suppress(OSError):
            found |= dict.fromkeys(_expanded(addr))
    return tuple(found)


def _expanded(addr: str) -> list[str]:
    transport, peer_part, peer = addr.partition("/p2p/")
    return [f"{real}{_rest(transport)}{peer_part}{peer}" for real in get_thin_waist_addresses(Multiaddr(transport))]


def _rest(transport: str) -> str:
    """Return what follows IP and port, such as /ws; libp2p's expansion leaves it out."""
    parts = transport.split("/")
    return "".join(f"/{part}" for part in parts[5:])


def own_ips() -> frozenset[str]:
    """Return the IP addresses of the interfaces, without loopback and link-local ones. Takes about 1 ms; `OSError`."""
    return frozenset(addr.split("/")[2] for one in _ANY for addr in _expanded(one))


async def watch_interfaces(on_change: Callable[[], None], *, look: Callable[[], frozenset[str]] = own_ips) -> None:
    """Call `on_change` whenever the addresses are others than at the last look, until cancelled.

    A look that fails changes nothing: with all file descriptors in use the system tells no addresses.
    """
    known: frozenset[str] | None = None
    while True:
        found = known
        with suppress(OSError):
            found = look()
        if known is not None and found != known:
            on_change()
        known = found
        await trio.sleep(limits.INTERFACES_LOOK_SECONDS)
