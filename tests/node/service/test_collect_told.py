"""What is told with a request, and receipts: when they go, to whom, and what is left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from covey_core.wire.mailbox import Ids
from covey_node import limits
from covey_node.protocol.contents import (
    ContactAccept,
    ContactRequest,
    Content,
    Mailboxes,
    Receipt,
    Text,
    decode_content,
    encode_content,
)
from covey_node.protocol.status import ContactState
from covey_node.service.collect_receipts import Receipting
from covey_node.service.collect_use import ContactUse
from covey_node.service.effects import Effects
from covey_node.service.sealing import with_mailboxes
from covey_node.store import contacts, devices, queue_told, queues, receipts
from covey_node.store.contacts import ContactRow
from covey_node.store.devices import DeviceRow
from covey_node.store.queues import Purpose
from covey_node.store.tx import Tx
from tests.node.service.lane_world import World

DEVICE = b"d" * 32


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def _contact(tx: Tx, contact_id: int) -> ContactRow:
    row = contacts.get(tx, contact_id)
    assert row is not None
    return row


def _standing(tx: Tx, contact_id: int, number: int = 1) -> int:
    row = queues.open_set(tx, Purpose.CONTACT, contact_id, secret=b"s" * 32, now=1.0)
    relay = b"\x00\x02r" + bytes([number])
    queue = queues.plan(tx, row.id, relay=relay, addrs=(), recv_seed=os.urandom(32), now=1.0)
    assert queues.stood(tx, queue.id, Ids(os.urandom(24), os.urandom(24), 9, 9, 9), now=1.0)
    return row.id


@pytest.mark.parametrize("body", [ContactRequest(b"", "bob", "hi"), ContactAccept("bob")])
def test_a_request_and_an_acceptance_tell_the_mailboxes_that_stand_when_they_are_sealed(
    world: World, body: ContactRequest | ContactAccept
) -> None:
    contact_id = world.contact()
    data = encode_content(Content(b"i" * 16, 1.0, body))

    def check(tx: Tx) -> None:
        contact = _contact(tx, contact_id)
        assert with_mailboxes(tx, contact, DEVICE, data) == data, "none stand"
        set_id = _standing(tx, contact_id)
        assert with_mailboxes(tx, contact, DEVICE, data) == data, "not published"
        queues.publish(tx, set_id)
        told = decode_content(with_mailboxes(tx, contact, DEVICE, data)).body
        assert isinstance(told, ContactRequest | ContactAccept)
        assert told.mailboxes == queues.for_contact(tx, contact_id)
        assert replace(told, mailboxes=None) == body
        text = encode_content(Content(b"i" * 16, 1.0, Text("hi")))
        assert with_mailboxes(tx, contact, DEVICE, text) == text

    world.database.connection.run(check)


def _told(world: World, contact_id: int, key: bytes) -> list[Mailboxes]:
    rows = world.database.connection.read(
        lambda tx: tx.all(
            "SELECT content FROM deliveries WHERE contact_id = ? AND device_key = ? ORDER BY id", (contact_id, key)
        )
    )
    bodies = [decode_content(data).body for (data,) in rows]
    return [body for body in bodies if isinstance(body, Mailboxes)]


async def test_each_device_is_told_once_a_new_one_too_and_all_of_them_of_a_change(world: World) -> None:
    contact_id, laptop = world.contact(), b"l" * 32
    use = ContactUse(world.own, None)  # type: ignore[arg-type]

    def add(tx: Tx, key: bytes) -> None:
        devices.put(tx, DeviceRow(contact_id, key, os.urandom(32), 1.0))

    def tell(tx: Tx) -> None:
        row = queues.set_for(tx, Purpose.CONTACT, contact_id)
        assert row is not None
        mailboxes = queues.publish(tx, row.id) or queues.current(tx, row.id)
        assert mailboxes is not None
        use.tell(tx, Effects(), row, mailboxes)

    run = world.database.connection.run
    run(lambda tx: add(tx, DEVICE))
    run(lambda tx: _standing(tx, contact_id))
    run(tell)
    run(tell)
    assert [one.number for one in _told(world, contact_id, DEVICE)] == [1]
    run(lambda tx: add(tx, laptop))
    run(tell)
    assert [one.number for one in _told(world, contact_id, DEVICE)] == [1]
    assert [one.number for one in _told(world, contact_id, laptop)] == [1]
    run(lambda tx: _standing(tx, contact_id, 2))
    run(tell)
    assert [one.number for one in _told(world, contact_id, DEVICE)] == [2], "the older one never left"
    assert [one.number for one in _told(world, contact_id, laptop)] == [2]
    assert len(_told(world, contact_id, laptop)[-1].replicas) == 2
    row = world.database.connection.read(lambda tx: queue_told.state(tx, 1))
    assert row == {DEVICE: 0, laptop: 0}


def _receipts(world: World, contact_id: int) -> list[tuple[bytes, int]]:
    rows = world.database.connection.read(
        lambda tx: tx.all("SELECT device_key, content FROM deliveries WHERE contact_id = ? ORDER BY id", (contact_id,))
    )
    found = [(bytes(key), decode_content(data).body) for key, data in rows]
    return [(key, len(body.message_ids)) for key, body in found if isinstance(body, Receipt)]


def _owe(world: World, contact_id: int, count: int, *, due_in: float, key: bytes = DEVICE) -> None:
    def owe(tx: Tx) -> None:
        devices.put(tx, DeviceRow(contact_id, key, os.urandom(32), 1.0))
        for _ in range(count):
            receipts.owe(tx, contact_id, key, os.urandom(16), due_at=world.own.now() + due_in)

    world.database.connection.run(owe)


async def test_receipts_go_when_they_are_due_many_in_one(world: World, autojump_clock: MockClock) -> None:
    contact_id = world.contact()
    answering = Receipting(world.ledger, world.own, lambda _peer: False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answering.run)
        await trio.sleep(0.1)
        _owe(world, contact_id, limits.RECEIPT_IDS_MAX + 5, due_in=4.0)
        _owe(world, contact_id, 2, due_in=60.0, key=b"l" * 32)
        answering.wake()
        await trio.sleep(3.5)
        assert _receipts(world, contact_id) == []
        await trio.sleep(1)
        assert _receipts(world, contact_id) == [(DEVICE, limits.RECEIPT_IDS_MAX), (DEVICE, 5)]
        await trio.sleep(60)
        assert _receipts(world, contact_id)[2:] == [(b"l" * 32, 2)]
        nursery.cancel_scope.cancel()


async def test_receipts_go_at_once_to_a_device_that_is_connected(world: World, autojump_clock: MockClock) -> None:
    contact_id = world.contact()
    answering = Receipting(world.ledger, world.own, lambda _peer: True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answering.run)
        await trio.sleep(0.1)
        _owe(world, contact_id, 2, due_in=4.0)
        answering.wake()
        await trio.sleep(0.1)
        assert _receipts(world, contact_id) == [(DEVICE, 2)]
        nursery.cancel_scope.cancel()


async def test_what_was_owed_before_a_restart_is_answered_and_nothing_to_who_was_blocked(
    world: World, autojump_clock: MockClock
) -> None:
    contact_id, blocked = world.contact(), world.contact("eve")
    _owe(world, contact_id, 1, due_in=-5.0)
    _owe(world, blocked, 1, due_in=-5.0)
    world.database.connection.run(
        lambda tx: contacts.save(tx, replace(_contact(tx, blocked), state=ContactState.BLOCKED))
    )
    with trio.move_on_after(1):
        await Receipting(world.ledger, world.own, lambda _peer: False).run()
    assert _receipts(world, contact_id) == [(DEVICE, 1)]
    assert _receipts(world, blocked) == []
    assert world.database.connection.read(lambda tx: receipts.owed(tx, limit=9)) == ()
