"""What lies in a contact's mailboxes, and what follows from it for the message."""

from __future__ import annotations

import os
from functools import partial

import pytest

from covey_node.protocol.contents import Content, Receipt, ReceiptKind, Text, encode_content
from covey_node.protocol.mailboxes import Mailboxes, Replica
from covey_node.protocol.replication import Copies
from covey_node.protocol.status import Status
from covey_node.store import deliveries, deposits, lanes, messages, peer_mailboxes
from covey_node.store.connection import Connection
from covey_node.store.contacts import ContactRow
from covey_node.store.deliveries import DeliveryRow
from covey_node.store.deposits import Place
from covey_node.store.messages import MessageRow
from covey_node.store.migrations import STEPS, migrate
from covey_node.store.schema_deposits import step_3
from covey_node.store.tx import Tx

from .test_deliveries import queue, stored
from .test_migrations import load_fixture

DEVICE, OTHER = b"1" * 32, b"2" * 32
RELAYS = tuple(bytes([18, 32]) + bytes([number]) * 32 for number in range(1, 5))


def a_set(number: int = 1, relays: tuple[bytes, ...] = RELAYS[:3], *, secret: bytes = b"s" * 32) -> Mailboxes:
    """A device's queues: their ids change with the secret only."""
    replicas = tuple(Replica(relay, ("/ip4/10.0.0.1/tcp/1",), (relay[2:] + secret)[20:44]) for relay in relays)
    return Mailboxes(number, secret if relays else b"", replicas)


def place(contact: ContactRow, number: int, mailboxes: Mailboxes | None = None) -> Place:
    replica = (mailboxes or a_set()).replicas[number]
    return Place(contact.id, DEVICE, replica.relay, replica.send_id)


@pytest.fixture
def waiting(connection: Connection, bob: ContactRow) -> DeliveryRow:
    """A packet for a device that has three mailboxes."""

    def make(tx: Tx) -> DeliveryRow:
        assert peer_mailboxes.save(tx, bob.id, DEVICE, a_set())
        return queue(tx, stored(tx, bob.id), DEVICE, now=1.0)

    return connection.run(make)


def laid(row: DeliveryRow) -> list[tuple[int, bytes]]:
    assert row.packet_hash is not None
    return [(row.id, row.packet_hash)]


def message_of(connection: Connection, row: DeliveryRow) -> MessageRow:
    assert row.message_row is not None
    found = connection.read(lambda tx: messages.get(tx, row.message_row or 0))
    assert found is not None
    return found


def copies_of(connection: Connection, row: DeliveryRow) -> Copies | None:
    found = connection.read(lambda tx: deposits.of_message(tx, row.message_row or 0))
    return None if found is None else found[0]


def test_a_set_never_goes_back_to_a_lower_number(connection: Connection, bob: ContactRow) -> None:
    def save(number: int, relays: tuple[bytes, ...]) -> bool:
        return connection.run(lambda tx: peer_mailboxes.save(tx, bob.id, DEVICE, a_set(number, relays)))

    assert save(7, RELAYS[:2])
    for number in (1, 6, 7):
        assert not save(number, RELAYS[2:])
    found = connection.read(lambda tx: peer_mailboxes.load(tx, bob.id, DEVICE))
    assert found is not None
    assert (found.number, [one.relay for one in found.replicas]) == (7, list(RELAYS[:2]))
    assert save(8, ())
    assert not save(7, RELAYS[:2])
    found = connection.read(lambda tx: peer_mailboxes.load(tx, bob.id, DEVICE))
    assert found is not None
    assert (found.number, found.replicas) == (8, ())
    assert connection.read(lambda tx: peer_mailboxes.load(tx, bob.id, OTHER)) is None


