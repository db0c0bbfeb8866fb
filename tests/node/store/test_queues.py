"""Our queues: a set counts what it is made of, is closed for good and opened anew, and knows who was told."""

from __future__ import annotations

import pytest

from covey_core.wire.mailbox import Ids
from covey_node.protocol.contents import Mailboxes, Replica
from covey_node.protocol.queue_choice import Behaviour
from covey_node.protocol.status import Status
from covey_node.store import contacts, deliveries, queue_relays, queue_told, queues, receipts, received
from covey_node.store.connection import Connection
from covey_node.store.contacts import ContactRow
from covey_node.store.errors import Conflict
from covey_node.store.queues import Purpose, QueueState
from covey_node.store.tx import Tx

SECRET = b"s" * 32
RELAYS = (b"\x00\x02r1", b"\x00\x02r2", b"\x00\x02r3")


def opened(tx: Tx, bob: ContactRow) -> int:
    return queues.open_set(tx, Purpose.CONTACT, bob.id, secret=SECRET, now=1.0).id


def made(tx: Tx, set_id: int, number: int) -> int:
    row = queues.plan(tx, set_id, relay=RELAYS[number], addrs=("/dns4/r",), recv_seed=bytes([number]) * 32, now=2.0)
    assert queues.stood(tx, row.id, _ids(number, number), now=3.0)
    return row.id


def _ids(recv: int, send: int) -> Ids:
    return Ids(_id("r", recv), _id("s", send), 1024, 8 << 20, 86400)


def _id(kind: str, number: int) -> bytes:
    return f"{kind}{number}".encode().ljust(24, b".")


def test_a_set_is_told_as_it_stood_when_it_was_published(connection: Connection, bob: ContactRow) -> None:
    def check(tx: Tx) -> None:
        set_id = opened(tx, bob)
        assert queues.for_contact(tx, bob.id) is None
        made(tx, set_id, 0)
        assert queues.for_contact(tx, bob.id) is None, "not published yet"
        expected = Mailboxes(1, SECRET, (Replica(RELAYS[0], ("/dns4/r",), _id("s", 0)),))
        assert queues.publish(tx, set_id) == expected
        assert queues.publish(tx, set_id) is None, "nothing has changed"
        assert queues.for_contact(tx, bob.id) == expected
        second = made(tx, set_id, 1)
        assert queues.for_contact(tx, bob.id) is None
        published = queues.publish(tx, set_id)
        assert published is not None
        assert (published.number, len(published.replicas)) == (2, 2)
        queues.leave(tx, second)
        assert queues.publish(tx, set_id) == Mailboxes(3, SECRET, expected.replicas)

    connection.run(check)


def test_a_set_that_is_opened_again_goes_on_counting_under_another_secret(
    connection: Connection, bob: ContactRow
) -> None:
    def check(tx: Tx) -> None:
        set_id = opened(tx, bob)
        queue = made(tx, set_id, 0)
        queues.publish(tx, set_id)
        assert queues.open_set(tx, Purpose.CONTACT, bob.id, secret=b"x" * 32, now=2.0).secret == SECRET, "it is open"
        queues.close_set(tx, set_id)
        assert queues.open_sets(tx) == ()
        assert queues.for_contact(tx, bob.id) is None
        assert [row.id for row in queues.of_set(tx, set_id, (QueueState.ENDING,))] == [queue]
        again = queues.open_set(tx, Purpose.CONTACT, bob.id, secret=b"n" * 32, now=3.0)
        assert (again.id, again.number, again.secret) == (set_id, 1, b"n" * 32)
        queues.plan(tx, set_id, relay=RELAYS[0], addrs=(), recv_seed=b"o" * 32, now=4.0)
        assert len(queues.at_relay(tx, RELAYS[0])) == 2, "the old queue and the new one"

    connection.run(check)


def test_a_closed_set_forgets_what_was_never_made_and_keeps_nobodys_secret(
    connection: Connection, bob: ContactRow
) -> None:
    def check(tx: Tx) -> None:
        set_id = opened(tx, bob)
        row = queues.plan(tx, set_id, relay=RELAYS[0], addrs=(), recv_seed=b"o" * 32, now=4.0)
        queues.close_set(tx, set_id)
        assert queues.of_set(tx, set_id) == ()
        assert not queues.stood(tx, row.id, _ids(0, 0), now=5.0)
        assert tx.one("SELECT secret FROM queue_sets") == (None,)

    connection.run(check)


def test_a_relay_that_gives_two_queues_one_id_is_not_believed(connection: Connection, bob: ContactRow) -> None:
    def check(tx: Tx) -> None:
        made(tx, opened(tx, bob), 0)
        other = queues.open_set(tx, Purpose.OPEN, None, secret=SECRET, now=1.0)
        row = queues.plan(tx, other.id, relay=RELAYS[0], addrs=(), recv_seed=b"o" * 32, now=4.0)
        for ids in (_ids(0, 5), _ids(5, 0)):
            with pytest.raises(Conflict):
                queues.stood(tx, row.id, ids, now=5.0)

    connection.run(check)


