"""Receipts for what came by mailbox: they end what was on its way to the device that they came from, and no more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from covey_node.protocol.contents import Content, Receipt, ReceiptKind
from covey_node.protocol.status import ContactState, Status
from covey_node.service import applying
from covey_node.service.effects import Effects
from covey_node.store import contacts, deliveries, messages
from covey_node.store.messages import MessageRow
from covey_node.store.tx import Tx
from tests.node.service.lane_world import World

PHONE, LAPTOP = b"p" * 32, b"l" * 32


class Told:
    """A contact with two devices, and what receipts of theirs do."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.contact = world.contact()

    def enqueue(self, tx: Tx, content_id: bytes, *devices: bytes, message_row: int | None = None) -> None:
        for device in devices:
            deliveries.enqueue(
                tx,
                contact_id=self.contact,
                device_key=device,
                now=1.0,
                message_row=message_row,
                content_id=content_id,
                content=b"content",
                packet=os.urandom(32),
                packet_hash=os.urandom(32),
            )

    def write(self) -> MessageRow:
        def make(tx: Tx) -> MessageRow:
            row = messages.add(
                tx, MessageRow(self.contact, True, os.urandom(16), "text", b"", "t", 1.0, Status.QUEUED, 1.0)
            )
            assert row is not None
            self.enqueue(tx, row.message_id, PHONE, LAPTOP, message_row=row.id)
            return row

        return self.world.database.connection.run(make)

    def receipt(self, kind: ReceiptKind, device: bytes, *ids: bytes) -> Effects:
        effects = Effects()

        def take(tx: Tx) -> None:
            contact = contacts.get(tx, self.contact)
            assert contact is not None
            content = Content(os.urandom(16), 1.0, Receipt(kind, ids))
            applying.apply(tx, effects, self.world.own, contact, content, path="mailbox", device_key=device)

        self.world.database.connection.run(take)
        return effects

    def open(self, content_id: bytes) -> list[bytes]:
        """The devices that still wait for a content."""

        def look(tx: Tx) -> list[bytes]:
            both = (PHONE, LAPTOP)
            return [one for one in both if deliveries.with_content(tx, self.contact, one, content_id)]

        return self.world.database.connection.read(look)

    def message(self, row: MessageRow) -> MessageRow:
        found = self.world.database.connection.read(lambda tx: messages.get(tx, row.id))
        assert found is not None
        return found


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    world = World(tmp_path)
    yield Told(world)
    world.close()


async def test_one_device_has_it_and_the_other_still_gets_it(told: Told) -> None:
    row = told.write()
    effects = told.receipt(ReceiptKind.DELIVERED, PHONE, row.message_id)
    assert told.open(row.message_id) == [LAPTOP]
    after = told.message(row)
    assert (after.status, after.path) == (Status.DELIVERED, "mailbox")
    assert effects.messages[row.id] is not None, "metrics take the row"
    told.receipt(ReceiptKind.DELIVERED, LAPTOP, row.message_id)
    assert told.open(row.message_id) == []
    told.receipt(ReceiptKind.READ, PHONE, row.message_id)
    assert told.message(row).status is Status.READ
    told.receipt(ReceiptKind.DELIVERED, PHONE, row.message_id)
    assert told.message(row).status is Status.READ


async def test_contents_that_are_no_messages_end_as_well(told: Told) -> None:
    content_id = os.urandom(16)
    told.world.database.connection.run(lambda tx: told.enqueue(tx, content_id, PHONE, LAPTOP))
    told.receipt(ReceiptKind.DELIVERED, LAPTOP, os.urandom(16), content_id)
    assert told.open(content_id) == [PHONE]


async def test_a_request_that_came_by_mailbox_has_arrived(told: Told) -> None:
    content_id = os.urandom(16)

    def ask(tx: Tx) -> None:
        contact = contacts.get(tx, told.contact)
        assert contact is not None
        contacts.save(tx, replace(contact, state=ContactState.REQUESTING))
        told.enqueue(tx, content_id, PHONE)

    told.world.database.connection.run(ask)
    told.receipt(ReceiptKind.DELIVERED, PHONE, content_id)
    contact = told.world.database.connection.read(lambda tx: contacts.get(tx, told.contact))
    assert contact is not None
    assert contact.state is ContactState.REQUESTED


async def test_nobody_ends_what_is_on_its_way_to_others(told: Told) -> None:
    row = told.write()
    mallory = told.world.contact("mallory")
    bob, told.contact = told.contact, mallory
    told.receipt(ReceiptKind.DELIVERED, PHONE, row.message_id)
    told.contact = bob
    assert told.open(row.message_id) == [PHONE, LAPTOP]
    assert told.message(row).status is Status.QUEUED
