"""Finding a connection to a contact's device: what stands, else direct addresses, else circuits.

Owns: the order of tries and the words for why none worked. Spec: docs/spec/delivery.md.
Never touches: the database, the DHT (the service looks addresses up and passes them in).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address

import trio

from covey_core.errors import CoveyError, Unreachable
from covey_core.host import ConnectionInfo, Host
from covey_core.peers import PeerId
from covey_node import limits
from covey_node.net.lan_interfaces import own_subnets
from covey_node.net.relays import RelayClient
from covey_node.protocol.addresses import Direct, Through, host_of, is_loopback, usable
from covey_node.protocol.paths import PathKind


class Dialer:
    """Opens connections to devices."""

    def __init__(self, host: Host, relays: RelayClient) -> None:
        self._host = host
        self._relays = relays
        self.used: Callable[[PeerId], int | None] = lambda _peer: None
        """Which connection is in use to a device, by the keeper's word; None: the host's own order decides."""
        self.subnets: Callable[[], tuple[IPv4Network | IPv6Network, ...]] = own_subnets
        """The subnets of this machine's site."""
        self.mapped: Callable[[], tuple[str, ...]] = tuple
        """Our addresses on the router, by the port mapper's word."""
        self.near: Callable[[PeerId], tuple[str, ...]] = lambda _peer: ()
        """Where a contact's device is on our local network, by multicast DNS."""

    def path(self, peer: PeerId) -> tuple[PathKind, str | None]:
        """Return the kind of the path that is used to a device, and its remote address."""
        best = self._best(peer)
        return (PathKind.NONE, None) if best is None else (self.kind_of(best), best.remote_addr)

    def kind_of(self, info: ConnectionInfo) -> PathKind:
        """Return the kind of path that a connection is. docs/spec/paths.md, "Kinds"."""
        if info.relayed:
            return PathKind.RELAYED
        if f"{info.remote_addr}/p2p/{info.peer}" in self.near(info.peer):
            return PathKind.LAN  # also where a private network's own subnets count as outside
        host = host_of(info.remote_addr)
        if host is None or not self._host.network.scope.is_reachable_from_outside(host):
            return PathKind.LAN
        if info.punched:
            return PathKind.PUNCHED
        if info.inbound and info.observed is not None and _transport(info.observed) in map(_transport, self.mapped()):
            return PathKind.MAPPED
        return PathKind.LAN if is_loopback(host) else PathKind.PUBLIC

    async def connect(self, peer: PeerId, addrs: Iterable[str], *, nearby: bool = True) -> None:
        """Make sure that a connection to `peer` stands; Unreachable tells what was tried.

        Direct addresses that may answer have a head start; then relays are asked too, and whichever comes first ends
        the other tries: an address behind somebody's router answers nothing for as long as one waits. Without `nearby`,
        for those whom nobody accepted, addresses of our own site are left out: strangers could make us scan it.
        """
        if self._best(peer) is not None:
            return
        known = addrs if nearby else filter(self._is_outside, addrs)
        targets = usable((*self.near(peer), *known), peer)
        direct = [target.addr for target in targets if isinstance(target, Direct) and self._may_dial(target.addr)]
        tried: list[str] = []
        won = False

        async def dial_directly() -> None:
            nonlocal won
            try:
                await self._host.connect(peer, direct)
            except CoveyError as exc:
                tried.append(str(exc))
                head_start.cancel()
            else:
                won = True
                nursery.cancel_scope.cancel()

        async def dial_relays() -> None:
            nonlocal won
            if any(map(self._may_answer, direct)):
                with head_start:
                    await trio.sleep(limits.DIRECT_HEAD_START_SECONDS)
            if await self._dial_relays(peer, targets, tried):
                won = True
                nursery.cancel_scope.cancel()

        head_start = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            if direct:
                nursery.start_soon(dial_directly)
            nursery.start_soon(dial_relays)
        if not won:
            raise Unreachable("; ".join(dict.fromkeys(tried)) or "no address and no relay is known for this contact")

    async def another_circuit(self, peer: PeerId, old: ConnectionInfo) -> None:
        """Open another circuit to a device, through the relay of the `old` one or else another; Unreachable."""
        ways = {relay.peer: relay.addrs for relay in self._relays.relays.values()}
        if old.relay is not None:
            ways.setdefault(old.relay, ())
        order = sorted(ways, key=lambda relay: (self._relays.is_doubted(relay), relay != old.relay))
        reason = "no relay is known"
        for relay in order[: limits.RENEW_RELAYS_TRIED]:
            try:
                await self._relays.dial(relay, ways.get(relay, ()), peer)
            except CoveyError as exc:
                reason = str(exc)
            else:
                return
        raise Unreachable(reason)

    async def _dial_relays(self, peer: PeerId, targets: list[Direct | Through], tried: list[str]) -> bool:
        """Try the relays one after the other, each beside those before it when they are silent for a second."""
        won = False

        async def dial(relay: PeerId, relay_addrs: tuple[str, ...], failed: trio.Event) -> None:
            nonlocal won
            try:
                await self._relays.dial(relay, relay_addrs, peer)
            except CoveyError as exc:
                tried.append(str(exc))
                failed.set()
            else:
                won = True
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for relay, relay_addrs in self._ways(targets).items():
                failed = trio.Event()
                nursery.start_soon(dial, relay, relay_addrs, failed)
                with trio.move_on_after(limits.NEXT_RELAY_SECONDS):
                    await failed.wait()
        return won

    def _ways(self, targets: list[Direct | Through]) -> dict[PeerId, tuple[str, ...]]:
        """Return the relays to try: those that the contact named, then those of the network; doubted ones last."""
        ways: dict[PeerId, tuple[str, ...]] = {}
        for target in targets:
            if isinstance(target, Through) and self._may_dial(target.relay_addr):
                ways[target.relay] = (*ways.get(target.relay, ()), target.relay_addr)
        for relay in self._relays.relays.values():
            ways.setdefault(relay.peer, relay.addrs)
        return dict(sorted(ways.items(), key=lambda way: self._relays.is_doubted(way[0])))

    def _is_outside(self, addr: str) -> bool:
        host = host_of(addr)
        return host is not None and self._host.network.scope.may_dial(host)

    def _may_answer(self, addr: str) -> bool:
        """Whether an address can lead to the device from here: one of another site answers nobody, or somebody else."""
        host = host_of(addr)
        if host is None or self._host.network.scope.is_reachable_from_outside(host):
            return True
        with suppress(ValueError):
            ip = ip_address(host)
            return any(ip in subnet for subnet in self.subnets())
        return True

    def _may_dial(self, addr: str) -> bool:
        host = host_of(addr)
        return host is not None and self._host.network.scope.may_dial_nearby(host)

    def _best(self, peer: PeerId) -> ConnectionInfo | None:
        standing = [item for item in self._host.connections(peer) if item.admitted]
        used = self.used(peer)
        return min(standing, key=lambda item: (item.number != used, item.relayed), default=None)


def _transport(addr: str) -> str:
    """Return IP, protocol and port of an address, without what stands behind them."""
    return "/".join(addr.split("/")[:5])
