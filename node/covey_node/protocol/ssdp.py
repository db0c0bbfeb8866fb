"""Finding the description of the router's UPnP services, and of nobody else's.

Owns: the questions, and which answers and URLs are the gateway's. Spec: UPnP Device Architecture 1.1, 1.3 (SSDP);
docs/spec/portmap.md. Never touches: sockets, HTTP, XML.
"""

from __future__ import annotations

import re
from typing import Final

from covey_node import limits

GROUP: Final = "239.255.255.250"
PORT: Final = 1900
_TARGETS: Final = (
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
    "upnp:rootdevice",
)
_LOCATION: Final = re.compile(rb"^location:[ \t]*([!-~]+)[ \t]*$", re.IGNORECASE | re.MULTILINE)


def searches() -> tuple[bytes, ...]:
    """Return the packets that ask for routers; answers come within a second."""
    return tuple(
        f'M-SEARCH * HTTP/1.1\r\nHOST: {GROUP}:{PORT}\r\nMAN: "ssdp:discover"\r\nMX: 1\r\nST: {target}\r\n\r\n'.encode()
        for target in _TARGETS
    )


def description_in(packet: bytes, *, gateway_ip: str) -> str | None:
    """Return the URL of a description in an answer, None when it is no answer or leads to another machine."""
    if not packet.startswith(b"HTTP/1.1 200"):
        return None
    found = _LOCATION.search(packet.replace(b"\r\n", b"\n"))
    url = "" if found is None else found[1].decode("ascii")
    return url if is_at(url, gateway_ip) else None


def is_at(url: str, gateway_ip: str) -> bool:
    """Whether a URL leads to the gateway, however it is read: only `http://IP[:PORT]/...` does."""
    if len(url) > limits.PORTMAP_URL_CHARS:
        return False
    return re.fullmatch(rf"http://{re.escape(gateway_ip)}(:[0-9]{{1,5}})?/[!-~]*", url, re.ASCII) is not None
