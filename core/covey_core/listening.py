"""Where a component listens unless it is told: on every address of the machine, of both IP versions where it has both.

Owns: the look whether this machine has IPv6. Never touches: listeners, what is told to others.
"""

import socket


def everywhere(*ends: str) -> tuple[str, ...]:
    """Return multiaddrs of these ends, such as tcp/4101, on all addresses: of IPv4, then of IPv6 where there is any."""
    ips = ("/ip4/0.0.0.0", "/ip6/::") if has_ipv6() else ("/ip4/0.0.0.0",)
    return tuple(f"{ip}/{end}" for ip in ips for end in ends)


def has_ipv6() -> bool:
    """Whether the kernel lets this machine listen on IPv6: it may be missing, or switched off."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(("::", 0))
    except OSError:
        return False
    return True
