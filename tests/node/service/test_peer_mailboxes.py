"""What contents, blocks and device lists do to the mailboxes of a contact and to what waits for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from covey_node import crypto
from covey_node.protocol.contents import Content, Receipt, ReceiptKind, Text
from covey_node.service.acquaintance import Acquaintance
from covey_node.service.effects import Effects
from covey_node.service.people import note_devices
from covey_node.service.sealing import queue_content
from covey_node.store import contacts, devices, peer_mailboxes
from covey_node.store.contacts import ContactRow
from covey_node.store.devices import DeviceRow
from covey_node.store.tx import Tx
from tests.node.service.deposit_world import DepositWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DepositWorld]:
    made = DepositWorld(tmp_path)
    yield made
    made.world.close()


def _contact(tx: Tx, world: DepositWorld) -> ContactRow:
    found = contacts.get(tx, world.contact)
    assert found is not None
    return found


def _with_an_account(tx: Tx) -> None:
    key, some = b"k" * 32, b"some"
    tx.execute(
        "INSERT INTO account (id, account_key, name, device_list, device_keys, prekeys, record_seed, record_secret, "
        "record_sequence, created_at) VALUES (1, ?, 'Alice', ?, ?, ?, ?, ?, 1, 1.0)",
        (key, some, some, some, key, key),
    )


def _knows(world: DepositWorld) -> bool:
    read = world.world.database.connection.read
    return read(lambda tx: peer_mailboxes.load(tx, world.contact, world.device)) is not None


async def test_every_content_but_a_receipt_waits_under_its_id(world: DepositWorld) -> None:
    text = Content(os.urandom(16), 1.0, Text("hello"))
    receipt = Content(os.urandom(16), 1.0, Receipt(ReceiptKind.READ, (os.urandom(16),)))

    def write(tx: Tx) -> list[bytes | None]:
        devices.put(tx, DeviceRow(world.contact, world.device, b"x" * 32, 1.0))
        for content in (text, receipt):
            queue_content(tx, Effects(), world.world.own, _contact(tx, world), content)
        return [row[0] for row in tx.all("SELECT content_id FROM deliveries ORDER BY id")]

    assert world.world.database.connection.run(write) == [text.message_id, None]


async def test_a_block_forgets_where_the_contact_wanted_its_mail(world: DepositWorld) -> None:
    await world.tell(world.mailboxes.told(5))
    assert _knows(world)
    world.world.database.connection.run(_with_an_account)
    await Acquaintance(world.world.ledger, world.world.own, world.world.host.network).block("bob")
    assert not _knows(world)


async def test_a_device_that_was_taken_off_has_no_mailboxes(world: DepositWorld) -> None:
    await world.tell(world.mailboxes.told(5))
    account, device = crypto.Account.generate(os.urandom), crypto.DeviceKeys.generate(os.urandom)
    without_it = crypto.DeviceList.first(account, device, now=1)

    def take_off(tx: Tx) -> None:
        devices.put(tx, DeviceRow(world.contact, world.device, b"x" * 32, 1.0))
        contact = replace(_contact(tx, world), device_list=None)
        note_devices(tx, Effects(), contact, without_it, now=2.0)

    world.world.database.connection.run(take_off)
    assert not _knows(world)
