"""Where we are and who is here: addresses from all sources, presence that outlives lost events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from covey_core.host import Connected, ConnectionInfo, Disconnected
from covey_core.identity import Identity
from covey_core.network import new_network
from covey_core.peers import PeerId, peer_id_of
from covey_node import limits
from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import ContactState
from covey_node.service.addressing import AddressBook
from covey_node.service.composing import ADDRS_META
from covey_node.service.effects import Effects
from covey_node.service.presence import Presence
from covey_node.store import account, contacts, devices
from covey_node.store.contacts import ContactRow
from covey_node.store.devices import DeviceRow
from covey_node.store.tx import Tx
from tests.node.service.lane_world import World

DEVICE = Identity.generate().public_key
PEER = peer_id_of(DEVICE)
INFO = ConnectionInfo(1, PEER, "/ip4/8.8.4.4/tcp/1", inbound=True, relayed=False, admitted=True, transport="tcp")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


class _Place:
    """A host that listens at `addrs`."""

    def __init__(self, *addrs: str) -> None:
        self.peer_id = Identity.generate().peer_id
        self.network = new_network("test", private=False)
        self.addrs = tuple(f"{addr}/p2p/{self.peer_id}" for addr in addrs)


class _Relays:
    def __init__(self, *addrs: str) -> None:
        self.addrs = addrs

    def circuit_addrs(self) -> tuple[str, ...]:
        return self.addrs


def _book(world: World, place: _Place) -> AddressBook:
    return AddressBook(world.ledger, place)  # type: ignore[arg-type]


def _noted(world: World) -> list[str]:
    stored = world.database.connection.read(lambda tx: account.get_meta(tx, ADDRS_META))
    return [] if stored is None else json.loads(stored)


async def test_addresses_of_all_sources_are_told_the_most_useful_first_and_each_once(world: World) -> None:
    place = _Place("/ip4/192.168.1.2/tcp/4000", "/ip4/8.8.8.8/tcp/4000", "/ip4/127.0.0.1/tcp/4000")
    book = _book(world, place)
    book.relays = _Relays("/relay/circuit")  # type: ignore[assignment]
    book.public = lambda: (place.addrs[1],)
    book.mapped = lambda: ("/ip4/9.9.9.9/udp/4000/quic-v1",)
    assert book.current() == (
        "/relay/circuit",
        place.addrs[1],
        f"/ip4/9.9.9.9/udp/4000/quic-v1/p2p/{place.peer_id}",
        place.addrs[0],
    )


async def test_a_source_that_changes_is_noted_at_once_and_makes_the_record_be_published(
    world: World, autojump_clock: MockClock
) -> None:
    book, published = _book(world, _Place("/ip4/192.168.1.2/tcp/4000")), list[bool]()
    relays = book.relays = _Relays()  # type: ignore[assignment]

    def hear(effects: Effects) -> None:
        published.append(effects.publish_record)

    world.ledger.follow(hear)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(book.run)
        await book.note()
        await wait_all_tasks_blocked()
        assert published == [True]
        began = trio.current_time()
        relays.addrs = ("/relay/circuit",)  # type: ignore[attr-defined]
        book.changed()
        await wait_all_tasks_blocked()
        assert published == [True, True]
        assert trio.current_time() == began
        assert _noted(world)[0] == "/relay/circuit"
        await trio.sleep(limits.ADDRS_CHECK_SECONDS + 1)
        assert published[2:] == [False]
        nursery.cancel_scope.cancel()


class _Dialer:
    def __init__(self) -> None:
        self.now: tuple[PathKind, str | None] = PathKind.NONE, None

    def path(self, _peer: PeerId) -> tuple[PathKind, str | None]:
        return self.now


class _Present:
    """A presence, its host's connections, and the events it told."""

    def __init__(self, world: World) -> None:
        self.host: Any = world.host
        self.dialer = _Dialer()
        self.standing: list[ConnectionInfo] = []
        self.host.connections = lambda peer=None: tuple(one for one in self.standing if peer in {None, one.peer})
        self.presence = Presence(world.ledger, world.own, self.host, self.dialer)  # type: ignore[arg-type]
        self.told: list[dict[str, Any]] = []
        publish = world.ledger.events.publish

        def hear(kind: str, data: dict[str, Any]) -> None:
            self.told.append(data)
            publish(kind, data)

        world.ledger.events.publish = hear  # type: ignore[method-assign, assignment]

    async def comes(self, info: ConnectionInfo, kind: PathKind) -> None:
        self.standing.append(info)
        self.dialer.now = kind, info.remote_addr
        await self.host.events_in.send(Connected(info))
        await wait_all_tasks_blocked()


async def test_a_path_is_told_when_it_changes_and_only_then(world: World, autojump_clock: MockClock) -> None:
    _bob(world)
    there = _Present(world)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(there.presence.run)
        await there.comes(INFO, PathKind.RELAYED)
        there.presence.path_changed(PEER)
        await wait_all_tasks_blocked()
        assert [one["path"] for one in there.told] == [PathKind.RELAYED]
        there.dialer.now = PathKind.PUNCHED, "/ip4/8.8.4.4/tcp/1"
        there.presence.path_changed(PEER)
        await wait_all_tasks_blocked()
        assert [one["path"] for one in there.told] == [PathKind.RELAYED, PathKind.PUNCHED]
        there.standing.clear()
        there.dialer.now = PathKind.NONE, None
        await there.host.events_in.send(Disconnected(INFO, 0))
        await wait_all_tasks_blocked()
        assert [one["path"] for one in there.told][2:] == [PathKind.NONE]
        nursery.cancel_scope.cancel()


async def test_since_when_somebody_is_here_is_not_that_of_an_earlier_visit_whose_end_was_lost(
    world: World, autojump_clock: MockClock
) -> None:
    there, other = _Present(world), Identity.generate().peer_id
    async with trio.open_nursery() as nursery:
        nursery.start_soon(there.presence.run)
        await there.comes(INFO, PathKind.PUBLIC)
        first = there.presence.since(PEER)
        there.standing.clear()  # the event of it is lost
        await trio.sleep(1000)
        passing = ConnectionInfo(7, other, "/ip4/8.8.4.5/tcp/1", True, False, True, "tcp")
        await there.host.events_in.send(Disconnected(passing, 0))
        await wait_all_tasks_blocked()
        await there.comes(INFO, PathKind.PUBLIC)
        assert first is not None
        assert there.presence.since(PEER) == first + 1000
        nursery.cancel_scope.cancel()


async def test_devices_of_contacts_are_known_and_strangers_are_not(world: World) -> None:
    presence = Presence(world.ledger, world.own, world.host, _Dialer())  # type: ignore[arg-type]
    assert not await presence.is_contact(PEER)
    _bob(world)
    assert await presence.is_contact(PEER)
    assert not await presence.is_contact(Identity.generate().peer_id)
    world.database.failures = 1
    assert not await presence.is_contact(PEER)


def _bob(world: World) -> None:
    def add(tx: Tx) -> None:
        bob = contacts.add(tx, ContactRow(b"b" * 32, "bob", ContactState.ACCEPTED, 0.0))
        devices.put(tx, DeviceRow(bob.id, DEVICE, bytes(32), 0.0))

    world.database.connection.run(add)
