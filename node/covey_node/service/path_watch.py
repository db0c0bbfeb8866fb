"""Which path each peer is reached over, since when; what of it is counted.

Owns: the look at the host's connections for status, doctor and metrics. Spec: docs/spec/paths.md; METRICS.
Never touches: which path is used (the keeper decides, the dialer names it), connections themselves.

Metrics count contacts' devices only: relays, seeds and strangers say nothing about how people reach each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from covey_core.host import ConnectionInfo, Host
from covey_core.peers import PeerId
from covey_node.metrics import NodeMetrics
from covey_node.protocol.addresses import ip_version_of, transport_of
from covey_node.protocol.path_count import Counted, Outcome, PathCount, Way
from covey_node.protocol.paths import PathKind


class Dialer(Protocol):
    """Names the path in use to a peer, and the kind of a connection."""

    def path(self, peer: PeerId) -> tuple[PathKind, str | None]:
        """Return the kind and the remote address of the path in use."""

    def kind_of(self, info: ConnectionInfo) -> PathKind:
        """Return the kind of path that a connection is."""


@dataclass(frozen=True, slots=True)
class PeerPath:
    """The path in use to a peer; `relay` is the operator's name, `since` in Unix seconds."""

    kind: PathKind
    address: str | None
    transport: str | None
    relay: str | None
    since: float | None


NO_PATH = PeerPath(PathKind.NONE, None, None, None, None)


async def _everybody(_peer: PeerId) -> bool:
    return True


class PathWatch:
    """Looks at the paths to all peers whenever a connection comes or goes, or `look` is called."""

    def __init__(
        self,
        host: Host,
        dialer: Dialer,
        *,
        now: Callable[[], float],
        operator: Callable[[PeerId], str | None] = lambda _relay: None,
        is_contact: Callable[[PeerId], Awaitable[bool]] = _everybody,
        metrics: NodeMetrics | None = None,
    ) -> None:
        self._host = host
        self._dialer = dialer
        self._now = now
        self._operator = operator
        self._is_contact = is_contact
        self._metrics = metrics
        self._count = PathCount[PeerId]()
        self._since: dict[PeerId, tuple[object, float]] = {}
        self._found: list[Outcome[PeerId]] = []
        self._more = trio.Event()
        self._contacts: set[PeerId] = set()
        self._strangers: set[PeerId] = set()

    # --- for people -----------------------------------------------------------------------------------------------

    def path(self, peer: PeerId) -> PeerPath:
        """Return the path in use to a peer."""
        kind, address = self._dialer.path(peer)
        if kind is PathKind.NONE or address is None:
            return NO_PATH
        key, relay = self._key(peer)
        known = self._since.get(peer)
        since = known[1] if known is not None and known[0] == key else self._now()
        return PeerPath(kind, address, transport_of(address), relay, since)

    def details(self, peer: PeerId) -> tuple[str | None, str | None]:
        """Return what carries the path in use to a peer, and the operator of its relay."""
        path = self.path(peer)
        return path.transport, path.relay

    def standing(self, peer: PeerId) -> tuple[ConnectionInfo, ...]:
        """Return the admitted connections to a peer, the best first."""
        return tuple(info for info in self._host.connections(peer) if info.admitted)

    def kind_of(self, info: ConnectionInfo) -> PathKind:
        """Return the kind of path that a connection is."""
        return self._dialer.kind_of(info)

    def transport_of(self, info: ConnectionInfo) -> str:
        """Return what carries a connection; of a relayed one the way to the relay."""
        return transport_of(info.remote_addr)

    def operator(self, info: ConnectionInfo) -> str | None:
        """Return who runs the relay of a connection: its name in the network's link, else the end of its PeerId."""
        if info.relay is None:
            return None
        return self._operator(info.relay) or f"…{info.relay[-6:]}"

    # --- for those who know more ----------------------------------------------------------------------------------

    def wanted(self, peer: PeerId) -> None:
        """Somebody tries to reach `peer` now."""
        self._count.wanted(peer, now=trio.current_time())

    def given_up(self, peer: PeerId) -> None:
        """Nobody tries to reach `peer` any longer."""
        self._count.given_up(peer)

    def kind_at(self, peer: PeerId, number: int | None) -> PathKind:
        """Return the kind of the connection with this number, or of the path in use."""
        for info in self._host.connections(peer):
            if info.number == number:
                return self._dialer.kind_of(info)
        return self._dialer.path(peer)[0]

    def acquainted(self) -> None:
        """Contacts have changed: who was a stranger may be one now."""
        self._strangers.clear()
        self._contacts.clear()
        self._more.set()

    def look(self, peer: PeerId) -> None:
        """The path to a peer may have changed."""
        key, _ = self._key(peer)
        known = self._since.get(peer)
        if key is None:
            self._since.pop(peer, None)
        elif known is None or known[0] != key:
            self._since[peer] = key, self._now()
        kind, address = self._dialer.path(peer)
        way = None
        if kind is not PathKind.NONE and address is not None:
            way = Way(kind, transport_of(address), ip_version_of(address))
        self._take(self._count.changed(peer, way, now=trio.current_time()))

    async def run(self) -> None:
        """Watch until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell)
            with self._host.subscribe() as events:
                for peer in {info.peer for info in self._host.connections()}:
                    self.look(peer)
                async for event in events:
                    self.look(event.peer)

    async def _tell(self) -> None:
        """Count what is due, for contacts only."""
        while True:
            deadline = self._count.next_deadline()
            with trio.move_on_at(float("inf") if deadline is None else deadline):
                await self._more.wait()
            self._more = trio.Event()
            self._found += self._count.due(now=trio.current_time())
            found, self._found = self._found, []
            for outcome in found:
                if await self._is_contact(outcome.peer) and self._metrics is not None:
                    if isinstance(outcome, Counted):
                        self._metrics.path_established(outcome.way)
                    else:
                        self._metrics.path_stood(outcome.kind, outcome.seconds)
            if self._metrics is not None:
                self._metrics.peers(await self._contact_kinds())

    async def _contact_kinds(self) -> Counter[PathKind]:
        standing = self._count.standing()
        self._contacts &= standing.keys()
        self._strangers &= standing.keys()
        for peer in standing.keys() - self._contacts - self._strangers:
            (self._contacts if await self._is_contact(peer) else self._strangers).add(peer)
        return Counter(kind for peer, kind in standing.items() if peer in self._contacts)

    def _take(self, found: tuple[Outcome[PeerId], ...]) -> None:
        self._found += found
        self._more.set()

    def _key(self, peer: PeerId) -> tuple[object, str | None]:
        """Return what makes a path another one: its kind, transport and relay; and the relay's name."""
        kind, address = self._dialer.path(peer)
        if kind is PathKind.NONE or address is None:
            return None, None
        relay = next((self.operator(info) for info in self.standing(peer) if info.remote_addr == address), None)
        return (kind, transport_of(address), relay), relay
