"""Messages: stored once, shown in order, emptied when they are deleted or their time is over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey_node import limits
from covey_node.protocol.status import Status
from covey_node.store import messages, reactions
from covey_node.store.connection import Connection
from covey_node.store.contacts import ContactRow
from covey_node.store.messages import MessageRow
from covey_node.store.reactions import ReactionRow


def incoming(contact: ContactRow, number: int, **values: object) -> MessageRow:
    row = MessageRow(
        contact_id=contact.id,
        outgoing=False,
        message_id=number.to_bytes(16, "big"),
        kind="text",
        body=b"body %d" % number,
        text=f"text {number}",
        sent_at=float(number),
        status=Status.RECEIVED,
        status_at=float(number),
        received_at=float(number),
    )
    return replace(row, **values)  # type: ignore[arg-type]


def outgoing(contact: ContactRow, number: int, **values: object) -> MessageRow:
    return replace(
        incoming(contact, number, received_at=None, status=Status.QUEUED),
        outgoing=True,
        **values,  # type: ignore[arg-type]
    )


def add(connection: Connection, row: MessageRow) -> MessageRow:
    stored = connection.run(lambda tx: messages.add(tx, row))
    assert stored is not None
    return stored


def get(connection: Connection, row: MessageRow) -> MessageRow:
    found = connection.read(lambda tx: messages.get(tx, row.id))
    assert found is not None
    return found


def test_every_value_of_a_message_comes_back(connection: Connection, bob: ContactRow) -> None:
    row = add(
        connection,
        incoming(
            bob,
            1,
            reply_to=b"r" * 16,
            reason="why",
            path="lan",
            attempts=3,
            read_at=2.0,
            edited_at=3.0,
            disappear_seconds=60.0,
            expires_at=62.0,
        ),
    )
    assert get(connection, row) == row
    assert connection.read(lambda tx: messages.find(tx, bob.id, row.message_id, outgoing=False)) == row
    assert connection.read(lambda tx: messages.find(tx, bob.id, row.message_id, outgoing=True)) is None
    assert connection.read(lambda tx: messages.with_id(tx, row.message_id)) == (row,)


def test_a_message_that_comes_again_is_not_stored_again(connection: Connection, bob: ContactRow) -> None:
    first = add(connection, incoming(bob, 1))
    assert connection.run(lambda tx: messages.add(tx, incoming(bob, 1, text="another"))) is None
    assert get(connection, first).text == "text 1"
    mine = add(connection, outgoing(bob, 1))  # the same id in the other direction is another message
    assert connection.read(lambda tx: messages.with_id(tx, first.message_id)) == (first, mine)


def test_a_deleted_message_cannot_come_again(connection: Connection, bob: ContactRow) -> None:
    row = add(connection, incoming(bob, 1, expires_at=99.0))
    connection.run(lambda tx: reactions.put(tx, ReactionRow(row.id, True, "x", 1.0)))
    assert connection.run(lambda tx: messages.delete(tx, row.id, now=5.0))
    assert not connection.run(lambda tx: messages.delete(tx, row.id, now=6.0))
    gone = get(connection, row)
    assert (gone.text, gone.body, gone.deleted_at, gone.expires_at) == (None, b"", 5.0, None)
    assert connection.read(lambda tx: reactions.of(tx, [row.id])) == {}
    assert connection.run(lambda tx: messages.add(tx, incoming(bob, 1))) is None
    assert not connection.run(lambda tx: messages.edit(tx, row.id, text="back", body=b"", now=7.0))


def test_history_is_paged_from_the_newest(connection: Connection, bob: ContactRow) -> None:
    rows = [add(connection, incoming(bob, number)) for number in range(1, 8)]
    page = connection.read(lambda tx: messages.page(tx, bob.id, limit=3))
    assert page == tuple(reversed(rows[4:]))
    page = connection.read(lambda tx: messages.page(tx, bob.id, limit=3, before=page[-1].id))
    assert page == tuple(reversed(rows[1:4]))
    page = connection.read(lambda tx: messages.page(tx, bob.id, limit=3, before=page[-1].id))
    assert page == (rows[0],)
    assert connection.read(lambda tx: messages.page(tx, bob.id, limit=-5)) == ()
    assert connection.read(lambda tx: messages.page(tx, bob.id + 1, limit=5)) == ()


def test_a_page_is_bounded(connection: Connection, bob: ContactRow) -> None:
    over = limits.HISTORY_PAGE_MESSAGES + 5
    connection.run(lambda tx: [messages.add(tx, incoming(bob, number)) for number in range(over)])
    assert len(connection.read(lambda tx: messages.page(tx, bob.id, limit=10**9))) == limits.HISTORY_PAGE_MESSAGES


def test_a_status_only_moves_forward(connection: Connection, bob: ContactRow) -> None:
    row = add(connection, outgoing(bob, 1))
    moved = connection.run(lambda tx: messages.move(tx, row.id, Status.DELIVERED, now=5.0, path="public"))
    assert moved == get(connection, row)
    assert (moved.status, moved.status_at, moved.path) == (Status.DELIVERED, 5.0, "public")
    for back in (Status.SENT, Status.QUEUED, Status.EXPIRED, Status.FAILED, Status.DELIVERED):
        assert connection.run(lambda tx, back=back: messages.move(tx, row.id, back, now=6.0)) is None  # type: ignore[misc]
    assert get(connection, row) == moved
    read = connection.run(lambda tx: messages.move(tx, row.id, Status.READ, now=7.0))
    assert read is not None
    assert (read.status, read.path) == (Status.READ, "public")
    assert connection.run(lambda tx: messages.move(tx, 10**6, Status.READ, now=7.0)) is None


def test_a_reason_is_kept_only_while_a_message_waits(connection: Connection, bob: ContactRow) -> None:
    row = add(connection, outgoing(bob, 1))
    assert connection.run(lambda tx: messages.set_reason(tx, row.id, "no path"))
    assert not connection.run(lambda tx: messages.set_reason(tx, row.id, "no path"))
    connection.run(lambda tx: messages.move(tx, row.id, Status.DELIVERED, now=2.0))
    assert not connection.run(lambda tx: messages.set_reason(tx, row.id, "late"))
    assert get(connection, row).reason is None


def test_an_older_edit_does_not_replace_a_newer_one(connection: Connection, bob: ContactRow) -> None:
    row = add(connection, incoming(bob, 1))
    assert connection.run(lambda tx: messages.edit(tx, row.id, text="two", body=b"2", now=20.0))
    assert not connection.run(lambda tx: messages.edit(tx, row.id, text="one", body=b"1", now=10.0))
    edited = get(connection, row)
    assert (edited.text, edited.body, edited.edited_at) == ("two", b"2", 20.0)


def test_unread_messages_are_counted_until_they_are_read(connection: Connection, bob: ContactRow) -> None:
    for number in range(5):
        add(connection, incoming(bob, number))
    add(connection, outgoing(bob, 9))
    assert connection.read(messages.unread) == 5
    assert connection.read(lambda tx: messages.unread(tx, bob.id)) == 5
    assert connection.read(lambda tx: messages.unread(tx, bob.id + 1)) == 0
    read = connection.run(lambda tx: messages.mark_read(tx, bob.id, now=50.0, limit=3))
    assert [(row.text, row.read_at) for row in read] == [("text 0", 50.0), ("text 1", 50.0), ("text 2", 50.0)]
    assert connection.read(messages.unread) == 2
    assert len(connection.run(lambda tx: messages.mark_read(tx, bob.id, now=51.0))) == 2
    assert connection.run(lambda tx: messages.mark_read(tx, bob.id, now=52.0)) == ()


def test_a_disappearing_message_begins_its_time_when_it_is_read(connection: Connection, bob: ContactRow) -> None:
    row = add(connection, incoming(bob, 1, disappear_seconds=60.0))
    assert connection.read(messages.next_expiry) is None
    [read] = connection.run(lambda tx: messages.mark_read(tx, bob.id, now=100.0))
    assert read.expires_at == 160.0
    assert connection.read(messages.next_expiry) == 160.0
    assert connection.run(lambda tx: messages.disappear(tx, now=159.9)) == ()
    [gone] = connection.run(lambda tx: messages.disappear(tx, now=160.0))
    assert gone.text == "text 1"
    assert (get(connection, row).text, get(connection, row).deleted_at) == (None, 160.0)
    assert connection.read(messages.next_expiry) is None


def test_each_author_has_one_reaction_and_the_newest_counts(connection: Connection, bob: ContactRow) -> None:
    row, other = (add(connection, incoming(bob, number)) for number in (1, 2))

    def put(emoji: str, at: float, *, mine: bool) -> bool:
        return connection.run(lambda tx: reactions.put(tx, ReactionRow(row.id, mine, emoji, at)))

    assert put("👍", 1.0, mine=True)
    assert put("🎉", 3.0, mine=False)
    assert put("👎", 2.0, mine=True)
    assert not put("old", 1.5, mine=True)
    stand = connection.read(lambda tx: reactions.of(tx, [row.id, other.id]))
    assert stand == {row.id: (ReactionRow(row.id, True, "👎", 2.0), ReactionRow(row.id, False, "🎉", 3.0))}
    assert put("", 9.0, mine=True)
    assert connection.read(lambda tx: reactions.of(tx, [row.id])) == {row.id: (ReactionRow(row.id, False, "🎉", 3.0),)}
    assert not put("late", 8.0, mine=True)  # taken back after that: it stays so
    assert connection.read(lambda tx: reactions.of(tx, [])) == {}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM messages WHERE outgoing = 1 AND status IN ('queued', 'sent')",
        "SELECT count(*) FROM messages WHERE contact_id = 1 AND outgoing = 0 AND read_at IS NULL",
        "SELECT count(*) FROM messages WHERE outgoing = 0 AND read_at IS NULL",
        "SELECT min(expires_at) FROM messages WHERE expires_at IS NOT NULL",
        "SELECT * FROM messages WHERE contact_id = 1 AND id < 5 ORDER BY id DESC LIMIT 3",
        "SELECT * FROM messages WHERE message_id = X'00'",
        "SELECT 1 FROM deliveries WHERE contact_id = 1 AND device_key = X'00' AND packet IS NULL LIMIT 1",
        "SELECT * FROM deliveries WHERE contact_id = 1 AND device_key = X'00' AND id > 5 ORDER BY id LIMIT 3",
        "SELECT id FROM deliveries WHERE message_row = 1",
        "SELECT id FROM deliveries WHERE expires_at <= 1 ORDER BY expires_at",
    ],
)
def test_what_is_asked_all_the_time_uses_an_index(connection: Connection, statement: str) -> None:
    plan = [str(row[3]) for row in connection.read(lambda tx: tx.all(f"EXPLAIN QUERY PLAN {statement}"))]
    assert all("USING" in line and "INDEX" in line for line in plan), plan
    assert not any("TEMP B-TREE" in line for line in plan), plan