def test_a_message_is_stored_from_a_quorum_on_and_never_goes_back(
    connection: Connection, bob: ContactRow, waiting: DeliveryRow
) -> None:
    def store(number: int) -> tuple[MessageRow | int, ...]:
        return connection.run(lambda tx: deposits.stored(tx, place(bob, number), laid(waiting), now=2.0 + number))

    assert copies_of(connection, waiting) == Copies(0, 3)
    assert store(0) == (waiting.message_row,)
    assert message_of(connection, waiting).status is Status.QUEUED
    [moved] = store(1)
    assert isinstance(moved, MessageRow)
    assert (moved.status, moved.status_at) == (Status.STORED, 3.0)
    assert store(1) == (waiting.message_row,)  # again: the same copy
    assert copies_of(connection, waiting) == Copies(2, 3)
    for number in (0, 1):
        gone = connection.run(
            partial(deposits.lost, place=place(bob, number), gone=[waiting.id], now=9.0, reason="home lost it")
        )
        assert gone == (waiting.message_row,)
    assert connection.run(lambda tx: deposits.lost(tx, place(bob, 0), [waiting.id], now=9.0, reason="again")) == ()
    assert copies_of(connection, waiting) == Copies(0, 3)
    replicas = connection.read(lambda tx: deposits.of_delivery(tx, waiting.id))
    assert [(one.stored_at, one.lost_at, one.reason) for one in replicas] == [
        (None, 9.0, "home lost it"),
        (None, 9.0, "home lost it"),
        (None, None, None),
    ]
    connection.run(lambda tx: lanes.mark_sent(tx, [waiting.id], now=10.0, path="lan"))
    assert message_of(connection, waiting).status is Status.STORED
    row = connection.read(lambda tx: deliveries.get(tx, waiting.id))
    assert row is not None
    assert row.state is Status.STORED
    connection.run(lambda tx: deliveries.finish(tx, waiting.id, Status.DELIVERED, now=11.0))
    assert message_of(connection, waiting).status is Status.DELIVERED
    assert connection.read(lambda tx: tx.number("SELECT count(*) FROM deposits")) == 0


def test_what_is_missing_and_what_lies_at_a_replica_is_found_in_order(connection: Connection, bob: ContactRow) -> None:
    def fill(tx: Tx) -> list[DeliveryRow]:
        peer_mailboxes.save(tx, bob.id, DEVICE, a_set())
        made = [queue(tx, stored(tx, bob.id, number), DEVICE, now=1.0) for number in range(1, 6)]
        queue(tx, stored(tx, bob.id, 8), DEVICE, now=1.0, packet=None)  # waits for a session
        queue(tx, stored(tx, bob.id, 9), OTHER, now=1.0)
        deposits.stored(tx, place(bob, 0), [*laid(made[1]), *laid(made[3])], now=2.0)
        deposits.stored(tx, place(bob, 1), laid(made[0]), now=2.0)
        return made

    made = connection.run(fill)
    ids = [row.id for row in made]

    def look(tx: Tx) -> None:
        first = place(bob, 0)
        assert deposits.missing(tx, first, after=0, limit=9) == tuple((at, 1.0) for at in (ids[0], ids[2], ids[4]))
        assert deposits.missing(tx, first, after=ids[0], limit=1) == ((ids[2], 1.0),)
        assert deposits.lying(tx, first, after=0, limit=9) == tuple((ids[at], laid(made[at])[0][1]) for at in (1, 3))
        assert deposits.lying(tx, place(bob, 2), after=0, limit=9) == ()
        assert [row.delivery for row in deposits.packets(tx, [ids[3], ids[0], ids[4] + 1])] == [ids[3], ids[0]]
        assert len(deposits.messages_at(tx, first, limit=9)) == 4
        assert peer_mailboxes.devices(tx) == ((bob.id, DEVICE),)

    connection.read(look)


