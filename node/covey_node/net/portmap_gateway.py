"""The router that this machine sends everything to which is not on its own networks.

Owns: reading the kernel's routing table. Source: Linux, Documentation/networking (proc_net_route); net/ipv4/fib_trie.c.
Never touches: packets; no other program is run for it.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

_ROUTES: Final = Path("/proc/net/route")
_FLAG_UP: Final = 0x0001
_FLAG_GATEWAY: Final = 0x0002
_COLUMNS: Final = 8  # interface, destination, gateway, flags, two counters, metric, mask


@dataclass(frozen=True, slots=True)
class Gateway:
    """The default router and our own address towards it."""

    ip: str
    own_ip: str


def default_gateway(routes: Path = _ROUTES) -> Gateway | None:
    """Return the default router over IPv4, None when there is none or the table cannot be read."""
    try:
        ip = gateway_in(routes.read_text(encoding="ascii"))
        if ip is None:
            return None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((ip, 9))  # no packet leaves: the kernel only chooses the source address
            return Gateway(ip, str(probe.getsockname()[0]))
    except (OSError, UnicodeDecodeError):
        return None


def gateway_in(table: str) -> str | None:
    """Return the router of the default route with the lowest metric; lines that are damaged are passed over."""
    found: list[tuple[int, str]] = []
    for line in table.splitlines()[1:]:
        columns = line.split()
        try:
            destination, gateway, flags = (int(column, 16) for column in columns[1:4])
            metric, mask = int(columns[6]), int(columns[7], 16)
        except (IndexError, ValueError):
            continue
        is_default = destination == 0 and mask == 0 and flags & _FLAG_UP and flags & _FLAG_GATEWAY
        if is_default and len(columns) >= _COLUMNS and 0 < gateway < 2**32:
            found.append((metric, str(IPv4Address(struct.pack("=I", gateway)))))  # in the machine's byte order
    return min(found, key=lambda one: one[0])[1] if found else None
