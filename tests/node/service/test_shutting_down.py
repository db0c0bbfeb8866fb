"""What the user or a lane still asks for while the node has no answer any more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from covey_node import crypto, limits
from covey_node.protocol.status import ContactState
from covey_node.service.mailboxes import Mailboxes
from covey_node.service.node import Node, Parts
from covey_node.service.port import Refused
from covey_node.service.profiles import Profiles
from covey_node.service.records import Records
from covey_node.store import contacts, devices
from covey_node.store.contacts import ContactRow
from covey_node.store.devices import DeviceRow
from covey_node.store.tx import Tx
from tests.node.service.lane_world import World
from tests.support.people import empty_network


class SilentReach:
    """Comes to nobody, and does not say so."""

    async def connect(self, _contact_id: int, _peer: str) -> None:
        await trio.sleep_forever()


class LeavingDht:
    """A DHT that is taken away while somebody asks it."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.asked = 0

    async def get(self, _key: str) -> tuple[bytes, ...]:
        self.records._dht = None
        self.asked += 1
        await trio.lowlevel.checkpoint()
        return ()


def a_contact(tx: Tx) -> int:
    """Bob, with one device and a record key; returns his row id."""
    share = crypto.RecordKeys.generate(os.urandom).share
    row = ContactRow(
        os.urandom(32),
        "bob",
        ContactState.ACCEPTED,
        0.0,
        record_key=share.public,
        record_secret=share.secret,
    )
    contact_id = contacts.add(tx, row).id
    device = crypto.DeviceKeys.generate(os.urandom)
    devices.put(tx, DeviceRow(contact_id, device.ed25519, device.x25519, 0.0))
    return contact_id


async def test_a_ping_that_nothing_answers_ends_with_its_reason(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = World(tmp_path)
    world.database.connection.run(a_contact)
    given: dict[str, Any] = dict.fromkeys(Parts.__slots__)
    there: dict[str, Any] = {"own": world.own, "ledger": world.ledger, "host": world.host, "reach": SilentReach()}
    there["mailboxes"] = Mailboxes(Profiles(world.ledger, world.own, empty_network(), None))
    node = Node(Parts(**given | there))
    with pytest.raises(Refused, match="no answer in time"):
        await node.ping("bob")
    assert trio.current_time() <= limits.OPEN_CHAT_SECONDS + 1
    world.close()


async def test_a_record_is_looked_up_though_the_dht_goes_meanwhile(tmp_path: Path) -> None:
    world = World(tmp_path)
    contact_id = world.database.connection.run(a_contact)
    records = Records(world.ledger, world.own, world.host.network)
    dht: Any = LeavingDht(records)
    records._dht = dht
    assert not await records.look_up(contact_id)
    assert dht.asked == 3
    assert not await records.look_up(contact_id)
    world.close()
