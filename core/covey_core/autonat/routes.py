"""What the operating system says of an IP: whether there is a way to it, and whether it is this machine's.

Owns: these two questions. Sends no packet. Spec: docs/spec/autonat.md. Never touches: connections.
"""

import socket
from typing import Final

_DISCARD_PORT: Final = 9  # RFC 863; nothing is sent there


def has_route(ip: str) -> bool:
    """Whether this machine would know where to send a packet for `ip`.

    A machine without IPv6 refuses IPv6 addresses instead of calling them unreachable; autonat-v2, "Implementation
    Suggestions".
    """
    try:
        with socket.socket(_family(ip), socket.SOCK_DGRAM) as probe:
            probe.connect((ip, _DISCARD_PORT))
    except OSError:
        return False
    return True


def is_ours(ip: str) -> bool:
    """Whether `ip` is an address of this machine: then, and only then, a socket can be bound to it."""
    try:
        with socket.socket(_family(ip), socket.SOCK_DGRAM) as probe:
            probe.bind((ip, 0))
    except OSError:
        return False
    return True


def _family(ip: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in ip else socket.AF_INET