def test_another_set_counts_only_the_queues_that_are_still_in_it(
    connection: Connection, bob: ContactRow, waiting: DeliveryRow
) -> None:
    for number in range(3):
        connection.run(partial(deposits.stored, place=place(bob, number), laid=laid(waiting), now=2.0))
    assert copies_of(connection, waiting) == Copies(3, 3)
    moved = a_set(2, (RELAYS[3], RELAYS[1], RELAYS[2]))
    assert connection.run(lambda tx: peer_mailboxes.save(tx, bob.id, DEVICE, moved))
    assert copies_of(connection, waiting) == Copies(2, 3)
    assert connection.run(lambda tx: deposits.stored(tx, place(bob, 0), laid(waiting), now=3.0)) == ()  # left the set
    assert copies_of(connection, waiting) == Copies(2, 3)
    remade = a_set(3, moved_relays := tuple(one.relay for one in moved.replicas), secret=b"t" * 32)
    connection.run(lambda tx: peer_mailboxes.save(tx, bob.id, DEVICE, remade))
    assert copies_of(connection, waiting) == Copies(0, 3)  # other queues at the same relays
    assert len(moved_relays) == 3
    assert message_of(connection, waiting).status is Status.STORED
    connection.run(lambda tx: peer_mailboxes.save(tx, bob.id, DEVICE, a_set(4, ())))
    assert copies_of(connection, waiting) is None


def test_a_packet_that_was_sealed_anew_lies_nowhere(connection: Connection, bob: ContactRow) -> None:
    def fill(tx: Tx) -> DeliveryRow:
        peer_mailboxes.save(tx, bob.id, DEVICE, a_set())
        row = queue(tx, stored(tx, bob.id), DEVICE, now=1.0, packet=None)
        lanes.sealed(tx, row.id, packet=b"first", packet_hash=b"1" * 32)
        return row

    row = connection.run(fill)

    def store(packet_hash: bytes) -> None:
        connection.run(lambda tx: deposits.stored(tx, place(bob, 0), [(row.id, packet_hash)], now=2.0))

    store(b"1" * 32)
    assert copies_of(connection, row) == Copies(1, 3)
    connection.run(lambda tx: lanes.unseal_all(tx, bob.id, DEVICE))
    assert copies_of(connection, row) == Copies(0, 3)
    assert connection.read(lambda tx: deposits.missing(tx, place(bob, 0), after=0, limit=9)) == ()
    connection.run(lambda tx: lanes.sealed(tx, row.id, packet=b"second", packet_hash=b"2" * 32))
    store(b"1" * 32)  # an answer that was on its way
    assert copies_of(connection, row) == Copies(0, 3)
    store(b"2" * 32)
    assert copies_of(connection, row) == Copies(1, 3)


def test_a_receipt_ends_when_a_quorum_has_it_for_nobody_acknowledges_it(
    connection: Connection, bob: ContactRow
) -> None:
    def put(tx: Tx, content_id: bytes | None) -> DeliveryRow:
        return deliveries.enqueue(
            tx,
            contact_id=bob.id,
            device_key=DEVICE,
            now=1.0,
            content_id=content_id,
            content=b"content",
            packet=b"packet",
            packet_hash=os.urandom(32),
        )

    connection.run(lambda tx: peer_mailboxes.save(tx, bob.id, DEVICE, a_set()))
    receipt, other = connection.run(lambda tx: [put(tx, None), put(tx, b"c" * 16)])
    for number in range(2):
        assert connection.read(lambda tx: deliveries.get(tx, receipt.id)) is not None
        connection.run(partial(deposits.stored, place=place(bob, number), laid=laid(receipt) + laid(other), now=2.0))
    assert connection.read(lambda tx: deliveries.get(tx, receipt.id)) is None
    assert connection.read(lambda tx: deliveries.with_content(tx, bob.id, DEVICE, b"c" * 16)) == (other.id,)
    assert connection.read(lambda tx: deliveries.with_content(tx, bob.id, OTHER, b"c" * 16)) == ()


def test_a_packet_lies_no_longer_than_its_message_is_to_be_seen(
    connection: Connection, bob: ContactRow, waiting: DeliveryRow
) -> None:
    [found] = connection.read(lambda tx: deposits.packets(tx, [waiting.id]))
    assert found.expires_at == waiting.expires_at
    connection.run(lambda tx: tx.execute("UPDATE messages SET expires_at = 50 WHERE id = ?", (waiting.message_row,)))
    [found] = connection.read(lambda tx: deposits.packets(tx, [waiting.id]))
    assert found.expires_at == 50.0


