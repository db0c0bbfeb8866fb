"""The addresses of this machine's interfaces, in place of "any address".

Owns: turning `0.0.0.0` and `::` of a listener into what others can dial. Never touches: sockets.
"""

from __future__ import annotations

from collections.abc import Iterable

from multiaddr import Multiaddr
from multiaddr.utils import get_thin_waist_addresses


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
