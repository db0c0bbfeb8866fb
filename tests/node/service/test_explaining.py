"""Why a message is where it is: the words say what the database and the paths say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from covey_core.peers import PeerId, peer_id_of
from covey_node.protocol.paths import PathKind
from covey_node.protocol.status import Status
from covey_node.service.explaining import explain
from covey_node.service.views import ONE_RELAY
from covey_node.service.why_views import WhyView
from covey_node.store import deliveries, deposits, lanes, messages, peer_mailboxes
from covey_node.store.deposits import Place
from covey_node.store.tx import Tx
from tests.node.service.deposit_world import NAMES, DepositWorld


class Explained:
    """One message to one device, and what is said of it."""

    def __init__(self, world: DepositWorld) -> None:
        self.world = world
        self.connection = world.world.database.connection
        self.path = PathKind.NONE
        self.message = 0

    async def write(self) -> None:
        self.message = await self.world.write()

    def tell(self, *names: str) -> None:
        mailboxes = self.world.mailboxes.told(1, names)
        assert self.connection.run(lambda tx: peer_mailboxes.save(tx, self.world.contact, self.world.device, mailboxes))

    def place(self, name: str) -> Place:
        found = self.world.mailboxes.told(1, (name,)).replicas[0]
        return Place(self.world.contact, self.world.device, found.relay, found.send_id)

    def delivery(self, tx: Tx) -> deliveries.DeliveryRow:
        return deliveries.of_message(tx, self.message)[0]

    def store(self, *names: str) -> None:
        for name in names:

            def note(tx: Tx, name: str = name) -> None:
                row = self.delivery(tx)
                assert row.packet_hash is not None
                deposits.stored(tx, self.place(name), [(row.id, row.packet_hash)], now=5.0)

            self.connection.run(note)

    def say(self) -> WhyView:
        def path_of(peer: PeerId) -> PathKind:
            assert peer == peer_id_of(self.world.device)
            return self.path

        def one(tx: Tx) -> WhyView:
            row = messages.get(tx, self.message)
            assert row is not None
            names = self.world.mailboxes.names
            return explain(tx, row, now=row.sent_at + 1, path_of=path_of, name_of=lambda relay: names[relay])

        return self.connection.read(one)


@pytest.fixture
def explained(tmp_path: Path) -> Iterator[Explained]:
    world = DepositWorld(tmp_path)
    yield Explained(world)
    world.world.close()


async def test_each_mailbox_says_whether_it_has_the_message_or_why_not(explained: Explained) -> None:
    explained.tell(*NAMES[:3])
    await explained.write()
    explained.store("home")
    contact, device = explained.world.contact, explained.world.device
    explained.connection.run(
        lambda tx: peer_mailboxes.note_trouble(
            tx, contact, device, explained.place("club").relay, reason="club: no answer", next_attempt_at=99.0
        )
    )
    why = explained.say()
    assert why.words == "1/3 mailboxes have it, 2 are needed"
    [one] = why.devices
    assert [(box.relay, box.stored, box.words, box.next_attempt_at) for box in one.mailboxes] == [
        ("home", True, "has it", None),
        ("club", False, "no answer", 99.0),
        ("school", False, "it is being laid down", None),
    ]
    explained.store("school")
    why = explained.say()
    assert (why.status, why.words) == (
        Status.STORED,
        "2/3 mailboxes have it; the contact fetches it when it comes online",
    )
    explained.connection.run(
        lambda tx: deposits.lost(
            tx, explained.place("home"), [explained.delivery(tx).id], now=9.0, reason="home: it had it"
        )
    )
    why = explained.say()
    assert why.words.endswith("copies were lost, and are laid down again")
    assert (why.devices[0].mailboxes[0].words, why.devices[0].mailboxes[0].since) == ("it had it", 9.0)


async def test_the_direct_way_says_what_came_of_it(explained: Explained) -> None:
    await explained.write()
    assert explained.say().devices[0].direct.words == "no path stands; one is being looked for"
    contact, device = explained.world.contact, explained.world.device
    explained.connection.run(
        lambda tx: lanes.postpone_device(tx, contact, device, until=77.0, reason="bob is not online")
    )
    [one] = explained.say().devices
    assert (one.direct.words, one.direct.attempts, one.direct.next_attempt_at) == ("bob is not online", 1, 77.0)
    assert (one.mailboxes, explained.say().words) == ((), "bob is not online")
    explained.path = PathKind.RELAYED
    [one] = explained.say().devices
    assert (one.direct.path, one.direct.words, one.direct.next_attempt_at) == (
        PathKind.RELAYED,
        "a path stands; it is about to be sent",
        None,
    )
    explained.connection.run(lambda tx: lanes.mark_sent(tx, [explained.delivery(tx).id], now=2.0, path="relayed"))
    why = explained.say()
    assert why.devices[0].direct.words == "a path stands; the device has not acknowledged it"
    assert "has not acknowledged it yet" in why.words


async def test_while_a_path_stands_mailboxes_wait_for_the_acknowledgement(explained: Explained) -> None:
    explained.tell(*NAMES[:3])
    await explained.write()
    explained.path = PathKind.LAN
    words = {box.words for box in explained.say().devices[0].mailboxes}
    assert words == {"gets it when the device has not acknowledged it soon"}


async def test_a_single_mailbox_is_warned_of_here_too(explained: Explained) -> None:
    explained.tell("home")
    await explained.write()
    explained.store("home")
    assert explained.say().words.endswith(ONE_RELAY)


async def test_a_message_that_arrived_says_how(explained: Explained) -> None:
    await explained.write()
    explained.connection.run(
        lambda tx: deliveries.finish(tx, explained.delivery(tx).id, Status.DELIVERED, now=3.0, path="mailbox")
    )
    why = explained.say()
    assert (why.words, why.devices) == ("a device of the contact has it, out of a mailbox", ())