def test_a_purpose_has_one_set_and_a_set_one_queue_in_use_at_a_relay(connection: Connection, bob: ContactRow) -> None:
    def check(tx: Tx) -> None:
        first = queues.open_set(tx, Purpose.OPEN, None, secret=SECRET, now=1.0)
        assert queues.open_set(tx, Purpose.OPEN, None, secret=b"x" * 32, now=1.0) == first
        assert queues.open_set(tx, Purpose.INVITES, None, secret=SECRET, now=1.0).id != first.id
        queue = made(tx, first.id, 0)
        with pytest.raises(Conflict):
            queues.plan(tx, first.id, relay=RELAYS[0], addrs=(), recv_seed=b"o" * 32, now=4.0)
        queues.leave(tx, queue)
        queues.plan(tx, first.id, relay=RELAYS[0], addrs=(), recv_seed=b"o" * 32, now=4.0)
        with pytest.raises(ValueError, match="for a contact"):
            queues.open_set(tx, Purpose.CONTACT, None, secret=SECRET, now=1.0)

    connection.run(check)


def test_a_contact_that_is_removed_leaves_its_queues_to_be_deleted(connection: Connection, bob: ContactRow) -> None:
    def check(tx: Tx) -> None:
        set_id = opened(tx, bob)
        made(tx, set_id, 0)
        tx.execute("DELETE FROM contacts WHERE id = ?", (bob.id,))
        [row] = queues.open_sets(tx, Purpose.CONTACT)
        assert (row.id, row.contact_id) == (set_id, None)
        assert len(queues.of_set(tx, set_id)) == 1

    connection.run(check)


def test_a_device_is_told_until_it_confirms_and_again_when_the_content_expired(
    connection: Connection, bob: ContactRow, phone: bytes
) -> None:
    laptop = b"l" * 32

    def check(tx: Tx) -> None:
        set_id = opened(tx, bob)
        assert queue_told.untold(tx, set_id, (phone, laptop), number=1) == (phone, laptop)
        for key in (phone, laptop):
            deliveries.enqueue(tx, contact_id=bob.id, device_key=key, now=1.0, content=b"told", content_id=b"1" * 16)
            queue_told.told(tx, set_id, key, number=1, content_id=b"1" * 16)
        assert queue_told.untold(tx, set_id, (phone, laptop), number=1) == ()
        assert queue_told.confirmed(tx, set_id, (phone, laptop)) == 0
        [delivery] = deliveries.with_content(tx, bob.id, phone, b"1" * 16)
        deliveries.finish(tx, delivery, Status.DELIVERED, now=2.0)
        [delivery] = deliveries.with_content(tx, bob.id, laptop, b"1" * 16)
        deliveries.finish(tx, delivery, Status.EXPIRED, now=2.0)
        assert queue_told.confirmed(tx, set_id, (phone,)) == 1
        assert queue_told.confirmed(tx, set_id, (phone, laptop)) == 0
        assert queue_told.untold(tx, set_id, (phone, laptop), number=1) == (laptop,)
        assert queue_told.untold(tx, set_id, (phone, laptop), number=2) == (phone, laptop)

    connection.run(check)


def test_receipts_of_one_device_are_due_together_and_are_owed_once(
    connection: Connection, bob: ContactRow, phone: bytes
) -> None:
    def check(tx: Tx) -> None:
        for number, due in ((1, 50.0), (2, 70.0), (2, 40.0), (3, 60.0)):
            receipts.owe(tx, bob.id, phone, bytes([number]) * 16, due_at=due)
        receipts.owe(tx, bob.id, b"l" * 32, b"x" * 16, due_at=90.0)
        mine, other = receipts.owed(tx, limit=9)
        assert (mine.device_key, mine.due_at) == (phone, 50.0)
        assert (other.contact_id, other.due_at) == (bob.id, 90.0)
        assert len(receipts.take(tx, bob.id, phone, limit=2)) == 2
        assert len(receipts.take(tx, bob.id, phone, limit=2)) == 1
        assert receipts.owed(tx, limit=9) == (other,)
        receipts.forgive(tx, bob.id)
        assert receipts.owed(tx, limit=9) == ()

    connection.run(check)


def test_a_packet_that_comes_again_is_answered_again_but_not_for_each_replica(
    connection: Connection, phone: bytes
) -> None:
    def check(tx: Tx) -> None:
        received.note(tx, phone, b"h" * 32, outcome="ACCEPTED", now=1.0, content_id=b"c" * 16)
        received.note(tx, phone, b"r" * 32, outcome="ACCEPTED", now=1.0)
        assert received.to_answer(tx, phone, b"h" * 32, now=2.0) == b"c" * 16
        assert received.to_answer(tx, phone, b"h" * 32, now=3.0) is None
        assert received.to_answer(tx, phone, b"h" * 32, now=3000.0) == b"c" * 16
        assert received.to_answer(tx, phone, b"r" * 32, now=2.0) is None
        assert received.to_answer(tx, phone, b"?" * 32, now=2.0) is None

    connection.run(check)


def test_how_a_relay_behaves_is_kept(connection: Connection) -> None:
    one = Behaviour(1.5, 2, 3.0, 4.0, 5.0, 6.0, "no answer")

    def check(tx: Tx) -> None:
        assert queue_relays.load(tx, RELAYS[0]) == Behaviour()
        queue_relays.save(tx, RELAYS[0], one)
        queue_relays.save(tx, RELAYS[0], one)
        assert queue_relays.load(tx, RELAYS[0]) == one
        assert queue_relays.all_known(tx) == {RELAYS[0]: one}

    connection.run(check)


def test_a_contacts_row_and_alias_are_untouched_by_its_set(connection: Connection, bob: ContactRow) -> None:
    connection.run(lambda tx: opened(tx, bob))
    assert connection.read(lambda tx: contacts.get(tx, bob.id)) == bob