def test_trouble_at_a_replica_is_kept_until_it_is_over(
    connection: Connection, bob: ContactRow, waiting: DeliveryRow
) -> None:
    def note(reason: str | None, due: float | None) -> bool:
        return connection.run(
            lambda tx: peer_mailboxes.note_trouble(tx, bob.id, DEVICE, RELAYS[1], reason=reason, next_attempt_at=due)
        )

    assert note("club: no answer", 30.0)
    assert not note("club: no answer", 60.0)
    second = connection.read(lambda tx: deposits.of_delivery(tx, waiting.id))[1]
    assert (second.reason, second.next_attempt_at) == ("club: no answer", 60.0)
    connection.run(lambda tx: deposits.stored(tx, place(bob, 1), laid(waiting), now=2.0))
    second = connection.read(lambda tx: deposits.of_delivery(tx, waiting.id))[1]
    assert (second.reason, second.next_attempt_at) == (None, None)
    assert note(None, None)


def test_a_message_that_lies_in_mailboxes_and_is_given_up_may_still_be_read_and_says_so(
    connection: Connection, bob: ContactRow, waiting: DeliveryRow
) -> None:
    other = connection.run(lambda tx: queue(tx, stored(tx, bob.id, 2), DEVICE, now=1.0))
    for number in range(2):
        connection.run(partial(deposits.stored, place=place(bob, number), laid=laid(waiting), now=2.0))
    connection.run(lambda tx: deliveries.drop_of_contact(tx, bob.id, now=3.0, reason="you blocked this contact"))
    both = message_of(connection, waiting), message_of(connection, other)
    assert [row.status for row in both] == [Status.FAILED] * 2
    assert both[0].reason == f"you blocked this contact; {deliveries.LIES_THERE}"
    assert both[1].reason == "you blocked this contact"


def test_forgotten_mailboxes_take_their_copies_along(
    connection: Connection, bob: ContactRow, waiting: DeliveryRow
) -> None:
    connection.run(lambda tx: peer_mailboxes.save(tx, bob.id, OTHER, a_set()))
    connection.run(lambda tx: peer_mailboxes.forget(tx, bob.id, DEVICE))
    assert connection.read(lambda tx: peer_mailboxes.load(tx, bob.id, DEVICE)) is None
    assert copies_of(connection, waiting) is None
    assert connection.read(lambda tx: peer_mailboxes.load(tx, bob.id, OTHER)) is not None
    connection.run(lambda tx: peer_mailboxes.forget(tx, bob.id))
    assert connection.read(lambda tx: peer_mailboxes.load(tx, bob.id, OTHER)) is None


def test_contents_that_wait_since_before_mailboxes_get_their_ids(path: object) -> None:
    connection = load_fixture(path, 1)  # type: ignore[arg-type]
    text = encode_content(Content(b"t" * 16, 1.0, Text("hello")))
    receipt = encode_content(Content(b"r" * 16, 1.0, Receipt(ReceiptKind.READ, (b"x" * 16,))))

    def fill(tx: Tx) -> None:
        for number, content in ((7, text), (8, receipt), (9, b"\xff")):
            tx.execute(
                "INSERT INTO deliveries (id, contact_id, device_key, state, attempts, next_attempt_at, created_at, "
                "expires_at, content) VALUES (?, 1, ?, 'queued', 0, 0, 0, 9e9, ?)",
                (number, DEVICE, content),
            )

    connection.run(fill)
    migrate(connection, STEPS[: STEPS.index(step_3) + 1])
    found: dict[int, bytes | None] = connection.read(lambda tx: dict(tx.all("SELECT id, content_id FROM deliveries")))
    assert found == {1: b"1" * 16, 7: b"t" * 16, 8: None, 9: None}
    connection.close()
