"""The keeper between the table and a host: probes go out, dead connections are closed, those who follow are told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import trio
from trio.testing import MockClock

from covey_core.errors import StreamLost, Unreachable
from covey_core.host import Connected, ConnectionInfo, Disconnected
from covey_core.identity import Identity
from covey_core.peers import PeerId
from covey_core.wire.circuit import CircuitLimit
from covey_node import limits
from covey_node.net.keeper import Keeper
from covey_node.protocol.paths import PathKind

PEER = Identity.generate().peer_id
RELAY = Identity.generate().peer_id
STRANGER = Identity.generate().peer_id

DIRECT = ConnectionInfo(1, PEER, "/ip4/192.0.2.1/tcp/1", inbound=False, relayed=False, admitted=True, transport="tcp")
LEG = ConnectionInfo(
    2, PEER, f"/ip4/192.0.2.9/tcp/1/p2p/{RELAY}/p2p-circuit", inbound=True, relayed=True, admitted=True,
    transport="other", relay=RELAY,
)  # fmt: skip


class _Host:
    """Connections that answer pings unless they are in `silent`."""

    def __init__(self) -> None:
        self.standing: dict[int, ConnectionInfo] = {}
        self.silent: set[int] = set()
        self.pings: list[tuple[float, int]] = []
        self.closed: list[tuple[float, int]] = []
        self._send, self._receive = trio.open_memory_channel[Any](100)

    @contextmanager
    def subscribe(self, *, identified: bool = False) -> Iterator[trio.MemoryReceiveChannel[Any]]:
        assert identified
        yield self._receive

    def connections(self, peer: PeerId | None = None) -> tuple[ConnectionInfo, ...]:
        return tuple(info for info in self.standing.values() if peer in {None, info.peer})

    def open(self, info: ConnectionInfo) -> None:
        self.standing[info.number] = info
        self._send.send_nowait(Connected(info))

    def lose(self, number: int, *, tell: bool = True) -> None:
        info = self.standing.pop(number)
        if tell:
            self._send.send_nowait(Disconnected(info, 0))

    async def ping(self, _peer: PeerId, *, on: int | None = None) -> float:
        assert on is not None
        self.pings.append((trio.current_time(), on))
        if on not in self.standing:
            raise Unreachable("not connected")
        if on in self.silent:
            await trio.sleep(5)
            raise StreamLost("no answer to a ping within 5 s")
        await trio.sleep(0.1)
        return 0.1

    async def close_connection(self, number: int) -> None:
        self.closed.append((trio.current_time(), number))
        await trio.sleep(1)  # telling a silent peer takes a second
        self.lose(number)


class _World:
    def __init__(self) -> None:
        self.host = _Host()
        self.told: list[PeerId] = []
        self.punched: list[float] = []
        self.renewed: list[int] = []
        self.doubted: list[PeerId] = []
        self.limit = CircuitLimit(7200, 1000)
        self.keeper = Keeper(
            self.host,  # type: ignore[arg-type]
            kind_of=lambda info: PathKind.RELAYED if info.relayed else PathKind.PUBLIC,
            is_contact=self._is_contact,
            limit_of=lambda _info: self.limit,
            renew=self._renew,
            doubt_relay=self.doubted.append,
            punch=self._punch,
            rng=lambda: 0.5,
        )
        self.keeper.follow(self.told.append)

    async def _is_contact(self, peer: PeerId) -> bool:
        await trio.lowlevel.checkpoint()
        return peer == PEER

    async def _renew(self, _peer: PeerId, old: ConnectionInfo) -> None:
        self.renewed.append(old.number)
        await trio.sleep(0.1)
        self.host.open(replace(old, number=old.number + 10))

    async def _punch(self, _peer: PeerId) -> None:
        self.punched.append(trio.current_time())
        await trio.sleep(5)
        raise Unreachable("no hole")


@asynccontextmanager
async def _running(*standing: ConnectionInfo) -> AsyncIterator[_World]:
    world = _World()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.keeper.run)
        for info in standing:
            world.host.open(info)
        await trio.sleep(1)
        yield world
        nursery.cancel_scope.cancel()


async def test_a_path_that_dies_while_packets_are_under_way_is_replaced_within_twelve_seconds_and_closed(
    autojump_clock: MockClock,
) -> None:
    async with _running(LEG, DIRECT) as world:
        assert world.keeper.use(PEER) == DIRECT.number
        world.told.clear()
        world.host.silent.add(DIRECT.number)
        world.keeper.in_flight(PEER, flag=True)
        await trio.sleep(11)
        assert world.keeper.use(PEER) == LEG.number
        await trio.sleep(1.1)
        assert [number for _, number in world.host.closed] == [DIRECT.number]
        assert world.told == [PEER]


async def test_a_relay_through_which_a_path_died_is_doubted(autojump_clock: MockClock) -> None:
    async with _running(LEG) as world:
        world.host.silent.add(LEG.number)
        world.keeper.in_flight(PEER, flag=True)
        await trio.sleep(12)
        assert world.doubted == [RELAY]
        assert world.keeper.use(PEER) is None


async def test_acknowledgements_keep_a_path_without_probes(autojump_clock: MockClock) -> None:
    async with _running(DIRECT) as world:
        world.host.silent.add(DIRECT.number)
        world.host.pings.clear()
        for _ in range(100):
            world.keeper.in_flight(PEER, flag=True)
            await trio.sleep(0.2)
            world.keeper.acknowledged(PEER, DIRECT.number)
            world.keeper.in_flight(PEER, flag=False)
        assert not world.host.pings
        assert not world.host.closed


async def test_strangers_paths_are_nobodys_business(autojump_clock: MockClock) -> None:
    async with _running(replace(DIRECT, peer=STRANGER)) as world:
        await trio.sleep(1000)
        assert not world.host.pings
        assert world.keeper.use(STRANGER) is None
        assert world.keeper.paths(STRANGER) == ()


async def test_what_stood_before_the_keeper_ran_is_looked_after(autojump_clock: MockClock) -> None:
    world = _World()
    world.host.standing[DIRECT.number] = DIRECT
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.keeper.run)
        await trio.sleep(1)
        assert [view.number for view in world.keeper.paths(PEER)] == [DIRECT.number]
        nursery.cancel_scope.cancel()


async def test_an_event_that_was_lost_is_made_up_for(autojump_clock: MockClock) -> None:
    async with _running(LEG, DIRECT) as world:
        world.host.lose(DIRECT.number, tell=False)
        assert world.keeper.use(PEER) == LEG.number
        await trio.sleep(limits.PATH_PROBE_IDLE_SECONDS + 1)
        assert [view.number for view in world.keeper.paths(PEER)] == [LEG.number]


async def test_a_device_that_left_is_forgotten(autojump_clock: MockClock) -> None:
    async with _running(DIRECT) as world:
        world.host.lose(DIRECT.number)
        await trio.sleep(1)
        assert world.keeper.paths(PEER) == ()
        assert not world.keeper._kept


async def test_a_relayed_device_is_punched_again_with_growing_pauses(autojump_clock: MockClock) -> None:
    async with _running(LEG) as world:
        await trio.sleep(1000)
        gaps = [later - earlier for earlier, later in pairwise(world.punched)]
        assert len(gaps) >= 3
        assert gaps == sorted(gaps)


async def test_a_circuit_is_renewed_before_its_time_and_the_new_one_is_used(autojump_clock: MockClock) -> None:
    async with _running(replace(LEG, inbound=False)) as world:
        await trio.sleep(7200 * limits.CIRCUIT_RENEW_SHARE - 10)
        assert not world.renewed
        await trio.sleep(20)
        assert world.renewed == [LEG.number]
        assert world.keeper.use(PEER) == LEG.number + 10


async def test_a_circuit_is_renewed_before_its_bytes_are_used_up(autojump_clock: MockClock) -> None:
    async with _running(LEG) as world:
        world.keeper.carried(PEER, LEG.number, 799)
        await trio.sleep(1)
        assert not world.renewed
        world.keeper.carried(PEER, LEG.number, 1)
        await trio.sleep(1)
        assert world.renewed == [LEG.number]


async def test_a_change_of_network_asks_every_path_at_once(autojump_clock: MockClock) -> None:
    async with _running(LEG, DIRECT) as world:
        await trio.sleep(20)
        world.host.pings.clear()
        world.keeper.network_changed()
        await trio.sleep(0.01)
        assert {number for _, number in world.host.pings} == {LEG.number, DIRECT.number}


async def test_one_who_writes_over_the_relay_makes_us_ask_the_direct_path(autojump_clock: MockClock) -> None:
    async with _running(LEG, DIRECT) as world:
        await trio.sleep(20)
        world.host.silent.add(DIRECT.number)
        world.keeper.written_to(PEER, True)
        await trio.sleep(6)
        assert world.keeper.use(PEER) == LEG.number
