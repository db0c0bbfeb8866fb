"""Ports of ours that the router lets in: asked for, renewed, ended.

Owns: which way of asking is used (PCP, NAT-PMP, UPnP), when a mapping is renewed or made anew, what is announced of it.
Spec: docs/spec/portmap.md. Never touches: packets (portmap_udp.py, portmap_upnp.py), contact records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

import trio

from covey_core.host.contained import shielded
from covey_core.logs import get_logger
from covey_core.network.scope import Scope
from covey_node import limits
from covey_node.net.portmap_gateway import Gateway, default_gateway
from covey_node.net.portmap_udp import Method, NatPmp, Pcp
from covey_node.net.portmap_upnp import Upnp
from covey_node.protocol.portmap import Granted, Port, PortmapFailed, PortMapping, Via

log = get_logger("node.portmap")

MakeMethods = Callable[[Gateway], tuple[Method, ...]]


@dataclass(frozen=True, slots=True)
class _Held:
    """A mapping that stands, and when it is renewed (trio's time)."""

    granted: Granted
    renew_at: float
    expires_at: float


def methods(
    gateway: Gateway, *, secret: bytes, lease_seconds: int, one_thread: trio.CapacityLimiter | None = None
) -> tuple[Method, ...]:
    """Return the ways of asking a router, the better ones first."""
    return (
        Pcp(gateway, secret=secret, lease_seconds=lease_seconds),
        NatPmp(gateway, lease_seconds=lease_seconds),
        Upnp(gateway, lease_seconds=lease_seconds, one_thread=one_thread),
    )


class PortMapper:
    """Keeps our ports mapped while `run` runs. Where no router answers it says nothing and tries again rarely.

    `ports` are the ports that we listen on now. `secret` (32 bytes, kept over restarts) makes PCP's nonces. `changed`
    is called when `mappings` has changed.
    """

    def __init__(
        self,
        ports: Callable[[], Iterable[Port]],
        *,
        scope: Scope,
        secret: bytes,
        changed: Callable[[], None] = lambda: None,
        lease_seconds: int = limits.PORTMAP_LEASE_SECONDS,
        gateway: Callable[[], Gateway | None] = default_gateway,
        make_methods: MakeMethods | None = None,
    ) -> None:
        self._ports = ports
        self._scope = scope
        self._changed = changed
        self._find_gateway = gateway
        one_thread = trio.CapacityLimiter(1)
        self._make_methods = make_methods or (
            lambda found: methods(found, secret=secret, lease_seconds=lease_seconds, one_thread=one_thread)
        )
        self._gateway: Gateway | None = None
        self._method: Method | None = None
        self._worked: Via | None = None
        self._held: dict[Port, _Held] = {}
        self._nudged = trio.Event()
        self.problem = "no router was asked yet"
        """Why there is no mapping, in words; empty while all ports are mapped."""

    @property
    def via(self) -> Via | None:
        """How the router was asked; None while nothing is mapped."""
        return self._method.via if self._method is not None and self._held else None

    def mappings(self) -> tuple[PortMapping, ...]:
        """Return the mappings that stand, also those that nobody can use from outside."""
        via = self.via
        if via is None:
            return ()
        return tuple(
            PortMapping(
                port.protocol, port.number, held.granted.external_ip, held.granted.external_port, via, held.expires_at
            )
            for port, held in self._held.items()
        )

    def addrs(self) -> tuple[str, ...]:
        """Return the addresses to announce, without a PeerId.

        Left out is what lies behind one more NAT: an external address that is private or a carrier's.
        """
        outside = self._scope.is_reachable_from_outside
        return tuple(mapping.addr for mapping in self.mappings() if outside(mapping.external_ip))

    def nudge(self) -> None:
        """Something speaks for a change (no relay answers, the interfaces are others): look at once."""
        self._nudged.set()

    async def run(self) -> None:
        """Keep the ports mapped until cancelled; then end the mappings, in bounded time."""
        pause_seconds = 0.0
        try:
            while True:
                self._gateway = self._find_gateway()
                if self._gateway is None:
                    self.problem = "this machine has no router (no default route over IPv4)"
                elif await self._begin(self._gateway):
                    pause_seconds = limits.PORTMAP_AGAIN_SECONDS  # it worked here: it will again
                    await self._keep(self._gateway)
                least = limits.PORTMAP_AGAIN_SECONDS if self._worked else limits.PORTMAP_RETRY_SECONDS
                pause_seconds = min(max(pause_seconds, least), limits.PORTMAP_RETRY_SECONDS_MAX)
                await self._rest(pause_seconds)
                pause_seconds *= 2
        finally:
            with shielded(limits.PORTMAP_END_SECONDS):
                await self._end(tuple(self._held))

    async def _begin(self, gateway: Gateway) -> bool:
        """Find a way of asking that works: the one of the last time first."""
        problems = []
        for method in sorted(self._make_methods(gateway), key=lambda one: one.via is not self._worked):
            self._method = method
            problem = await self._map(self._wanted())
            if self._held:
                self._worked, self.problem = method.via, problem
                log.info("node.portmap.mapped", via=method.via.value, ports=len(self._held))
                return True
            problems.append(f"{method.via.value}: {problem}" if problem else "")
        self._method = None
        self.problem = "; ".join(filter(None, problems)) or "there is no port to map"
        log.debug("node.portmap.left_out", problem=self.problem)
        return False

    async def _keep(self, gateway: Gateway) -> None:
        """Renew; return once the mappings are gone."""
        misses = 0
        while self._held:
            await self._rest(self._next_look() - trio.current_time())
            if self._find_gateway() != gateway:  # nobody is left who could end them
                self._drop(tuple(self._held), "the router is another one")
                return
            wanted = self._wanted()
            await self._end(tuple(port for port in self._held if port not in wanted))
            failed = await self._is_silent()
            if not failed:
                now = trio.current_time()
                due = [port for port in wanted if port not in self._held or self._held[port].renew_at <= now]
                self.problem = await self._map(due)
                failed = any(port in self._held and self._held[port].renew_at <= now for port in due)
            misses = misses + 1 if failed else 0
            if misses > limits.PORTMAP_MISSES:
                self._drop(tuple(self._held), f"the router stopped answering ({self.problem})")
            self._drop(
                tuple(port for port, held in self._held.items() if held.expires_at <= trio.current_time()),
                self.problem,
            )

    async def _is_silent(self) -> bool:
        """Ask the router whether it still knows; mappings that it has lost are due at once. True without an answer."""
        method = self._method
        if method is None or not self._held:
            return False
        port, held = next(iter(self._held.items()))
        try:
            lost = await method.has_lost(port, held.granted)
        except PortmapFailed as exc:
            self.problem = str(exc)
            return True
        if lost:
            log.info("node.portmap.lost", via=method.via.value)
            self._held = {port: _Held(held.granted, 0.0, held.expires_at) for port, held in self._held.items()}
        return False

    async def _map(self, ports: Iterable[Port]) -> str:
        """Map or renew; return what went wrong, empty when all went well."""
        problem = ""
        for port in ports:
            before = self._held.get(port)
            try:
                granted = await self._map_one(port, before)
            except PortmapFailed as exc:
                problem = str(exc)
                continue
            now, lease_seconds = trio.current_time(), min(granted.lifetime_seconds, limits.PORTMAP_LEASE_SECONDS_MAX)
            self._held[port] = _Held(granted, now + lease_seconds / 2, now + lease_seconds)
            if before is None or _place(before.granted) != _place(granted):
                self._changed()
        return problem

    async def _map_one(self, port: Port, before: _Held | None) -> Granted:
        if self._method is None:
            raise PortmapFailed("no way of asking")
        granted = await self._method.map(port, before.granted if before else None)
        try:
            IPv4Address(granted.external_ip)  # what is mapped are ports of IPv4; of IPv6 a zone may hold any text
        except ValueError:
            raise PortmapFailed("the router does not know its own address") from None
        return granted

    async def _end(self, ports: tuple[Port, ...]) -> None:
        """End mappings; those that the router does not take back end with their lease."""
        for port in ports:
            held = self._held.pop(port)
            if self._method is not None:
                try:
                    await self._method.unmap(port, held.granted)
                except PortmapFailed as exc:
                    log.debug("node.portmap.left_standing", problem=str(exc))
        if ports:
            self._changed()

    def _drop(self, ports: tuple[Port, ...], problem: str) -> None:
        """Mappings stand no longer, without our doing."""
        for port in ports:
            del self._held[port]
        if ports:
            self.problem = problem
            log.info("node.portmap.dropped", ports=len(ports))
            self._changed()

    def _wanted(self) -> list[Port]:
        return list(dict.fromkeys(self._ports()))[: limits.PORTMAP_PORTS_MAX]

    def _next_look(self) -> float:
        check_at = trio.current_time() + limits.PORTMAP_CHECK_SECONDS
        soonest = min((held.renew_at for held in self._held.values()), default=check_at)
        return max(min(soonest, check_at), trio.current_time() + limits.PORTMAP_PAUSE_SECONDS_MIN)

    async def _rest(self, seconds: float) -> None:
        """Wait, no longer than until somebody nudges or the router is another one."""
        until = trio.current_time() + seconds
        while (left := until - trio.current_time()) > 0:
            with trio.move_on_after(min(left, limits.PORTMAP_ROUTE_SECONDS)):
                await self._nudged.wait()
                self._nudged = trio.Event()
                return
            if self._find_gateway() != self._gateway:
                return


def _place(granted: Granted) -> tuple[str, int]:
    return granted.external_ip, granted.external_port
