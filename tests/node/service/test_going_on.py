"""What runs for as long as the node does goes on when the database or one peer fails."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from covey_core.errors import Unreachable
from covey_core.host import Connected, ConnectionInfo
from covey_core.identity import Identity
from covey_core.peers import PeerId, peer_id_of
from covey_node import limits
from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import ContactState
from covey_node.service.calling import Calling
from covey_node.service.presence import Presence
from covey_node.service.reach import ContactReach
from covey_node.service.records import Records
from covey_node.store import contacts, devices
from covey_node.store.contacts import ContactRow
from covey_node.store.devices import DeviceRow
from covey_node.store.tx import Tx
from tests.node.service.lane_world import World

DEVICE = Identity.generate().public_key
PEER = peer_id_of(DEVICE)
NOBODY: Any = None  # no lane asks for paths here


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


class _Relays:
    """No relay, ever."""

    def held(self) -> tuple[object, ...]:
        return ()

    async def wait_change(self) -> None:
        await trio.sleep_forever()


class _Reach:
    def __init__(self) -> None:
        self.called: list[PeerId] = []

    async def connect(self, _contact_id: int, peer: PeerId) -> None:
        await trio.lowlevel.checkpoint()
        self.called.append(peer)


class _Dialer:
    """Takes as long as the caller waits for every address but `good`."""

    def __init__(self, good: str = "", *, refuses: bool = False) -> None:
        self.good = good
        self.refuses = refuses
        self.dialed: list[tuple[str, ...]] = []

    def path(self, _peer: PeerId) -> tuple[PathKind, str | None]:
        return PathKind.NONE, None

    async def connect(self, _peer: PeerId, addrs: tuple[str, ...], **_: object) -> None:
        self.dialed.append(addrs)
        if self.good in addrs:
            return
        if self.refuses:
            raise Unreachable("refused")
        await trio.sleep_forever()


class _Records:
    """Finds a contact at another address."""

    def __init__(self, world: World, contact_id: int, addr: str) -> None:
        self._world = world
        self._contact_id = contact_id
        self._addr = addr
        self.asked = 0

    async def look_up(self, _contact_id: int) -> bool:
        self.asked += 1
        await trio.sleep(1)
        self._world.database.connection.run(self._move)
        return True

    def _move(self, tx: Tx) -> None:
        tx.execute("UPDATE contacts SET addrs = ? WHERE id = ?", (f'["{self._addr}"]'.encode(), self._contact_id))


class _Dht:
    """Answers nothing within anybody's patience."""

    def __init__(self) -> None:
        self.asked = 0

    async def get(self, _key: str) -> tuple[bytes, ...]:
        self.asked += 1
        await trio.sleep(10)
        return ()


async def test_who_was_seen_is_noted_again_after_the_database_failed(world: World, autojump_clock: MockClock) -> None:
    bob = _bob(world)
    presence = Presence(world.ledger, world.own, world.host, _Dialer())  # type: ignore[arg-type]
    info = ConnectionInfo(1, PEER, "/ip4/127.0.0.1/tcp/1", inbound=True, relayed=False, admitted=True, transport="tcp")
    event = Connected(info)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(presence.run)
        world.database.failures = 1
        await world.host.events_in.send(event)
        await wait_all_tasks_blocked()
        await trio.sleep(1)
        await world.host.events_in.send(event)
        await wait_all_tasks_blocked()
        row = world.database.connection.read(lambda tx: contacts.get(tx, bob))
        assert row is not None
        assert row.last_seen is not None
        nursery.cancel_scope.cancel()


async def test_contacts_are_called_again_after_the_database_failed(world: World, autojump_clock: MockClock) -> None:
    _bob(world, ContactState.REQUESTED)
    world.database.failures = 2
    reach = _Reach()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Calling(world.ledger, reach, _Relays(), world.host).run)  # type: ignore[arg-type]
        await trio.sleep(2.5 * limits.CALL_SECONDS)
        assert reach.called == [PEER]
        nursery.cancel_scope.cancel()


async def test_a_record_is_looked_up_while_known_addresses_are_silent(world: World, autojump_clock: MockClock) -> None:
    bob = _bob(world)
    dialer, records = _Dialer("/new"), _Records(world, bob, "/new")
    reach = ContactReach(world.ledger, world.own, world.host, dialer, records, NOBODY)  # type: ignore[arg-type]
    with trio.move_on_after(limits.OPEN_CHAT_SECONDS) as scope:
        await reach.connect(bob, PEER)
    assert scope.cancelled_caught
    await reach.connect(bob, PEER)
    assert dialer.dialed == [(), ("/new",)]


async def test_an_address_that_refuses_is_followed_by_the_record_at_once(
    world: World, autojump_clock: MockClock
) -> None:
    bob = _bob(world)
    dialer, records = _Dialer("/new", refuses=True), _Records(world, bob, "/new")
    reach = ContactReach(world.ledger, world.own, world.host, dialer, records, NOBODY)  # type: ignore[arg-type]
    start = trio.current_time()
    await reach.connect(bob, PEER)
    assert trio.current_time() == start + 1
    assert dialer.dialed == [(), ("/new",)]


async def test_who_is_reached_is_not_looked_up(world: World, autojump_clock: MockClock) -> None:
    bob = _bob(world)
    world.database.connection.run(lambda tx: tx.execute("UPDATE contacts SET addrs = ?", (b'["/here"]',)))
    records = _Records(world, bob, "/new")
    reach = ContactReach(world.ledger, world.own, world.host, _Dialer("/here"), records, NOBODY)  # type: ignore[arg-type]
    await reach.connect(bob, PEER)
    assert not records.asked


async def test_two_devices_look_their_contact_up_once_and_a_look_given_up_does_not_count(
    world: World, autojump_clock: MockClock
) -> None:
    bob = _bob(world)
    records = Records(world.ledger, world.own, world.host.network)
    dht = _Dht()
    records._dht = dht  # type: ignore[assignment]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(records.look_up, bob)
        nursery.start_soon(records.look_up, bob)
        await trio.sleep(1)
        assert dht.asked == 3  # yesterday's key, today's, tomorrow's
        nursery.cancel_scope.cancel()
    assert not await records.look_up(bob)
    assert dht.asked == 6
    assert not await records.look_up(bob)
    assert dht.asked == 6


def _bob(world: World, state: ContactState = ContactState.ACCEPTED) -> int:
    key, secret = world.own.account_key, bytes(32)
    row = ContactRow(b"b" * 32, "bob", state, 0.0, record_key=key, record_secret=secret)

    def add(tx: Tx) -> int:
        bob = contacts.add(tx, row)
        devices.put(tx, DeviceRow(bob.id, DEVICE, bytes(32), 0.0))
        return bob.id

    return world.database.connection.run(add)
