"""Asking a router for mappings over UPnP.

Owns: miniupnpc, which blocks, in a thread of its own at a time; the choice of another external port.
Spec: UPnP Forum, WANIPConnection:2; docs/spec/portmap.md. Never touches: which ports, when to renew (portmap.py).
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import miniupnpc
import trio

from covey_core.host.contained import Contained, kind_of
from covey_node import limits
from covey_node.net.portmap_gateway import Gateway
from covey_node.protocol.portmap import Granted, Port, PortmapFailed, Via
from covey_node.protocol.ssdp import GROUP, PORT, description_in, is_at, searches

_DESCRIPTION: Final = "covey"
_PERMANENT_ONLY: Final = "OnlyPermanentLeasesSupported"  # error 725
_TAKEN: Final = ("ConflictInMappingEntry", "ConflictWithOtherMechanisms")  # errors 718 and 729
_PORT_FIRST, _PORT_LAST = 49152, 65535  # RFC 6335: dynamic ports

_Value = TypeVar("_Value")


class Upnp:
    """Mappings over UPnP. A call that takes too long is given up; its thread ends by miniupnpc's own time-outs.

    Until then no other begins: `one_thread` is one for all who ask on behalf of a node. A router may drip its answer.
    """

    via = Via.UPNP

    def __init__(self, gateway: Gateway, *, lease_seconds: int, one_thread: trio.CapacityLimiter | None = None) -> None:
        self._gateway = gateway
        self._lease_seconds = lease_seconds
        self._one_thread = one_thread or trio.CapacityLimiter(1)
        self._router: Any = None

    async def map(self, port: Port, wanted: Granted | None) -> Granted:
        """Have a mapping, or its renewal."""
        if self._router is None:
            self._router = await self._call(self._find, limits.PORTMAP_DISCOVER_SECONDS)
        router = self._router
        return await self._call(lambda: self._add(router, port, wanted), limits.PORTMAP_CALL_SECONDS)

    async def unmap(self, port: Port, granted: Granted) -> None:
        """End a mapping."""
        router = self._router
        if router is not None:
            name = port.protocol.value.upper()
            await self._call(lambda: router.deleteportmapping(granted.external_port, name), limits.PORTMAP_CALL_SECONDS)

    async def has_lost(self, port: Port, granted: Granted) -> bool:
        """Ask whether the router still has the mapping, and the same address."""
        router, gateway = self._router, self._gateway

        def look() -> bool:
            entry = router.getspecificportmapping(granted.external_port, port.protocol.value.upper())
            standing = entry is not None and tuple(entry[:2]) == (gateway.own_ip, port.number)
            return not standing or router.externalipaddress() != granted.external_ip

        return await self._call(look, limits.PORTMAP_CALL_SECONDS)

    def _find(self) -> Any:
        """Return the gateway's UPnP service. No other machine is asked anything, whoever says that it is a router.

        miniupnpc's own search would fetch, and post to, whatever address anybody on the network answers with.
        """
        for url in _descriptions(self._gateway):
            found = miniupnpc.UPnP(multicastif=self._gateway.own_ip)
            with Contained() as outcome:
                service = found.selectigd(url)
            if outcome.error is None and is_at(service, self._gateway.ip) and urlsplit(service).path != "/":
                return found
        raise PortmapFailed("the gateway offers no UPnP")

    def _add(self, router: Any, port: Port, wanted: Granted | None) -> Granted:
        first = wanted.external_port if wanted else port.number
        lease_seconds = self._lease_seconds
        for external in (first, *_other_ports(limits.PORTMAP_OTHER_PORTS)):
            outcome = self._try(router, port, external, lease_seconds)
            if outcome == _PERMANENT_ONLY:  # it lives until we end it, or the router restarts
                lease_seconds = 0
                outcome = self._try(router, port, external, lease_seconds)
            if outcome is None:
                return Granted(router.externalipaddress(), external, lease_seconds or self._lease_seconds)
            if outcome not in _TAKEN:
                raise PortmapFailed(f"the router refused (UPnP: {outcome})")
        raise PortmapFailed("all external ports that were tried are taken (UPnP)")

    def _try(self, router: Any, port: Port, external: int, lease_seconds: int) -> str | None:
        with Contained() as outcome:
            router.addportmapping(
                external,
                port.protocol.value.upper(),
                self._gateway.own_ip,
                port.number,
                _DESCRIPTION,
                "",
                lease_seconds,
            )
        return None if outcome.error is None else str(outcome.error)

    async def _call(self, work: Callable[[], _Value], timeout_seconds: float) -> _Value:
        with trio.move_on_after(timeout_seconds):
            with Contained() as outcome:
                # The stubs that libp2p brings (trio-typing) know trio's former name of the argument only.
                run_sync: Any = trio.to_thread.run_sync
                value: _Value = await run_sync(work, abandon_on_cancel=True, limiter=self._one_thread)
                return value
            self._router = None  # it may be another one, or at another port: found anew the next time
            if isinstance(outcome.error, PortmapFailed):
                raise outcome.error
            if outcome.error is not None:
                raise PortmapFailed(f"UPnP failed ({kind_of(outcome.error)}: {outcome.error})") from outcome.error
        self._router = None
        raise PortmapFailed(f"no answer over UPnP within {timeout_seconds:g} s")


def _other_ports(count: int) -> tuple[int, ...]:
    return tuple(_PORT_FIRST + secrets.randbelow(_PORT_LAST - _PORT_FIRST + 1) for _ in range(count))


def _descriptions(gateway: Gateway) -> tuple[str, ...]:
    """Ask for routers, and return where the gateway's own answers say that it is described. Takes a second."""
    found: dict[str, None] = {}
    ends = time.monotonic() + limits.PORTMAP_DISCOVER_MILLISECONDS / 1000
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(gateway.own_ip))
        udp.bind((gateway.own_ip, 0))
        for packet in searches():
            udp.sendto(packet, (GROUP, PORT))
            udp.sendto(packet, (gateway.ip, PORT))
        while (left := ends - time.monotonic()) > 0 and len(found) < limits.PORTMAP_DESCRIPTIONS_MAX:
            udp.settimeout(left)
            try:
                answer, (sender, *_) = udp.recvfrom(limits.PORTMAP_ANSWER_BYTES)
            except TimeoutError:
                break
            except OSError:
                continue
            url = description_in(answer, gateway_ip=gateway.ip) if sender == gateway.ip else None
            if url is not None:
                found[url] = None
    return tuple(found)
