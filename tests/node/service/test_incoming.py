"""What comes in a first-contact envelope: taken, dropped or refused, and never asked for again without end."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from covey_core.peers import peer_id_of
from covey_node import crypto
from covey_node.protocol.frames import Outcome
from covey_node.protocol.pb import content_pb2 as pb
from covey_node.protocol.status import ContactState
from covey_node.service.incoming import Incoming
from covey_node.store import account, contacts
from covey_node.store.contacts import ContactRow
from tests.node.service.lane_world import World

UNKNOWN_KIND = pb.Content(message_id=bytes(16), sent_at_ms=1).SerializeToString()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


class _Bob:
    """Somebody with an account and a device, who knows our key bundle."""

    def __init__(self, world: World) -> None:
        self.account = crypto.Account.generate(os.urandom)
        device = crypto.DeviceKeys.generate(os.urandom)
        self.local = crypto.LocalDevice(device, crypto.DeviceList.first(self.account, device, now=1))
        self.peer = peer_id_of(device.ed25519)
        now = world.own.now()
        prekeys = crypto.Prekeys.generate(os.urandom, now=now)
        keys = crypto.RecordKeys.generate(os.urandom)
        row = account.AccountRow(
            account_key=world.own.account_key,
            account_seed=world.own.account.seed,
            name="alice",
            device_list=world.own.local.devices.encode(),
            device_keys=b"",
            prekeys=prekeys.encode(),
            record_seed=keys.seed,
            record_secret=keys.share.secret,
            record_sequence=0,
            created_at=now,
        )
        world.database.connection.run(lambda tx: account.create(tx, row))
        self._bundle = prekeys.bundle(world.own.local, now=now)
        self._now = now

    def first_contact(self, data: bytes) -> bytes:
        """An envelope that begins a session with `data` in it."""
        return self.begin(data)[1]

    def begin(self, data: bytes) -> tuple[crypto.Session, bytes]:
        """The session too, that goes on from such an envelope."""
        return crypto.initiate(self.local, self._bundle, data, os.urandom, now=self._now)


async def test_a_contacts_content_of_an_unknown_kind_is_dropped_and_its_new_session_goes_on(world: World) -> None:
    bob = _Bob(world)
    row = ContactRow(bob.account.public_key, "bob", ContactState.ACCEPTED, 0.0)
    world.database.connection.run(lambda tx: contacts.add(tx, row))
    incoming = Incoming(world.ledger, world.own, lambda _peer: "lan")
    envelope = bob.first_contact(UNKNOWN_KIND)
    assert await incoming.receive(bob.peer, [envelope, envelope]) == [Outcome.ACCEPTED, Outcome.DUPLICATE]
    assert world.database.connection.read(lambda tx: tx.number("SELECT count(*) FROM sessions")) == 1


async def test_a_strangers_content_of_an_unknown_kind_is_refused_for_good(world: World) -> None:
    bob = _Bob(world)
    incoming = Incoming(world.ledger, world.own, lambda _peer: "lan")
    assert await incoming.receive(bob.peer, [bob.first_contact(UNKNOWN_KIND)]) == [Outcome.NOT_A_CONTACT]
    assert world.database.connection.read(lambda tx: tx.number("SELECT count(*) FROM sessions")) == 0
