"""Contacts, their devices and sessions: unique names, revocations that stay, a bounded number of sessions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey_node import limits
from covey_node.protocol.status import ContactState, Status
from covey_node.store import contacts, deliveries, devices, messages, reactions, sessions
from covey_node.store.connection import Connection
from covey_node.store.contacts import ContactRow
from covey_node.store.devices import DeviceRow
from covey_node.store.errors import AliasTaken, Conflict
from covey_node.store.messages import MessageRow
from covey_node.store.sessions import SessionRow
from covey_node.store.tx import Tx

FULL = ContactRow(
    account_key=b"c" * 32,
    alias="Carol Ünsal",
    state=ContactState.INCOMING,
    created_at=1.5,
    profile_name="carol",
    accepted_at=2.5,
    verified_at=3.5,
    last_seen=4.5,
    intro="hi",
    reason="because",
    invite_token=b"t" * 16,
    device_list=b"list",
    record_key=b"k" * 32,
    record_secret=b"s" * 32,
    record_sequence_seen=9,
    addrs=("/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.1/tcp/2"),
    relays=("/dns4/relay.example/tcp/1",),
)


def session(bob: ContactRow, device: bytes, number: int, **values: object) -> SessionRow:
    row = SessionRow(
        contact_id=bob.id,
        device_key=device,
        base_key_hash=number.to_bytes(32, "big"),
        initiator=True,
        awaiting_reply=True,
        state=b"%d" % number,
        created_at=float(number),
    )
    return replace(row, **values)  # type: ignore[arg-type]


def test_every_value_of_a_contact_comes_back(connection: Connection) -> None:
    row = connection.run(lambda tx: contacts.add(tx, FULL))
    assert row == replace(FULL, id=row.id)
    assert connection.read(lambda tx: contacts.get(tx, row.id)) == row
    assert connection.read(lambda tx: contacts.by_account(tx, b"c" * 32)) == row
    changed = replace(
        row, alias="Caro", state=ContactState.BLOCKED, addrs=(), relays=(), intro=None, record_sequence_seen=10
    )
    connection.run(lambda tx: contacts.save(tx, changed))
    assert connection.read(lambda tx: contacts.get(tx, row.id)) == changed


@pytest.mark.parametrize(
    "wanted",
    [
        "carol ünsal",
        "CAROL ÜNSAL",
        "\N{FULLWIDTH LATIN CAPITAL LETTER C}arol Ünsal",
        "Carol U\N{COMBINING DIAERESIS}nsal",
    ],
)
def test_an_alias_is_unique_whatever_its_case(connection: Connection, bob: ContactRow, wanted: str) -> None:
    row = connection.run(lambda tx: contacts.add(tx, FULL))
    assert connection.read(lambda tx: contacts.by_alias(tx, wanted)) == row
    with pytest.raises(AliasTaken, match="choose another name"):
        connection.run(lambda tx: contacts.save(tx, replace(bob, alias=wanted)))
    with pytest.raises(AliasTaken):
        connection.run(lambda tx: contacts.add(tx, replace(FULL, account_key=b"z" * 32, alias=wanted)))
    connection.run(lambda tx: contacts.save(tx, replace(row, alias=wanted)))  # its own name in another spelling


@pytest.mark.parametrize("alias", ["", " ", " Bob", "Bob ", "a\nb", "a\x00b", "a\u202eb", "x" * 65])
def test_an_alias_that_cannot_be_shown_is_refused(connection: Connection, alias: str) -> None:
    assert not contacts.is_alias(alias)
    with pytest.raises(Conflict, match="1 to 64 printable characters"):
        connection.run(lambda tx: contacts.add(tx, replace(FULL, alias=alias)))
    assert contacts.is_alias("x" * 64)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("Dora", "Dora"), ("bob", "bob 2"), ("", "contact"), ("\n\u202e ", "contact"), ("x" * 200, "x" * 57)],
)
def test_a_free_alias_is_made_of_any_text(connection: Connection, bob: ContactRow, wanted: str, expected: str) -> None:
    assert connection.read(lambda tx: contacts.free_alias(tx, wanted)) == expected
    assert contacts.is_alias(expected)


def test_an_account_is_one_contact(connection: Connection, bob: ContactRow) -> None:
    with pytest.raises(Conflict, match=r"contacts\.account_key"):
        connection.run(lambda tx: contacts.add(tx, replace(FULL, account_key=bob.account_key)))


def test_a_contact_is_found_by_the_first_digits_of_its_key(connection: Connection, bob: ContactRow) -> None:
    carol = connection.run(lambda tx: contacts.add(tx, replace(FULL, account_key=b"b" * 31 + b"c")))
    find = contacts.by_account_prefix
    assert connection.read(lambda tx: find(tx, carol.account_key.hex().upper())) == (carol,)
    assert connection.read(lambda tx: find(tx, "62626262")) == (bob, carol)
    for nothing in ("", "63", "6%", "__", "6262_"):
        assert connection.read(lambda tx, text=nothing: find(tx, text)) == ()  # type: ignore[misc]


def test_contacts_are_listed_by_state_in_the_order_of_their_names(connection: Connection, bob: ContactRow) -> None:
    carol = connection.run(lambda tx: contacts.add(tx, FULL))
    anna = connection.run(
        lambda tx: contacts.add(tx, replace(FULL, account_key=b"a" * 32, alias="anna", state=ContactState.ACCEPTED))
    )
    assert connection.read(contacts.all_in) == (anna, bob, carol)
    assert connection.read(lambda tx: contacts.all_in(tx, [ContactState.ACCEPTED])) == (anna, bob)
    assert connection.read(lambda tx: contacts.all_in(tx, [])) == ()


def test_the_last_time_seen_never_goes_back(connection: Connection, bob: ContactRow) -> None:
    for now in (5.0, 3.0):
        connection.run(lambda tx, now=now: contacts.seen(tx, bob.id, now=now))  # type: ignore[misc]
    row = connection.read(lambda tx: contacts.get(tx, bob.id))
    assert row is not None
    assert row.last_seen == 5.0


def test_removing_a_contact_removes_everything_of_it(connection: Connection, bob: ContactRow, phone: bytes) -> None:
    def fill(tx: Tx) -> None:
        sessions.add(tx, session(bob, phone, 1))
        row = messages.add(
            tx, MessageRow(bob.id, True, b"m" * 16, "text", b"", "t", 1.0, status=Status.QUEUED, status_at=1.0)
        )
        assert row is not None
        reactions.put(tx, reactions.ReactionRow(row.id, True, "x", 1.0))
        deliveries.enqueue(tx, contact_id=bob.id, device_key=phone, now=1.0, message_row=row.id, content=b"c")
        devices.log_change(tx, bob.id, phone, change="added", reason="new", now=1.0)

    connection.run(fill)
    assert connection.read(lambda tx: (contacts.alias_of(tx, bob.id), devices.keys(tx, bob.id))) == (
        bob.alias,
        (phone,),
    )
    connection.run(lambda tx: contacts.remove(tx, bob.id))
    assert connection.read(lambda tx: contacts.alias_of(tx, bob.id)) == ""
    for table in ("contacts", "devices", "key_changes", "sessions", "messages", "reactions", "deliveries"):
        assert connection.read(lambda tx, table=table: tx.number(f"SELECT count(*) FROM {table}")) == 0, table  # type: ignore[misc]


def test_a_revoked_device_stays_revoked_and_has_no_session(
    connection: Connection, bob: ContactRow, phone: bytes
) -> None:
    connection.run(lambda tx: sessions.add(tx, session(bob, phone, 1)))
    assert connection.run(lambda tx: devices.set_bundle(tx, bob.id, phone, b"bundle", now=2.0))
    connection.run(lambda tx: devices.revoke(tx, bob.id, phone, now=3.0))
    connection.run(lambda tx: devices.put(tx, DeviceRow(bob.id, phone, b"x" * 32, 4.0)))
    row = connection.read(lambda tx: devices.get(tx, bob.id, phone))
    assert row is not None
    assert (row.revoked_at, row.bundle) == (3.0, None)
    assert connection.read(lambda tx: devices.of_contact(tx, bob.id)) == ()
    assert connection.read(lambda tx: devices.keys(tx, bob.id)) == ()
    assert connection.read(lambda tx: devices.of_contact(tx, bob.id, revoked=True)) == (row,)
    assert connection.read(lambda tx: devices.with_key(tx, phone)) == ()
    assert connection.read(lambda tx: sessions.of_device(tx, bob.id, phone)) == ()
    assert not connection.run(lambda tx: devices.set_bundle(tx, bob.id, b"?" * 32, b"bundle", now=2.0))


def test_a_bundle_is_kept_when_a_list_without_one_comes(connection: Connection, bob: ContactRow, phone: bytes) -> None:
    connection.run(lambda tx: devices.set_bundle(tx, bob.id, phone, b"bundle", now=2.0))
    connection.run(lambda tx: devices.put(tx, DeviceRow(bob.id, phone, b"x" * 32, 4.0)))
    [row] = connection.read(lambda tx: devices.with_key(tx, phone))
    assert (row.bundle, row.bundle_at, row.added_at) == (b"bundle", 2.0, 1.0)


def test_two_accounts_that_claim_one_device_are_both_shown(
    connection: Connection, bob: ContactRow, phone: bytes
) -> None:
    carol = connection.run(lambda tx: contacts.add(tx, FULL))
    connection.run(lambda tx: devices.put(tx, DeviceRow(carol.id, phone, b"y" * 32, 1.0)))
    assert [row.contact_id for row in connection.read(lambda tx: devices.with_key(tx, phone))] == [bob.id, carol.id]


def test_key_changes_stay_open_until_they_are_accepted(connection: Connection, bob: ContactRow, phone: bytes) -> None:
    for number in range(3):
        connection.run(
            lambda tx, number=number: devices.log_change(  # type: ignore[misc]
                tx, bob.id, phone, change="added", reason=f"list {number}", now=float(number)
            )
        )
    newest_first = connection.read(lambda tx: devices.changes(tx, bob.id, unaccepted=True))
    assert [row.reason for row in newest_first] == ["list 2", "list 1", "list 0"]
    assert connection.run(lambda tx: devices.accept_changes(tx, bob.id, now=9.0)) == 3
    assert connection.read(lambda tx: devices.changes(tx, bob.id, unaccepted=True)) == ()
    assert {row.accepted_at for row in connection.read(lambda tx: devices.changes(tx, bob.id))} == {9.0}


def test_a_session_is_found_by_device_and_by_base_key(connection: Connection, bob: ContactRow, phone: bytes) -> None:
    row = connection.run(lambda tx: sessions.add(tx, session(bob, phone, 7)))
    assert connection.read(lambda tx: sessions.get(tx, row.id)) == row
    assert connection.read(lambda tx: sessions.by_base_key(tx, row.base_key_hash)) == row
    assert connection.read(lambda tx: sessions.of_device(tx, bob.id, phone)) == (row,)
    advanced = replace(row, state=b"advanced", awaiting_reply=False, last_received_at=9.0)
    assert connection.run(lambda tx: sessions.save(tx, advanced))
    assert connection.read(lambda tx: sessions.get(tx, row.id)) == advanced
    with pytest.raises(Conflict, match="base_key_hash"):
        connection.run(lambda tx: sessions.add(tx, session(bob, phone, 7)))


def test_the_session_unused_for_longest_is_dropped_over_the_limit(
    connection: Connection, bob: ContactRow, phone: bytes
) -> None:
    rows = [connection.run(lambda tx, n=n: sessions.add(tx, session(bob, phone, n))) for n in range(1, 6)]  # type: ignore[misc]
    assert len(rows) == limits.SESSIONS_PER_DEVICE
    connection.run(lambda tx: sessions.save(tx, replace(rows[0], last_received_at=100.0)))
    newest = connection.run(lambda tx: sessions.add(tx, session(bob, phone, 50)))
    kept = connection.read(lambda tx: sessions.of_device(tx, bob.id, phone))
    assert [row.id for row in kept] == [rows[0].id, newest.id, rows[4].id, rows[3].id, rows[2].id]
    assert not connection.run(lambda tx: sessions.save(tx, rows[1]))


def test_a_new_session_is_never_the_one_that_is_dropped(connection: Connection, bob: ContactRow, phone: bytes) -> None:
    for number in range(1, 6):
        connection.run(
            lambda tx, n=number: sessions.add(tx, session(bob, phone, n, last_received_at=1000.0))  # type: ignore[misc]
        )
    new = connection.run(lambda tx: sessions.add(tx, session(bob, phone, 9)))
    assert new.id in {row.id for row in connection.read(lambda tx: sessions.of_device(tx, bob.id, phone))}


def test_blocking_removes_all_sessions_of_a_contact(connection: Connection, bob: ContactRow, phone: bytes) -> None:
    one, two = (connection.run(lambda tx, n=n: sessions.add(tx, session(bob, phone, n))) for n in (1, 2))  # type: ignore[misc]
    connection.run(lambda tx: sessions.remove(tx, one.id))
    assert connection.read(lambda tx: sessions.of_device(tx, bob.id, phone)) == (two,)
    connection.run(lambda tx: sessions.remove_of_contact(tx, bob.id))
    assert connection.read(lambda tx: sessions.of_device(tx, bob.id, phone)) == ()
