"""Account, invites, replay memory, received packets, published records, and giving room back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey_node import limits
from covey_node.store import account, housekeeping, invites, received, replay
from covey_node.store.account import AccountRow
from covey_node.store.connection import Connection
from covey_node.store.contacts import ContactRow
from covey_node.store.errors import Conflict, StoreError
from covey_node.store.invites import InviteRow

ME = AccountRow(
    account_key=b"a" * 32,
    account_seed=b"s" * 32,
    name="Alice",
    device_list=b"list",
    device_keys=b"device keys",
    prekeys=b"prekeys",
    record_seed=b"r" * 32,
    record_secret=b"t" * 32,
    record_sequence=5,
    created_at=1.5,
)
INVITE = InviteRow(token_hash=b"i" * 32, label="Bob", one_use=True, created_at=1.0, expires_at=100.0)
DEVICE = b"d" * 32


def test_our_account_comes_back_and_there_is_one(connection: Connection) -> None:
    assert connection.read(account.load) is None
    connection.run(lambda tx: account.create(tx, ME))
    assert connection.read(account.load) == ME
    with pytest.raises(Conflict):
        connection.run(lambda tx: account.create(tx, ME))


def test_no_secret_of_our_account_is_shown() -> None:
    shown = repr(ME)
    for secret in (ME.account_seed, ME.device_keys, ME.prekeys, ME.record_seed, ME.record_secret):
        assert repr(secret) not in shown


def test_what_changes_in_our_account_is_kept(connection: Connection) -> None:
    connection.run(lambda tx: account.create(tx, ME))
    connection.run(lambda tx: account.set_prekeys(tx, b"prekeys 2"))
    connection.run(lambda tx: account.replace_record_keys(tx, record_seed=b"R" * 32, record_secret=b"T" * 32))
    assert connection.read(account.load) == replace(
        ME,
        prekeys=b"prekeys 2",
        record_seed=b"R" * 32,
        record_secret=b"T" * 32,
    )
    assert connection.read(account.prekeys) == b"prekeys 2"


def test_a_record_sequence_is_never_given_twice(connection: Connection) -> None:
    connection.run(lambda tx: account.create(tx, ME))
    given = [
        connection.run(lambda tx, at_least=at_least: account.next_record_sequence(tx, at_least=at_least))  # type: ignore[misc]
        for at_least in (0, 1000, 1000, 3)
    ]
    assert given == [6, 1000, 1001, 1002]


def test_a_one_use_invite_is_used_by_one_contact(connection: Connection, bob: ContactRow) -> None:
    connection.run(lambda tx: invites.add(tx, INVITE))
    assert connection.read(lambda tx: invites.open_ones(tx, now=50.0)) == (INVITE,)
    use = invites.use
    assert connection.run(lambda tx: use(tx, INVITE.token_hash, contact_id=bob.id, now=50.0)) is None
    row = connection.read(lambda tx: invites.get(tx, INVITE.token_hash))
    assert row == replace(INVITE, used_at=50.0, used_by=bob.id)
    assert connection.run(lambda tx: use(tx, INVITE.token_hash, contact_id=bob.id, now=60.0)) is None
    other = connection.run(lambda tx: use(tx, INVITE.token_hash, contact_id=bob.id + 1, now=60.0))
    assert other == "the invite was used already"
    assert connection.run(lambda tx: use(tx, b"?" * 32, contact_id=bob.id, now=1.0)) == "the invite is not known here"


def test_an_expired_or_revoked_invite_is_refused_in_words(connection: Connection, bob: ContactRow) -> None:
    many = replace(INVITE, token_hash=b"m" * 32, one_use=False)
    connection.run(lambda tx: [invites.add(tx, INVITE), invites.add(tx, many)])
    use = invites.use
    late = connection.run(lambda tx: use(tx, INVITE.token_hash, contact_id=bob.id, now=100.0))
    assert late == "the invite has expired"
    assert connection.run(lambda tx: use(tx, many.token_hash, contact_id=bob.id, now=5.0)) is None
    assert connection.run(lambda tx: invites.revoke(tx, many.token_hash, now=6.0))
    assert not connection.run(lambda tx: invites.revoke(tx, many.token_hash, now=7.0))
    for contact_id in (bob.id, bob.id + 1):
        refused = connection.run(lambda tx, c=contact_id: use(tx, many.token_hash, contact_id=c, now=8.0))  # type: ignore[misc]
        assert refused == "the invite was taken back"
    assert connection.read(lambda tx: invites.open_ones(tx, now=50.0)) == (INVITE,)
    assert connection.read(lambda tx: invites.open_ones(tx, now=100.0)) == ()
    assert connection.run(lambda tx: invites.prune(tx, before=101.0)) == 2


def test_open_invites_are_bounded(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invites, "INVITES_MAX", 2)
    for number in range(2):
        row = replace(INVITE, token_hash=number.to_bytes(32, "big"))
        connection.run(lambda tx, row=row: invites.add(tx, row))  # type: ignore[misc]
    with pytest.raises(StoreError, match="revoke some"):
        connection.run(lambda tx: invites.add(tx, INVITE))
    connection.run(lambda tx: invites.add(tx, replace(INVITE, created_at=200.0, expires_at=300.0)))


def test_a_base_key_is_taken_once(connection: Connection) -> None:
    assert not connection.read(lambda tx: replay.seen(tx, b"k" * 32))
    assert connection.run(lambda tx: replay.remember(tx, b"k" * 32, until=50.0))
    assert not connection.run(lambda tx: replay.remember(tx, b"k" * 32, until=90.0))
    assert connection.read(lambda tx: replay.seen(tx, b"k" * 32))
    assert connection.run(lambda tx: replay.prune(tx, now=50.0)) == 0
    assert connection.run(lambda tx: replay.prune(tx, now=50.1)) == 1
    assert not connection.read(lambda tx: replay.seen(tx, b"k" * 32))


def test_the_first_outcome_of_a_packet_is_remembered(connection: Connection) -> None:
    connection.run(lambda tx: received.note(tx, DEVICE, b"h" * 32, outcome="stored", now=1.0))
    connection.run(lambda tx: received.note(tx, DEVICE, b"h" * 32, outcome="refused", now=2.0))
    assert connection.read(lambda tx: received.outcome(tx, DEVICE, b"h" * 32)) == "stored"
    assert connection.read(lambda tx: received.outcome(tx, b"e" * 32, b"h" * 32)) is None


def test_received_packets_are_forgotten_by_age_and_by_number(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "RECEIVED_PER_DEVICE", 4)

    def hashes(device: bytes) -> list[int]:
        rows = connection.read(lambda tx: tx.all("SELECT packet_hash FROM received WHERE device_key = ?", (device,)))
        return sorted(int.from_bytes(row[0], "big") for row in rows)

    for device in (DEVICE, b"e" * 32):
        for number in range(1, 7 if device == DEVICE else 4):
            connection.run(
                lambda tx, d=device, n=number: received.note(tx, d, n.to_bytes(32, "big"), outcome="", now=float(n))  # type: ignore[misc]
            )
    assert connection.run(lambda tx: received.prune(tx, now=10.0)) == 2
    assert (hashes(DEVICE), hashes(b"e" * 32)) == ([3, 4, 5, 6], [1, 2, 3])
    assert connection.run(lambda tx: received.prune(tx, now=limits.RECEIVED_SECONDS + 4.0)) == 4
    assert (hashes(DEVICE), hashes(b"e" * 32)) == ([4, 5, 6], [])


def test_a_received_packet_is_remembered_longer_than_the_sender_repeats_it() -> None:
    assert limits.RECEIVED_SECONDS > limits.MESSAGE_LIFETIME_SECONDS
    assert limits.RECEIVED_PER_DEVICE > limits.OUTBOX_PER_DEVICE


def test_room_that_was_freed_is_given_back(connection: Connection) -> None:
    connection.run(lambda tx: [account.set_meta(tx, f"{n}", bytes(40_000)) for n in range(50)])
    full = connection.read(housekeeping.room)
    connection.run(lambda tx: tx.execute("DELETE FROM meta"))
    freed = connection.read(housekeeping.room)
    assert freed.file_bytes == full.file_bytes
    assert freed.free_bytes > 1_900_000
    assert connection.run(housekeeping.shrink) == 0
    after = connection.read(housekeeping.room)
    assert after.free_bytes == 0
    assert after.file_bytes <= full.file_bytes - 1_900_000


def test_giving_room_back_is_bounded(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "STORE_VACUUM_PAGES", 10)
    connection.run(lambda tx: account.set_meta(tx, "a", bytes(200_000)))
    connection.run(lambda tx: tx.execute("DELETE FROM meta"))
    free = connection.read(lambda tx: tx.number("PRAGMA freelist_count"))
    assert connection.run(housekeeping.shrink) == free - 10
