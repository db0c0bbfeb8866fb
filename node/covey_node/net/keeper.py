"""The paths to contacts' devices, kept: asked whether they live, closed when dead, renewed, punched anew.

Owns: one path table a device, and the task that does what it says. Spec: docs/spec/paths.md.
Never touches: the decisions (protocol/path_table.py), messages, the database (the service says who is a contact).
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import trio

from covey_core.errors import CoveyError
from covey_core.host import ConnectionInfo, Host
from covey_core.logs import get_logger
from covey_core.peers import PeerId, short
from covey_core.wire.circuit import CircuitLimit
from covey_node import limits
from covey_node.net.lasting import failed
from covey_node.protocol.path_facts import Drop, PathFacts, PathView, Probe, Punch, Renew, Wait
from covey_node.protocol.path_table import PathTable
from covey_node.protocol.paths import PathKind

log = get_logger("node.paths")

PROBE_SECONDS = limits.PATH_FIRST_MISS_SECONDS + limits.PATH_SECOND_MISS_SECONDS
"""How long an answer to a probe is waited for: until the path is given up."""


@dataclass(slots=True)
class _Kept:
    table: PathTable
    told: tuple[int | None, PathKind] = (None, PathKind.NONE)
    changed: trio.Event = field(default_factory=trio.Event)
    looks_again_at: float = 0.0


async def _nobody(_peer: PeerId) -> bool:
    return False


async def _no_punch(_peer: PeerId) -> None:
    return None


class Keeper:
    """Looks after the paths to the devices for which `is_contact` holds, and to those that lanes write to."""

    def __init__(
        self,
        host: Host,
        *,
        kind_of: Callable[[ConnectionInfo], PathKind],
        is_contact: Callable[[PeerId], Awaitable[bool]] = _nobody,
        limit_of: Callable[[ConnectionInfo], CircuitLimit | None] = lambda _info: None,
        renew: Callable[[PeerId, ConnectionInfo], Awaitable[None]] | None = None,
        doubt_relay: Callable[[PeerId], None] = lambda _relay: None,
        punch: Callable[[PeerId], Awaitable[object]] = _no_punch,
        rng: Callable[[], float] = random.random,
    ) -> None:
        """`punch` is asked for a direct connection, `renew` for another circuit in place of the given one.

        `doubt_relay` hears of relays through which a path died silently.
        """
        self._host = host
        self._kind_of = kind_of
        self._is_contact = is_contact
        self._limit_of = limit_of
        self._renew = renew
        self._doubt_relay = doubt_relay
        self.punch = punch
        self._rng = rng
        self._kept: dict[PeerId, _Kept] = {}
        self._starting: dict[PeerId, None] = {}
        self._more = trio.Event()
        self._followers: list[Callable[[PeerId], None]] = []

    def follow(self, follower: Callable[[PeerId], None]) -> None:
        """Tell `follower` whenever the path in use to a device changes, or its kind."""
        self._followers.append(follower)

    # --- for lanes ------------------------------------------------------------------------------------------------

    def use(self, peer: PeerId) -> int | None:
        """Return the connection to use to a device; None when none stands, or nobody looks after its paths."""
        kept = self._kept.get(peer)
        if kept is None:
            return None
        self._sync(peer, kept)
        return kept.table.used

    def in_flight(self, peer: PeerId, *, flag: bool) -> None:
        """Packets to a device are on their way, or none are any more."""
        kept = self._kept.get(peer) or (self._keep_from_now(peer) if flag else None)
        if kept is None:
            return
        now = trio.current_time()
        news = kept.table.in_flight(flag=flag, now=now)
        if news and flag and kept.looks_again_at > now + limits.PATH_FIRST_PROBE_SECONDS:
            kept.changed.set()

    def acknowledged(self, peer: PeerId, number: int | None) -> None:
        """A packet was acknowledged over this connection."""
        kept = self._kept.get(peer)
        if kept is not None and number is not None:
            kept.table.progressed(number, now=trio.current_time())
            if kept.table.used != kept.told[0]:
                self._tell(peer, kept)

    def carried(self, peer: PeerId, number: int | None, size: int) -> None:
        """`size` bytes were written to this connection."""
        kept = self._kept.get(peer)
        if kept is not None and number is not None and kept.table.carried(number, size, now=trio.current_time()):
            kept.changed.set()

    def written_to(self, peer: PeerId, relayed: bool) -> None:  # noqa: FBT001 - as ChatServer calls it
        """The device began to write to us; over a relay although we know a direct path, that one may be dead."""
        kept = self._kept.get(peer)
        if kept is not None and relayed and kept.told[1] is not PathKind.RELAYED:
            kept.table.doubted(now=trio.current_time())
            kept.changed.set()

    # --- for people -----------------------------------------------------------------------------------------------

    def paths(self, peer: PeerId) -> tuple[PathView, ...]:
        """Return the paths to a device, the one in use first."""
        kept = self._kept.get(peer)
        return () if kept is None else kept.table.view(now=trio.current_time())

    def network_changed(self) -> None:
        """Ask every path now: our addresses changed."""
        for kept in self._kept.values():
            kept.table.network_changed(now=trio.current_time())
            kept.changed.set()

    # --- the tasks ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look after paths until cancelled."""
        self._starting = dict.fromkeys(self._kept)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            while True:
                for peer in list(self._starting):
                    del self._starting[peer]
                    nursery.start_soon(self._look_after, peer, self._kept[peer])
                self._more = trio.Event()
                await self._more.wait()

    async def _watch(self) -> None:
        with self._host.subscribe(identified=True) as events:
            for peer in {info.peer for info in self._host.connections()}:
                await self._look_at(peer)
            async for event in events:
                await self._look_at(event.peer)

    async def _look_at(self, peer: PeerId) -> None:
        kept = self._kept.get(peer)
        if kept is not None:
            kept.changed.set()
        elif self._host.connections(peer) and await self._is_contact(peer) and peer not in self._kept:
            self._keep_from_now(peer)

    def _keep_from_now(self, peer: PeerId) -> _Kept | None:
        if len(self._kept) >= limits.PATH_TABLES_MAX:
            return None
        kept = self._kept[peer] = _Kept(PathTable(self._rng))
        self._sync(peer, kept)
        self._starting[peer] = None
        self._more.set()
        return kept

    async def _look_after(self, peer: PeerId, kept: _Kept) -> None:
        """Keep one device's paths; an error that nobody foresaw ends that for a while, and for this device only."""
        if await failed("paths", partial(self._keep, peer, kept)) is not None:
            await trio.sleep(limits.TASK_AGAIN_SECONDS_MAX)
            del self._kept[peer]
            await self._look_at(peer)

    async def _keep(self, peer: PeerId, kept: _Kept) -> None:
        """Do what the table says until nothing stands and nothing is on its way."""
        table = kept.table
        async with trio.open_nursery() as nursery:
            while True:
                kept.changed = trio.Event()
                self._sync(peer, kept)
                now = trio.current_time()
                action = table.next(now=now)
                self._tell(peer, kept)
                match action:
                    case Probe(number):
                        table.probing(number, now=now)
                        nursery.start_soon(self._probe, peer, kept, number)
                    case Drop(number):
                        nursery.start_soon(self._drop, peer, number)
                    case Punch():
                        table.punching()
                        nursery.start_soon(self._try_punch, peer, kept)
                    case Renew(number):
                        table.renewing(number, now=now)
                        nursery.start_soon(self._try_renew, peer, number)
                    case Wait(until):
                        if table.is_empty:
                            del self._kept[peer]
                            break
                        kept.looks_again_at = min(until, now + limits.PATH_PROBE_IDLE_SECONDS)
                        with trio.move_on_at(kept.looks_again_at):
                            await kept.changed.wait()
            nursery.cancel_scope.cancel()

    async def _probe(self, peer: PeerId, kept: _Kept, number: int) -> None:
        with trio.move_on_after(PROBE_SECONDS):
            try:
                seconds = await self._host.ping(peer, on=number)
            except CoveyError:
                return  # no answer, or the connection ended: the table sees to both
            kept.table.answered(number, seconds, now=trio.current_time())
            kept.changed.set()

    async def _drop(self, peer: PeerId, number: int) -> None:
        info = self._info(peer, number)
        if info is None:
            return
        log.debug("node.path.dead", peer=short(peer), kind=self._kind_of(info).value)
        if info.relay is not None:
            self._doubt_relay(info.relay)
        await self._host.close_connection(number)

    async def _try_punch(self, peer: PeerId, kept: _Kept) -> None:
        try:
            await self.punch(peer)
        except CoveyError as exc:
            log.debug("node.punch.failed", peer=short(peer), problem=type(exc).__name__)
        finally:
            kept.table.punched(now=trio.current_time())
            kept.changed.set()

    async def _try_renew(self, peer: PeerId, number: int) -> None:
        info = self._info(peer, number)
        if info is None or self._renew is None:
            return
        try:
            await self._renew(peer, info)
        except CoveyError as exc:
            log.debug("node.circuit.not_renewed", peer=short(peer), problem=str(exc))

    # --- the table and the host's connections -----------------------------------------------------------------------

    def _sync(self, peer: PeerId, kept: _Kept) -> None:
        """Let the table know what stands. Events may have been lost; the host's own list never is."""
        now = trio.current_time()
        standing = {info.number: info for info in self._host.connections(peer) if info.admitted}
        for info in standing.values():
            kept.table.opened(self._facts(info), now=now)
        for number in kept.table.numbers - standing.keys():
            kept.table.closed(number, now=now)

    def _facts(self, info: ConnectionInfo) -> PathFacts:
        kind = self._kind_of(info)
        limit = self._limit_of(info) if info.relayed else None
        return PathFacts(
            number=info.number,
            kind=kind,
            via=str(info.relay) if info.relayed else info.transport,
            startable=info.relayed and info.inbound,
            ours=not info.inbound,
            lasts_seconds=(limit.duration_seconds if limit is not None else 0) or float("inf"),
            carries_bytes=(limit.data_bytes if limit is not None else 0) or float("inf"),
        )

    def _kind(self, peer: PeerId, number: int | None) -> PathKind:
        info = self._info(peer, number)
        return PathKind.NONE if info is None else self._kind_of(info)

    def _info(self, peer: PeerId, number: int | None) -> ConnectionInfo | None:
        return next((info for info in self._host.connections(peer) if info.number == number), None)

    def _tell(self, peer: PeerId, kept: _Kept) -> None:
        told = kept.table.used, self._kind(peer, kept.table.used)
        if told != kept.told:
            kept.told = told
            for follower in self._followers:
                follower(peer)
